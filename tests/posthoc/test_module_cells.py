"""Cells of post-hoc methods: made, filed, told apart, read back, and refused."""

import copy
import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchmark.algorithm.selection import Untouched
from benchmark.algorithm.tunings import TUNINGS, Tuning, finetune
from benchmark.data.images import Dataset
from benchmark.engine.adaptive import WorstCase
from benchmark.engine.kept_weights import read_weights
from benchmark.engine.precision import used
from benchmark.engine.weights import Weights, load_tensors
from benchmark.engine.workspace import Workspace
from benchmark.errors import UserError
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.posthoc.applying import applied, numbers_by_rule
from benchmark.posthoc.mean_sparse import MeanSparse
from benchmark.progress import silent
from benchmark.records.cells import Cell
from benchmark.records.records import Count, Making
from benchmark.records.store import MAKING, Journal
from benchmark.run import adversarial_training, another_forward_pass, rift, run_cell
from benchmark.submission.making import check_making
from benchmark.submission.read import read
from benchmark.submission.together import Library, check_together
from handmade import BY_HAND, cell_at, store_in
from invoking import MINI, refused
from tiny_runs import run_of

KEY = "mini/digits/resnet10-w8/pgd-at/{}/seed0"


@pytest.fixture(scope="module")
def made(tmp_path_factory, digits):
    """A function that makes a cell on a few images, once: its run, and its weights."""
    store = store_in(tmp_path_factory.mktemp("cells"))
    some = Dataset(digits.info, digits.train.first(96), digits.test.first(30))

    def of(name):
        run = run_of(Cell.parse(KEY.format(name)), some, store)
        run_cell(run, ["clean"])
        base = adversarial_training(run)
        if run.plan.forward is not None:
            return run, another_forward_pass(run, base)
        return run, base if run.plan.finetune is None else rift(run, base)

    return of


@pytest.fixture(autouse=True)
def _any_number_of_images(monkeypatch):
    """Numbers are chosen on fewer images here than the dataset has."""
    monkeypatch.setattr("benchmark.submission.making.KNOWN_DATA", {})


def test_points_on_the_way_are_of_all_weights(made, monkeypatch):
    """What a killed choice of numbers left counts for the same network and second network only."""
    run, _ = made("output-mix")
    base = adversarial_training(run)
    tuned, clean = (Weights.of({name: x + step for name, x in base.state.items()}) for step in (1, 2))
    asked = []

    def steps(space, stage, *weights, chunk):
        asked.append([each.sha256 for each in weights])
        return Journal(space.file(stage), "of this test")

    monkeypatch.setattr(Workspace, "steps", steps)
    applied(run, base, tuned, clean)
    assert asked == [[base.sha256, tuned.sha256, clean.sha256]]


def twin(run, weights, base):
    """The clean outcome that would be taken over from another cell."""
    spec, data = run.plan.evaluation_spec("clean"), run.data.test.sha256()
    return run.evaluating(weights, base).taken_over("clean", spec, data, used().label(run.device))


EVERY = ("mean-sparse", "output-mix", "mixed-nuts", "flip-average", "rift+mean-sparse")


@pytest.mark.parametrize("name", EVERY)
def test_a_module_is_made_filed_and_rebuilt(made, name):
    """From its spec and tensors alone: the same bits, the same answers, a making that holds."""
    run, weights = made(name)
    making = run.store.making(run.plan.cell)
    assert list(check_making(making, run.plan)) == []
    assert making.provenance.weights_sha256 == weights.sha256
    kept, metadata = read_weights(run.store, run.plan.cell)
    assert kept.sha256 == weights.sha256 and kept.module == making.details.module
    assert set(metadata) == {"fingerprint", "making", "module"}
    x, _ = run.data.test.batch(0, 30)
    with torch.no_grad():
        assert torch.equal(run.network(kept)(x), run.network(weights)(x))
    assert run.store.record(run.plan.cell, "clean").provenance.weights_sha256 == weights.sha256


