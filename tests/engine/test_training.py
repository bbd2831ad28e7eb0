"""The training loop: resuming to the same bytes, what moves, schedules, PGD adversarial training."""

import dataclasses
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from baselines.pgd_at import PgdAt
from benchmark.algorithm.finetune import CleanTraining, trainable_parameters
from benchmark.algorithm.selection import AllLayers, LastLayer
from benchmark.data.given import as_split
from benchmark.data.images import augment
from benchmark.data.info import CIFAR10, DIGITS
from benchmark.engine import training, training_state
from benchmark.engine.counting import clean_count
from benchmark.engine.recipes import FINETUNE_RECIPE, Recipe
from benchmark.engine.training import TrainingFailed, fit
from benchmark.engine.training_state import StateFile, TrainingState
from benchmark.engine.weights import clone_state, load_tensors, weights_sha256
from benchmark.errors import UserError
from benchmark.records import stopping
from benchmark.records.cells import derive_seed
from benchmark.records.records import Count
from benchmark.records.stopping import StopRequested
from killing import killing

RECIPE = Recipe(
    epochs=3, batch_size=32, lr=0.05, milestones=(2,), attack_steps=1, attack_path=1.5, select_last=3
)
STEPS = 2  # optimiser steps of an epoch on 60 images


@pytest.fixture(autouse=True)
def _kept_after_every_step(monkeypatch):
    """No state waits for its minute."""
    monkeypatch.setattr(stopping, "EVERY", 0.0)


@pytest.fixture(scope="module")
def split(digits):
    """Two batches of training images, the second one smaller."""
    return digits.train.first(60)


@pytest.fixture
def train(split, digits, make_network, tmp_path):
    """A function that trains a new network, or continues from the checkpoint of that name."""

    def run(name="run", *, model=None, how=None, recipe=RECIPE, **more):
        options = {
            "seed": 3,
            "select": lambda judged: clean_count(judged, digits.test.first(40)),
            "checkpoint": tmp_path / name / "training.safetensors",
            "fingerprint": "of this test",
        }
        chosen = PgdAt() if how is None else how
        network = make_network() if model is None else model
        return fit(network, split, DIGITS, chosen, recipe, **options | more)

    return run


@pytest.fixture
def uninterrupted(train):
    """What the recipe ends with when nothing happens."""
    return train("uninterrupted")


def outcome(fitted):
    """All that training returns, in comparable form."""
    return weights_sha256(fitted.state), fitted.epochs, fitted.best_epoch, fitted.best


def scripted(*scores):
    """A selection that gives these scores and remembers the weights that it was shown."""
    left, shown = list(scores), []

    def select(model):
        shown.append(clone_state(model.state_dict()))
        return Count(k=left.pop(0), n=100)

    return select, shown


def killed(train, stops, name="killed", **options):
    """Train until `stops`, as progress, ends it."""
    with pytest.raises(KeyboardInterrupt):
        train(name, progress=stops, **options)


