"""What is measured for the theorems: rises of the robust loss, and MRC of rescaled modules."""

import pytest
from torch.nn.functional import cross_entropy

from benchmark.algorithm.adversarial_examples import adversarial_set
from benchmark.algorithm.algorithm1 import algorithm1
from benchmark.algorithm.ascent import moving_weight
from benchmark.algorithm.criticality import criticality
from benchmark.algorithm.rolling import Tail
from benchmark.data.info import DIGITS
from benchmark.engine.recipes import CriticalitySettings
from benchmark.engine.weights import clone_state
from benchmark.jobs.theorems import moves, rescaled_modules
from benchmark.records.evidence import FACTORS
from benchmark.records.store import Journal

IMAGES, SEED, MODULE = 96, 11, "layer2.0.conv2"
SETTINGS = CriticalitySettings(lr=1.0, steps=2, batch_size=64)


@pytest.fixture
def craft(model, digits, tmp_path):
    """A function that crafts examples against `model` as it is; a point names their journal."""

    def crafted(point):
        split = digits.train.first(IMAGES)
        return adversarial_set(model, split, DIGITS.threat, SEED, Journal(tmp_path / point, "x"))

    return crafted


def entries_of(model, digits, folder, settings=SETTINGS):
    """Criticality of all modules."""
    split, journal = digits.train.first(IMAGES), Journal(folder, "x")
    return criticality(model, split, DIGITS.threat, settings, seed=SEED, journal=journal)


@pytest.fixture(scope="module")
def entries(make_network, learned, digits, tmp_path_factory):
    """Criticality of all modules with `SETTINGS`."""
    model = make_network()
    model.load_state_dict(learned)
    return entries_of(model, digits, tmp_path_factory.mktemp("criticality"))


class TestMoves:
    """Theorem 3.1: rises of the robust loss between two state dicts."""

    def test_the_ascent_of_mrc_rises_by_mrc(self, model, entries, craft):
        """Weights moved by Algorithm 1 itself are on the sphere and raise the loss by MRC exactly."""
        entry = next(entry for entry in entries if entry.module == MODULE)
        theta_at, examples = clone_state(model.state_dict()), craft("at")
        with moving_weight(model, MODULE) as moving:
            assert algorithm1(moving, Tail(model, examples), SETTINGS).constrained
            theta_ft = clone_state(model.state_dict())
        move, _ = moves(model, examples, theta_at, theta_ft, MODULE, 0.5, SETTINGS.radius, craft)
        assert (move.loss_rise, move.accuracy_drop) == (entry.mrc, entry.accuracy_drop)
        assert move.loss_rise > 0
        assert move.norm_ratio == entry.norm_ratio == pytest.approx(SETTINGS.radius, rel=1e-6)
        assert (move.point, move.alpha, move.loss_rise_with_bn) == ("fine-tuned", 1.0, move.loss_rise)

    def test_statistics_are_no_part_of_the_theorem(self, model, craft):
        """What moves batch-norm statistics only rises by nothing, but for the whole model."""
        theta_at, examples = clone_state(model.state_dict()), craft("at")
        theta_ft = theta_at | {"bn1.running_var": 3 * theta_at["bn1.running_var"]}
        for move in moves(model, examples, theta_at, theta_ft, MODULE, 0.5, 0.1, craft):
            assert (move.norm_ratio, move.loss_rise, move.accuracy_drop) == (0, 0, 0)
            assert move.loss_rise_recrafted == pytest.approx(0, abs=1e-6)
            assert abs(move.loss_rise_with_bn) > 1e-3

    @pytest.mark.parametrize(("length", "leaves"), [(0.05, False), (0.4, True)])
    def test_the_way_is_also_judged_where_it_leaves_the_ball(self, model, craft, length, leaves):
        """Beyond the radius there is a point on the sphere, at the alpha of its distance."""
        theta_at, examples, name = clone_state(model.state_dict()), craft("at"), f"{MODULE}.weight"
        theta_ft = theta_at | {name: (1 + length) * theta_at[name]}
        found = moves(model, examples, theta_at, theta_ft, MODULE, 0.25, 0.1, craft)
        assert [move.alpha for move in found[:2]] == [1.0, 0.25]
        assert found[1].norm_ratio == pytest.approx(length / 4, rel=1e-4)
        assert len(found) == 2 + leaves
        if leaves:
            assert (found[2].point, found[2].alpha) == ("sphere", pytest.approx(0.25, rel=1e-4))
            assert found[2].norm_ratio == pytest.approx(0.1, rel=1e-4)

    def test_examples_are_crafted_again_against_the_moved_weight(self, model, craft, digits, plain_pgd):
        """The second rise is that of the moved network on examples of its own, by a plain loop."""
        theta_at, examples = clone_state(model.state_dict()), craft("at")
        theta_ft = theta_at | {f"{MODULE}.weight": 0.7 * theta_at[f"{MODULE}.weight"]}
        split = digits.train.first(IMAGES)
        found = moves(model, examples, theta_at, theta_ft, MODULE, 0.5, 0.5, craft)
        losses = []
        for state in (theta_at, theta_ft):
            model.load_state_dict(state)
            x_adv = plain_pgd(model, split, DIGITS.threat, SEED)
            losses.append(cross_entropy(model(x_adv), split.labels).item())
        assert found[0].loss_rise_recrafted == pytest.approx(losses[1] - losses[0], abs=1e-4)
        assert found[0].loss_rise_recrafted != found[0].loss_rise