def test_a_module_is_no_twin_of_its_base(made):
    """flip-average has every tensor of its base, and another identity and other records."""
    (run, base), (other, flipped) = made("none"), made("flip-average")
    ours = {name.removeprefix("network."): x for name, x in flipped.state.items()}
    assert Weights.of(ours).sha256 == base.sha256 != flipped.sha256
    assert twin(other, flipped, base) is None
    assert twin(*made("mean-sparse-curve"), base) is not None  # of mean-sparse
    assert run.store.record(run.plan.cell, "clean") is not None


def test_two_thresholds_never_share_a_record(made, monkeypatch):
    """On the same statistics; and a threshold of 0 has the base's counts, not its record."""
    for name, threshold in (("sparse-0", 0.0), ("sparse-3", 0.3)):
        method = MeanSparse(thresholds=(threshold,))
        monkeypatch.setitem(TUNINGS, name, Tuning(name, name, Untouched(), forward=method))
    (_, base), (run, zero), (other, three) = made("none"), made("sparse-0"), made("sparse-3")
    assert len({base.sha256, zero.sha256, three.sha256}) == 3
    same = [name for name in zero.state if not name.endswith(".threshold")]
    assert all(torch.equal(zero.state[name], three.state[name]) for name in same)
    assert twin(other, three, base) is None
    counts = [run.store.record(cell, "clean").k for cell in (run.plan.cell, run.plan.cell.base)]
    assert counts[0] == counts[1]


def test_the_spec_alone_is_an_identity():
    """The same tensors under two specs, and under none, are three models."""
    state = {"x": torch.zeros(2)}
    hashes = {Weights.of(state, spec).sha256 for spec in (None, {"a": 1}, {"a": 2})}
    assert len(hashes) == 3


def test_rift_and_then_mean_sparse(made):
    """The module is of RiFT's weights at its alpha*, which has its own making."""
    (_, tuned), (run, module) = made("rift"), made("rift+mean-sparse")
    details = run.store.making(run.plan.cell).details
    assert details.on_sha256 == tuned.sha256
    assert all(torch.equal(module.state[name], x) for name, x in tuned.state.items())
    assert details.reference is not None and len(details.points) == 11


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mean-sparse", "within 0.1 points; give its grid a point that changes nothing"),
        ("rift+mean-sparse", "the weights of rift may not keep it either: leave rift[+]mean-sparse"),
    ],
)
def test_no_numbers_keep_the_rule(made, monkeypatch, tmp_path, name, said):
    """On a fine-tuning's weights no point changes nothing: one that does not mend it is no remedy."""
    run, weights = made(name)
    worst = WorstCase(run.network(adversarial_training(made("none")[0])), run.data.test, None, ())

    def answers(worst, attacked, journal, name):
        return np.full(len(worst.images), int(name == "base"), np.int8)

    monkeypatch.setattr(WorstCase, "answers", answers)
    with pytest.raises(UserError, match=said):
        numbers_by_rule(run, run.network(weights), worst, Journal(tmp_path / "numbers", "x"))


def test_close_numbers_are_told_apart(made, monkeypatch, tmp_path):
    """What was found at one point of a grid is never read for another that rounds to it."""
    run, weights = made("mean-sparse")
    grid = tuple({"threshold": t} for t in (0.1, 0.1 + 1e-9, 0.1 + 2e-9))
    monkeypatch.setattr(MeanSparse, "grid", grid)
    worst = WorstCase(run.network(adversarial_training(made("none")[0])), run.data.test, None, ())
    asked = []

    def answers(worst, attacked, journal, name):
        asked.append(name)
        return np.full(len(worst.images), int(name == "base"), np.int8)

    monkeypatch.setattr(WorstCase, "answers", answers)
    with pytest.raises(UserError, match="no numbers of MeanSparse"):
        numbers_by_rule(run, run.network(weights), worst, Journal(tmp_path / "numbers", "x"))
    assert len(set(asked)) == len(asked) == 4