def noisy():
    """A linear network behind dropout, so that it draws at every step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 10))


def asking(at):
    """Progress that asks for a stop at step `at`."""

    def asks(stage, now, total, said=""):
        if now == at and said.startswith("loss"):
            stopping.ask()

    return asks


def stopped(train, name, monkeypatch, **options):
    """Train until a stop that was asked for; returns what the state says."""
    with monkeypatch.context() as patch:
        patch.setattr(stopping, "_asked", False)
        with pytest.raises(StopRequested):
            train(name, **options)


class TestResume:
    """Training that was killed and started again."""

    @pytest.mark.parametrize("epoch", [1, 2, 3])
    def test_killed_after_an_epoch(self, train, uninterrupted, epoch):
        """A run that ends behind a checkpoint continues to the same weights and log."""
        killed(train, killing(note=f"epoch {epoch}/3"))
        assert outcome(train("killed")) == outcome(uninterrupted)

    @pytest.mark.parametrize("step", [1, 3, 5, 6])
    def test_killed_in_the_middle_of_an_epoch(self, train, uninterrupted, step):
        """It goes on behind the step that was kept last, before the first checkpoint too."""
        killed(train, killing(step, "loss"))
        assert outcome(train("killed")) == outcome(uninterrupted)

    @pytest.mark.parametrize("at", range(1, 3 * STEPS + 1))
    @pytest.mark.parametrize("how", [PgdAt(), CleanTraining()], ids=["adversarial", "fine-tuning"])
    def test_asked_to_stop(self, train, tmp_path, monkeypatch, at, how):
        """The step is finished and kept, and nothing of it is done again: to the same bytes, those that
        the network draws itself included."""
        monkeypatch.setattr(stopping, "EVERY", 60.0)
        frozen = {"trainable": {"2.weight"}} if isinstance(how, CleanTraining) else {}
        options, steps = {"how": how, "mean_of": 2, **frozen}, []
        whole = train("whole", model=noisy(), **options)
        stopped(train, "asked", monkeypatch, model=noisy(), progress=asking(at), **options)
        told = load_tensors(tmp_path / "asked" / "training.safetensors")[1]
        assert int(told["epoch"]) * STEPS + int(told.get("step", 0)) == at
        again = train(
            "asked", model=noisy(), progress=lambda _, now, *rest: steps.append(now), **options
        )
        assert [now for now in steps if now <= at] in ([], [at])
        assert outcome(again) == outcome(whole)
        assert weights_sha256(again.mean) == weights_sha256(whole.mean)
        assert again.resumed
        assert again.seconds > float(told["seconds"]) > 0

    def test_asked_to_stop_while_judging(self, train, uninterrupted, monkeypatch, tmp_path, digits):
        """What was trained of the epoch is kept, and is judged when the training goes on."""
        monkeypatch.setattr(stopping, "EVERY", 60.0)

        def asks(model):
            stopping.ask()
            return clean_count(model, digits.test.first(40))

        stopped(train, "asked", monkeypatch, select=asks)
        told = load_tensors(tmp_path / "asked" / "training.safetensors")[1]
        assert (told["epoch"], told["step"], told["log"]) == ("0", str(STEPS), "[]")
        assert outcome(train("asked")) == outcome(uninterrupted)

    def test_kept_once_a_minute(self, train, monkeypatch):
        """Of a quick training the end alone is written; of steps of 25 s every third, and the end."""
        monkeypatch.setattr(stopping, "EVERY", 60.0)
        now, kept, save = [0.0], [], StateFile.save

        def keep(file, state):
            kept.append((state.epoch, state.step))
            save(file, state)

        monkeypatch.setattr(StateFile, "save", keep)
        train("quick")
        assert kept == [(3, 0)]
        kept.clear()
        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + now[0])
        for module in (stopping, training_state):
            monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(PgdAt, "after_step", lambda *given: now.__setitem__(0, now[0] + 25))
        train("slow")
        assert kept == [(1, 1), (2, 2), (3, 0)]

    def test_a_state_behind_an_epoch_is_what_it_always_was(self, train, uninterrupted, tmp_path):
        """One that says nothing of steps, as those of earlier versions, goes on with the next epoch."""
        killed(train, killing(note="epoch 2/3"))
        tensors, told = load_tensors(tmp_path / "killed" / "training.safetensors")
        assert told.keys() == {"fingerprint", "circumstances", "begun", "epoch", "seconds", "log"}
        assert {name.split(".")[0] for name in tensors} == {"model", "best", "momentum"}
        assert outcome(train("killed")) == outcome(uninterrupted)

    def test_a_loader_is_entered_at_its_beginning(self, monkeypatch, split, tmp_path):
        """What augments and shuffles by itself gives whole epochs: a stop waits for the end of one."""
        images = TensorDataset(split.images.permute(0, 3, 1, 2), split.labels)
        loader = as_split(DataLoader(images, 32, shuffle=True), "train", torch.device("cpu"))

        def train(name, **more):
            checkpoint = tmp_path / name / "training.safetensors"
            what = noisy(), loader, DIGITS, CleanTraining(), RECIPE
            given = {"seed": 3, "checkpoint": checkpoint, "fingerprint": "", **more}
            return fit(*what, select=lambda model: clean_count(model, split), **given)

        whole = train("whole")
        stopped(train, "asked", monkeypatch, progress=asking(1))
        assert "step" in load_tensors(tmp_path / "asked" / "training.safetensors")[1]
        assert outcome(train("asked")) == outcome(whole)

    def test_killed_in_every_epoch(self, train, uninterrupted):
        """A run that never gets further than one epoch arrives at the same checkpoint."""
        for epoch in (1, 2):
            killed(train, killing(epoch * STEPS + 1))
        assert outcome(train("killed")) == outcome(uninterrupted)

    def test_last_checkpoint_is_the_same(self, train, uninterrupted, tmp_path):
        """Weights, statistics, momentum and log of the last epoch agree, not only the best."""
        killed(train, killing(3))
        train("killed")
        (one, log), (other, other_log) = (
            load_tensors(tmp_path / name / "training.safetensors")
            for name in ("uninterrupted", "killed")
        )
        took = float(log.pop("seconds")), float(other_log.pop("seconds"))
        assert min(took) > 0
        assert log == other_log
        assert weights_sha256(one) == weights_sha256(other)
        assert {name.split(".")[0] for name in one} == {"model", "best", "momentum"}

    def test_finished_training_is_read_back(self, train, uninterrupted, make_network):
        """After the last epoch the checkpoint alone gives the result, which the model carries, too, in
        evaluation mode."""

        def never(*args):
            raise AssertionError("nothing is left to do")

        model = make_network()
        again = train("uninterrupted", model=model, select=never, progress=never)
        assert outcome(again) == outcome(uninterrupted)
        assert weights_sha256(model.state_dict()) == weights_sha256(again.state)
        assert not any(module.training for module in model.modules())


class TestDraws:
    """Where the randomness of a run comes from."""

    def test_global_generator_is_not_used(self, train):
        """torch's own state neither matters nor moves, though the network draws."""
        expected = train(model=noisy())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(99)
            before = torch.random.get_rng_state()
            again = train("again", model=noisy())
            assert torch.equal(torch.random.get_rng_state(), before)
        assert outcome(again) == outcome(expected)

    def test_a_network_draws_anew_at_every_step(self, train):
        """What a network draws itself, as in dropout, is other in each step and each epoch."""
        drawn = []

        class Drawing(CleanTraining):
            def outer(self, model, x, x_adv, labels):
                drawn.append(float(torch.rand(())))
                return super().outer(model, x, x_adv, labels)

        train(how=Drawing())
        assert len(set(drawn)) == len(drawn) == 3 * STEPS

    def test_progress_counts_steps(self, train):
        """Every epoch is reported, the total is that of the whole run."""
        calls = []
        train("run", stage="here", progress=lambda *call: calls.append(call))
        assert {call[0] for call in calls} == {"here"}
        assert {call[2] for call in calls} == {3 * STEPS}
        assert [call[1] for call in calls] == [1, 2, 2, 3, 4, 4, 5, 6, 6]
        assert [call[3][:9] for call in calls[2::3]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


class TestSteps:
    """What one optimiser step does."""

    def test_loop_equals_gradient_descent_by_hand(self, train, split):
        """SGD with momentum and weight decay on a linear model, step by step."""
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
        nn.init.zeros_(model[1].weight)
        weight, velocity = torch.zeros(10, 64, dtype=torch.float64), None
        losses = []
        for epoch in range(3):
            generator = torch.Generator().manual_seed(derive_seed(3, "epoch", epoch))
            summed = 0.0
            for rows in torch.randperm(60, generator=generator).split(32):
                x = augment(split.images[rows], DIGITS.augmentation, generator).flatten(1).double()
                logits, target = x @ weight.T, torch.eye(10)[split.labels[rows]].double()
                summed -= float((logits.log_softmax(1) * target).sum())
                gradient = (logits.softmax(1) - target).T @ x / len(rows) + 5e-4 * weight
                velocity = gradient if velocity is None else 0.9 * velocity + gradient
                weight = weight - (0.05 if epoch < 2 else 0.005) * velocity
            losses.append(summed / 60)
        select, _ = scripted(1, 2, 3)
        fitted = train(model=model, how=CleanTraining(), select=select)
        torch.testing.assert_close(fitted.state["1.weight"].double(), weight, rtol=0, atol=1e-6)
        assert [entry.loss for entry in fitted.epochs] == pytest.approx(losses, abs=1e-5)
        assert [entry.lr for entry in fitted.epochs] == pytest.approx([0.05, 0.05, 0.005])

    @pytest.mark.parametrize("schedule", ["piecewise", "one-cycle"])
    def test_every_step_has_its_own_rate(self, train, monkeypatch, schedule):
        """Counted over the whole run, also behind a kill; the log has that of an epoch's last step."""
        rates, step = [], training.training_step

        def noted(*given):
            rates.append(given[6].param_groups[0]["lr"])
            return step(*given)

        monkeypatch.setattr(training, "training_step", noted)
        recipe = dataclasses.replace(RECIPE, schedule=schedule)
        killed(train, killing(3), recipe=recipe)
        fitted = train("killed", recipe=recipe)
        expected = [recipe.lr_at(step, STEPS) for step in range(3 * STEPS)]
        assert rates == [*expected[:3], *expected[2:]]  # the third was not kept, and is made again
        assert [epoch.lr for epoch in fitted.epochs] == expected[1::2]
        assert len(set(expected)) == (2 if schedule == "piecewise" else 6)

    def test_loss_and_step_are_inside_what_a_method_holds(self, train):
        """Of the examples that it crafted, in the epoch at hand; what follows a step comes later."""
        calls = []

        class Noted(CleanTraining):
            def inner(self, model, x, labels, attack, generator):
                calls.append(("inner", model.linear.bias.detach().clone()))
                return x / 2

            @contextmanager
            def hold(self, model, x, x_adv, labels, epoch):
                calls.append(("hold", torch.equal(x_adv, x / 2), epoch))
                yield
                calls.append(("held", model.linear.bias.detach().clone()))

            def outer(self, model, x, x_adv, labels):
                calls.append(("outer", torch.equal(x_adv, x / 2)))
                return super().outer(model, x, x_adv, labels)

            def after_step(self, model, x):
                calls.append(("after", model.training))

        train(how=Noted())
        assert [call[0] for call in calls] == ["inner", "hold", "outer", "held", "after"] * 3 * STEPS
        steps = list(zip(*[iter(calls)] * 5, strict=True))
        assert [step[1][1:] for step in steps] == [(True, at // STEPS) for at in range(3 * STEPS)]
        for (_, before), _, (_, crafted), (_, moved), (_, in_training) in steps:
            assert crafted and in_training and not torch.equal(before, moved)

    def test_frozen_parameters_stay(self, train, make_network):
        """Only the chosen parameters move; running statistics move everywhere."""
        before = clone_state(make_network().state_dict())
        chosen = {"linear.weight", "linear.bias"}
        model = make_network()
        after = train(model=model, how=CleanTraining(), trainable=chosen).state
        for name, _ in model.named_parameters():
            assert torch.equal(after[name], before[name]) == (name not in chosen), name
        for name in before:
            if name.endswith(("running_mean", "running_var")):
                assert not torch.equal(after[name], before[name]), name
        assert all(parameter.requires_grad for parameter in model.parameters())

    def test_everything_moves_by_default(self, train, make_network):
        before = make_network().state_dict()
        after = train().state
        assert not [name for name in before if torch.equal(after[name], before[name])]

    def test_statistics_see_attack_step_and_clean_pass(self, train):
        """Each step of PGD-AT makes attack_steps + 1 + 1 passes in training mode."""
        select, _ = scripted(1, 2, 3)
        recipe = dataclasses.replace(RECIPE, attack_steps=2)
        state = train(recipe=recipe, select=select).state
        assert state["bn1.num_batches_tracked"] == 3 * STEPS * (2 + 1 + 1)

    def test_statistics_see_clean_batches_in_fine_tuning(self, train):
        select, _ = scripted(1, 2, 3)
        state = train(how=CleanTraining(), select=select).state
        assert state["bn1.num_batches_tracked"] == 3 * STEPS

    def test_loss_that_is_no_number_raises(self, train):
        """A diverged run fails with the stage, the epoch and what may help."""

        class Broken(PgdAt):
            def outer(self, model, x, x_adv, labels):
                return super().outer(model, x, x_adv, labels) * float("nan")

        with pytest.raises(TrainingFailed, match=r"here: the loss is nan in epoch 1; a lower"):
            train(how=Broken(), stage="here")

    def test_recipe_without_momentum(self, train):
        recipe = dataclasses.replace(RECIPE, momentum=0.0)
        expected = outcome(train(recipe=recipe))
        killed(train, killing(3), recipe=recipe)
        assert outcome(train("killed", recipe=recipe)) == expected


class TestSelection:
    """Which epoch's weights are returned."""

    @pytest.mark.parametrize(
        ("scores", "best"), [((5, 7, 7), 2), ((9, 1, 9), 1), ((0, 0, 0), 1), ((1, 2, 3), 3)]
    )
    def test_earliest_of_the_best(self, train, make_network, scores, best):
        """The highest score wins, the earlier epoch on a tie; its weights are what is returned."""
        select, shown = scripted(*scores)
        model = make_network()
        fitted = train(model=model, select=select)
        assert (fitted.best_epoch, fitted.best) == (best, Count(k=scores[best - 1], n=100))
        assert [entry.selection.k for entry in fitted.epochs] == list(scores)
        assert weights_sha256(fitted.state) == weights_sha256(shown[best - 1])
        assert weights_sha256(model.state_dict()) == weights_sha256(shown[best - 1])

    def test_only_the_last_epochs_are_judged(self, train):
        """With select_last = 1 the first two epochs have no score."""
        select, shown = scripted(4)
        fitted = train(select=select, recipe=dataclasses.replace(RECIPE, select_last=1))
        assert [entry.selection for entry in fitted.epochs] == [None, None, Count(k=4, n=100)]
        assert (fitted.best_epoch, len(shown)) == (3, 1)

    @pytest.mark.parametrize("wrong", [{"epochs": 0}, {"select_last": 0}])
    def test_recipe_that_selects_nothing_is_refused_before_training(self, train, wrong):
        """A recipe without an epoch to choose is a user's error, told before the first epoch."""
        with pytest.raises(UserError, match="at least 1"):
            train(recipe=dataclasses.replace(RECIPE, **wrong), progress=None)

    @pytest.mark.parametrize("size", [1, 59])
    def test_a_batch_of_one_image_is_refused_before_training(self, train, size):
        """Batch norm has no variance of one image: 60 images in batches of 59 are refused."""
        with pytest.raises(UserError, match="leaves a batch of one"):
            train(recipe=dataclasses.replace(RECIPE, batch_size=size), progress=None)


class TestMean:
    """The mean of the last epochs' weights."""

    @pytest.mark.parametrize(("asked", "averaged"), [(1, 1), (2, 2), (3, 3), (5, 3)])
    def test_mean_of_the_last_epochs(self, train, asked, averaged):
        """What is in floating point is averaged, over all epochs if there are fewer; counters are the
        last epoch's. The best weights and the log are what they are without it."""
        select, shown = scripted(9, 2, 3)
        fitted = train(select=select, mean_of=asked)
        for name, mean in fitted.mean.items():
            last = torch.stack([state[name] for state in shown[-averaged:]])
            if mean.is_floating_point():
                expected = last.double().mean(0)
                torch.testing.assert_close(mean.double(), expected, rtol=1e-6, atol=1e-7)
            else:
                assert torch.equal(mean, last[-1])
        assert fitted.mean.keys() == shown[-1].keys()
        plain = train("plain", select=scripted(9, 2, 3)[0])
        assert outcome(fitted) == outcome(plain)
        assert plain.mean == {}

    def test_a_mask_is_the_last_ones(self):
        """What is neither a number nor a counter is taken as it is."""
        state = TrainingState()
        for count, mask in enumerate(([True, False], [False, True]), start=1):
            state.average({"mask": torch.tensor(mask)}, count)
        assert state.mean["mask"].tolist() == [False, True]

    @pytest.mark.parametrize("epoch", [1, 2, 3])
    def test_resumed_mean_has_the_same_bytes(self, train, epoch):
        """Whether a kill comes before the first epoch of the mean, between two, or after the last."""
        expected = train("whole", mean_of=2)
        killed(train, killing(note=f"epoch {epoch}/3"), mean_of=2)
        again = train("killed", mean_of=2)
        assert weights_sha256(again.mean) == weights_sha256(expected.mean)
        assert outcome(again) == outcome(expected)

    def test_a_mean_that_lacks_an_epoch_is_none(self, train):
        """A training of which some of these epochs were made without it has no mean."""
        killed(train, killing(note="epoch 2/3"))
        assert train("killed", mean_of=2).mean == {}


class TestRecipe:
    """Learning rates and attacks of the recipes."""

    @pytest.mark.parametrize(("epoch", "lr"), [(0, 1e-3), (4, 1e-3), (5, 1e-4), (9, 1e-4)])
    def test_published_fine_tuning_schedule(self, epoch, lr):
        """0.001, divided by 10 after five epochs."""
        assert FINETUNE_RECIPE.lr_at(epoch * 391, 391) == pytest.approx(lr)

    @pytest.mark.parametrize(
        ("step", "lr"), [(0, 0.2 / 30), (14, 0.1), (29, 0.2), (64, 0.1), (99, 0.0)]
    )
    def test_one_cycle(self, step, lr):
        """Up to the peak over 30 % of the steps, then down to 0 at the last one."""
        recipe = Recipe(epochs=10, lr=0.2, schedule="one-cycle")
        assert recipe.lr_at(step, 10) == pytest.approx(lr, abs=1e-12)

    def test_training_attack_of_the_paper(self):
        """PGD-10 with steps of eps / 4 in the threat model's ball."""
        attack = Recipe().training_attack(CIFAR10.threat)
        assert (attack.eps, attack.steps) == (8 / 255, 10)
        assert attack.step_size == pytest.approx(2 / 255)
        short = dataclasses.replace(RECIPE, attack_steps=2, attack_path=1.5)
        assert short.training_attack(CIFAR10.threat).step_size == pytest.approx(6 / 255)


class TestPgdAt:
    """PGD adversarial training."""

    @pytest.fixture
    def batch(self, digits):
        """A batch of images and labels."""
        return digits.train.batch(0, 16)

    @pytest.mark.parametrize("passes", [0, 1, 2])
    def test_clean_passes_after_a_step(self, network, batch, passes):
        network.train()
        before = clone_state(dict(network.named_parameters()))
        PgdAt(clean_passes=passes).after_step(network, batch[0])
        assert network.bn1.num_batches_tracked == passes
        for name, parameter in network.named_parameters():
            assert torch.equal(parameter, before[name])
            assert parameter.grad is None

    def test_clean_training_crafts_nothing(self, network, batch):
        x, labels = batch
        generator = torch.Generator().manual_seed(0)
        before = generator.get_state()
        assert CleanTraining().inner(network, x, labels, DIGITS.threat, generator) is x
        assert torch.equal(generator.get_state(), before)
        assert CleanTraining().recipe("cifar10") == FINETUNE_RECIPE

    def test_trainable_parameters_of_modules(self, network):
        """All parameters of the chosen modules, the bias too; None if everything is trained."""
        modules = ["layer2.0.conv2", "linear"]
        chosen = trainable_parameters(network, LastLayer(), modules)
        assert chosen == {"layer2.0.conv2.weight", "linear.weight", "linear.bias"}
        assert trainable_parameters(network, AllLayers(), modules) is None


def test_a_loss_without_gradient_is_no_training(train):
    """A method whose loss does not reach the weights fails; only training nothing needs no gradient."""

    class Cut(CleanTraining):
        def outer(self, model, x, x_adv, labels):
            return super().outer(model, x, x_adv, labels).detach()

    recipe = dataclasses.replace(RECIPE, epochs=1, select_last=1)
    with pytest.raises(RuntimeError, match="does not require grad"):
        train("cut", how=Cut(), recipe=recipe)
    nothing = train("nothing", how=CleanTraining(), recipe=recipe, trainable=set())
    assert nothing.epochs[0].loss > 0