class TestRescaling:
    """Theorem A.4: MRC of modules that were multiplied."""

    def rescaled(self, model, entries, craft, folder, settings=SETTINGS, module=MODULE):
        """`module` and the most critical one at every factor."""
        journal = Journal(folder / "rescaled", "x")
        return rescaled_modules(model, craft("at"), entries, module, settings, journal)

    def test_only_the_rate_depends_on_the_scale(self, model, entries, craft, tmp_path):
        """A rate that grows with the factor squared gives the MRC of before, bit by bit; ranks are one
        more than the number of other modules with a lower MRC."""
        found = self.rescaled(model, entries, craft, tmp_path)
        assert [each.role for each in found] == ["tuned", "most critical"]
        for module in found:
            assert [each.factor for each in module.rescaled] == list(FACTORS)
            assert {each.mrc_with_lr for each in module.rescaled} == {module.criticality.mrc}
            others = [entry.mrc for entry in entries if entry.module != module.module]
            for each in (module, *module.rescaled):
                assert each.rank == 1 + sum(mrc < each.criticality.mrc for mrc in others)

    def test_a_failed_ascent_has_no_rank(self, model, entries, craft, tmp_path):
        """A module whose ascent ended lower than it began is not the most critical one, nor counted."""
        largest = max(entries, key=lambda entry: entry.mrc)
        lost = [each.model_copy(update={"mrc": -each.mrc}) for each in entries if each != largest]
        found = self.rescaled(model, [*lost, largest], craft, tmp_path, module=MODULE)
        assert [(each.module, each.rank) for each in found] == [(MODULE, None), (largest.module, 1)]
        assert {each.rank for each in found[1].rescaled} == {1}

    def test_small_steps_see_a_larger_weight_as_less_critical(self, model, digits, craft, tmp_path):
        """Inside the ball the rise of one small step is lr ||g||^2, of a weight times c 1/c^2 of it."""
        settings = CriticalitySettings(lr=3e-3, steps=1, batch_size=IMAGES)
        entries = entries_of(model, digits, tmp_path / "mrc", settings)
        module = self.rescaled(model, entries, craft, tmp_path, settings)[0]
        assert module.criticality.mrc is not None
        for each in module.rescaled[1:4]:
            assert not each.criticality.constrained
            expected = module.criticality.mrc / each.factor**2
            assert each.criticality.mrc == pytest.approx(expected, rel=0.05, abs=1e-6)

    def test_a_step_beyond_the_ball_is_the_same_at_every_scale(self, model, digits, craft, tmp_path):
        """Where the first epoch ends on the sphere anyway, MRC and its rank do not change."""
        settings = CriticalitySettings(lr=1e6, steps=3, batch_size=64)
        entries = entries_of(model, digits, tmp_path / "mrc", settings)
        for module in self.rescaled(model, entries, craft, tmp_path, settings):
            for each in module.rescaled:
                assert (each.criticality.epochs, each.criticality.constrained) == (1, True)
                assert each.criticality.mrc == pytest.approx(module.criticality.mrc, rel=1e-5)
                assert each.rank == module.rank

    def test_a_module_that_cannot_be_rescaled_says_why(self, model, entries, craft, tmp_path):
        """The classifier has no batch normalisation behind it."""
        linear = self.rescaled(model, entries, craft, tmp_path, module="linear")[0]
        assert linear.rescaled == ()
        assert linear.reason == "no batch normalisation stands directly behind linear"