def test_what_is_told_of_a_fine_tuning_is_told_of_it_alone(made, monkeypatch):
    """Not of the module that is made of its weights, whether or not the same process made them."""
    run, base = made("none")
    plan = Plan.of(Cell.parse(KEY.format("rift+flip-average")), scale(str(MINI)))
    monkeypatch.setattr("benchmark.run.rift", lambda run, theta: run.told.append("so") or theta)
    another_forward_pass(replace(run, plan=plan), base)
    assert run.store.making(plan.cell).provenance.begun == []


def test_a_temperature_keeps_every_answer(made):
    """Weights times a power of two: clean bits are the base's."""
    (base, before), (run, after) = made("none"), made("last-layer-temperature")
    assert torch.equal(after.state["linear.weight"], 8 * before.state["linear.weight"])
    bits = [each.store.bits(each.store.record(each.plan.cell, "clean")) for each in (base, run)]
    assert all((bits[0][name] == bits[1][name]).all() for name in bits[0])


def test_more_of_the_same_training(made):
    """`continued-at` moves all by the base's method for the fine-tuning's epochs."""
    run, _ = made("continued-at")
    assert run.plan.tuner == run.plan.base.method
    assert len(run.store.making(run.plan.cell).details.epochs) == run.plan.recipe.epochs


def test_the_average_of_epochs(made):
    """Its parameters are the mean of the last epochs', its statistics are estimated anew."""
    run, weights = made("epoch-average")
    mean, _ = load_tensors(run.store.work(run.plan.cell.base) / "average.safetensors")
    named = dict(run.network(weights).named_parameters())
    assert all(torch.equal(weights.state[name], mean[name]) for name in named)
    assert not torch.equal(weights.state["bn1.running_mean"], mean["bn1.running_mean"])
    path = run.store.work(run.plan.cell.base) / "average.safetensors"
    space = run.workspace(run.plan.base.cell, run.plan.base.spec)
    aside = path.rename(path.with_suffix(".aside"))
    try:
        with pytest.raises(UserError, match=r"the mean of the last epochs' weights of .* is not at"):
            space.average(adversarial_training(run))
    finally:
        aside.rename(path)


def test_a_making_that_the_rule_contradicts(made):
    """Another number than the points lead to, and a grid of other points, are told."""
    run, _ = made("mean-sparse")
    making = run.store.making(run.plan.cell)
    details = making.details

    def problems(**changed):
        other = making.model_copy(update={"details": details.model_copy(update=changed)})
        return [text for _, text in check_making(other, run.plan)]

    assert problems() == []
    module = copy.deepcopy(details.module)
    module["numbers"]["threshold"] = 0.45
    (text,) = problems(module=module)
    assert "by its points the rule chooses" in text
    assert problems(points=details.points[1:]) == ["are not the 11 of the grid of mean-sparse"]
    assert "is missing" in problems(reference=None)[0]


def test_a_mirrored_making_is_chosen_again(made):
    """The most robust of the points that were attacked, the first on a tie; one that is as accurate as
    another was attacked, too."""
    run, _ = made("mean-sparse-mirrored")
    making = run.store.making(run.plan.cell)
    details = making.details
    assert list(check_making(making, run.plan)) == []

    def problems(chosen, robust, clean=(20,) * 11):
        counts = [[None if k is None else Count(k=k, n=30) for k in ks] for ks in (clean, robust)]
        points = [
            point.model_copy(update={"clean": std, "robust": adv})
            for point, std, adv in zip(details.points, *counts, strict=True)
        ]
        module = details.module | {"numbers": details.points[chosen].numbers}
        changed = details.model_copy(update={"module": module, "points": points})
        other = making.model_copy(update={"details": changed})
        return [text for _, text in check_making(other, run.plan)]

    robust = (5, 9, 9, 7, *[4] * 7)
    assert problems(1, robust) == []
    for other in (0, 2, 10):
        (text,) = problems(other, robust)
        assert "by its points the rule chooses {'threshold': 0.05}" in text
    assert problems(1, (*robust[:-1], None)) == ["lack a robust accuracy that the rule asks"]
    assert problems(1, (*robust[:-1], None), (*[20] * 10, 19)) == []


def test_a_making_with_other_numbers(made):
    """A method without numbers has none, and no name of one is markup."""
    run, _ = made("flip-average")
    making = run.store.making(run.plan.cell)
    assert list(check_making(making, run.plan)) == []
    for numbers, told in (
        ({"weight": 1.0}, "not {} of flip-average"),
        ({"<b>": 1.0}, None),
        (None, None),
    ):
        changed = json.loads(making.model_dump_json())
        changed["details"]["module"] |= {"numbers": numbers}
        if told is None:
            with pytest.raises(ValidationError, match="module"):
                Making.model_validate(changed)
        else:
            ((_, text),) = check_making(Making.model_validate(changed), run.plan)
            assert told in text


@pytest.mark.parametrize(
    ("name", "field", "part"),
    [
        ("mean-sparse", "on_sha256", "pgd-at/none"),
        ("rift+mean-sparse", "on_sha256", "pgd-at/rift"),
        ("output-mix", "on_sha256", "pgd-at/none"),
        ("output-mix", "partner_sha256", "standard/none"),
    ],
)
def test_a_making_of_other_weights(made, name, field, part):
    """What a module is said to be made of has to be the weights of that model."""
    run, _ = made(name)
    made("rift")
    library = Library(read([run.store.results]).entries)
    entry = library.entries[run.plan.cell, MAKING]
    assert list(check_together(entry, library)) == []
    details = entry.file.details.model_copy(update={field: "0" * 64})
    other = replace(entry, file=entry.file.model_copy(update={"details": details}))
    ((place, text),) = check_together(other, library)
    assert place == f"details.{field}"
    assert re.search(rf"is 0{{64}}, but the weights of \S+/{part}/seed0 are [1-9a-f]", text)


class TestNames:
    """What a name of a module means, and what has no meaning."""

    def test_composites(self):
        """Weights by the one, then the module by the other, under one protocol."""
        found = finetune("top-2+mean-sparse-held-out-curve")
        assert (found.before, found.whole_curve, found.selects_on) == (
            "top-2-held-out",
            True,
            "hold-out",
        )
        assert finetune("mean-sparse-held-out").before == "none-held-out"
        assert finetune("rift+mean-sparse-mirrored").before == "rift"
        assert Cell.parse(KEY.format("rift+mean-sparse")).key == KEY.format("rift+mean-sparse")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("mean-sparse+rift", "before '\\+' weights are trained"),
            ("rift+top-2", "before '\\+' weights are trained"),
            ("flip-average+mean-sparse", "before '\\+' weights are trained"),
            ("rift+sparse", "unknown fine-tuning"),
            ("+mean-sparse", "unknown fine-tuning"),
            ("mean-sparse-alpha-1", "without alpha; leave out '-alpha-1'"),
            ("rift-mirrored", "rift trains weights"),
            ("wise-ft-curve", "wise-ft is at alpha = 0.5 and searches none"),
        ],
    )
    def test_refusals(self, name, message):
        """One line each."""
        refused(lambda: finetune(name), message)

    def test_what_a_checkpoint_has_not(self):
        """No second network is trained beside one, and it has no epochs; a network is not its own."""
        standard = replace(cell_at("output-mix"), method="standard")
        refused(lambda: Plan.of(standard, BY_HAND), "mixes with a network trained by standard")
        narrow = scale("narrow-from-narrow-cifar10-resnet18-w16-pgd-at-seed0")
        for name, text in (
            ("mixed-nuts", "needs a network trained by"),
            ("epoch-average", "last epochs"),
            ("epoch-average+mean-sparse", "last epochs"),
        ):
            (cell,) = narrow.cells(["cifar10"], ["resnet18-w16"], [name])
            refused(partial(Plan.of, cell, narrow), text)
        (cell,) = narrow.cells(["cifar10"], ["resnet18-w16"], ["mean-sparse"])
        assert Plan.of(cell, narrow).rule is not None

    def test_what_is_before_a_module_needs_batch_norm_too(self):
        """A module of weights that nothing moves is refused as they are; one of the base's is not."""
        for name in ("bn-only", "bn-only+flip-average", "rift-bn-frozen+mean-sparse-held-out"):
            with pytest.raises(UserError, match="is about batch-norm statistics"):
                Plan.of(replace(cell_at(name), arch="vit-mini"), BY_HAND)
        assert Plan.of(replace(cell_at("flip-average"), arch="vit-mini"), BY_HAND).forward is not None


@pytest.mark.parametrize("name", ["mean-sparse", "mixed-nuts"])
def test_an_exported_module_is_loaded_like_weights(made, name, tmp_path):
    """The file has its spec; what the card's code reads from it has the module's identity and
    answers."""
    from benchmark.jobs.checkpoint import on_device
    from benchmark.jobs.export import export

    run, weights = made(name)
    exported = export(run.plan.cell, "x.safetensors", run.store, name="x")
    path = tmp_path / "x.safetensors"
    path.write_bytes(exported.content)
    code = exported.card.split("```")[1].removeprefix("python\n").replace(path.name, str(path))
    space = {}
    exec(code, space)
    found = Weights.of(space["loaded"].state, space["loaded"].module)
    model = on_device(space["model"], found, run.device)
    assert found.sha256 == weights.sha256
    x, _ = run.data.test.batch(0, 30)
    with torch.no_grad():
        assert torch.equal(model(x), run.network(weights)(x))
    assert f"then {name}" in exported.entry.what


@pytest.mark.parametrize(("name", "has_one"), [("mean-sparse", True), ("none", False)])
def test_a_file_is_attacked_through_its_stand_in(made, store, tmp_path, monkeypatch, name, has_one):
    """That of the method that its metadata name; a network has none."""
    from contextlib import nullcontext

    from benchmark.evaluation.record import Evaluating
    from benchmark.jobs.checkpoint import ModelFile, evaluate_model_file
    from benchmark.jobs.export import export

    run, _ = made(name)
    path, seen = tmp_path / "x.safetensors", []
    path.write_bytes(export(run.plan.cell, path.name, run.store, name="x").content)
    monkeypatch.setattr(Evaluating, "record", lambda self, _: seen.append(self.attacked))
    file = ModelFile(path, run.plan.base.arch, run.plan.base.info)
    how = {"directory": tmp_path, "store": store, "device": run.device}
    evaluate_model_file(file, ["pgd10x3-adaptive"], progress=lambda _: nullcontext(silent), **how)
    (attacked,) = seen
    assert (attacked.stand_in is not attacked.model) == has_one
    attacked.check(run.data.test.batch(0, 30)[0])


def test_a_module_of_an_unknown_method_is_refused():
    """A file of another suite's method, and of another version, in one line."""
    from benchmark.posthoc import of_spec

    spec = MeanSparse((0.25,)).spec({"threshold": 0.25})
    assert of_spec(spec, "x") == MeanSparse((0.25,))
    for given in ({"forward": 3}, {"forward": ["mean-sparse"]}, {}):
        refused(partial(of_spec, given, "x"), "'x' holds a module of no method")
    for changed in ({"type": "other"}, {"version": 99}):
        other = {"forward": spec["forward"] | changed}
        refused(partial(of_spec, other, "x"), r"'x' holds a module of .* cannot make")
