"""The order of the steps: what a cell reuses and what it writes."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.algorithm import interpolate as step_3
from benchmark.data.images import Dataset
from benchmark.engine.counting import pgd_answers
from benchmark.engine.kept_weights import read_weights
from benchmark.engine.precision import Precision, use, used
from benchmark.engine.provenance import check_repeatable, device_name, machine_versions
from benchmark.engine.weights import Weights, load_tensors
from benchmark.engine.workspace import WeightsDiffer
from benchmark.errors import UserError
from benchmark.evaluation.clean import Clean
from benchmark.evaluation.pgd import Pgd10x3
from benchmark.jobs.export import export, toml_block
from benchmark.jobs.tasks import Options, Task
from benchmark.jobs.worker import refuse_missing
from benchmark.plans.cost import stages_left
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.records.records import Count
from benchmark.records.specs import spec_hash
from benchmark.records.store import WEIGHTS, Store
from benchmark.run import adversarial_training, choose_alpha, run_cell
from handmade import cell_at, write_making
from invoking import MINI
from tiny_runs import BASE, EVALUATIONS, changed, run_of


@pytest.fixture
def _alpha_is_zero(monkeypatch):
    """Every search for alpha* ends at 0."""
    monkeypatch.setattr(
        "benchmark.run.best_alpha", lambda *args, whole: (0.0, step_3.best_alpha(*args)[1])
    )


@pytest.fixture
def make(store, digits):
    """Make the cell of a fine-tuning of the base model on a few images; returns its records."""
    some = Dataset(digits.info, digits.train.first(128), digits.test.first(40))

    def made(finetune: str):
        cell = replace(BASE, finetune=finetune)
        run_cell(run_of(cell, some, store), EVALUATIONS)
        return {name: store.record(cell, name) for name in EVALUATIONS}

    return made


@pytest.mark.usefixtures("_alpha_is_zero")
def test_equal_weights_are_evaluated_once(make, monkeypatch, store):
    """A cell whose alpha* is 0 takes over the base model's outcome."""
    base = make("none")
    for evaluation in (Clean, Pgd10x3):
        monkeypatch.setattr(evaluation, "run", None)
    again = make("last-layer")
    for name in EVALUATIONS:
        assert again[name].parts == base[name].parts
        assert again[name].value == base[name].value
        assert again[name].provenance == base[name].provenance
        for part, bits in store.bits(base[name]).items():
            assert np.array_equal(store.bits(again[name])[part], bits)


@pytest.mark.usefixtures("_alpha_is_zero")
def test_records_do_not_depend_on_which_cell_was_first(make, monkeypatch, store):
    """Three cells of the same weights are evaluated once in any order, and give the same bytes."""
    runs, run = [], Pgd10x3.run
    monkeypatch.setattr(Pgd10x3, "run", lambda *args: runs.append(1) or run(*args))
    orders = ("none", "last-layer", "all-layers"), ("all-layers", "none", "last-layer")
    made = []
    for order in orders:
        for finetune in order:
            make(finetune)
        files = [path for name in EVALUATIONS for path in store.results.rglob(f"{name}.*")]
        made.append({path: without_time(path.read_bytes()) for path in files})
        for path in files:
            path.unlink()
    assert len(made[0]) == 3 * 2 * 2
    assert made[0] == made[1]
    assert len(runs) == len(orders)


def without_time(content: bytes) -> bytes:
    """A file without the time at which its record was made and how long that took."""
    return re.sub(rb'"(started|seconds)": [^,]*,', b"", content)


def test_another_choice_of_modules_is_trained_anew(make, monkeypatch, store):
    """Fine-tuned weights of one module are not taken for those of another, which MRC chose later."""
    for module in ("layer1.0.conv1", "linear"):
        monkeypatch.setattr("benchmark.algorithm.selection.Candidates.ranked", [module])
        making = store.record_path(cell := replace(BASE, finetune="rift-alpha-1"), "making")
        for path in (making, store.work(cell) / WEIGHTS):
            path.unlink(missing_ok=True)
        for name in EVALUATIONS:
            store.record_path(cell, name).unlink(missing_ok=True)
        make("rift-alpha-1")
        before, after = (read_weights(store, each)[0].state for each in (BASE, cell))
        moved = {name for name in changed(before, after) if name.endswith("weight")}
        assert moved == {f"{module}.weight"}


def test_a_second_run_makes_nothing(make, monkeypatch):
    """A cell whose records are there is left alone."""
    first = make("none")
    monkeypatch.setattr("benchmark.run.adversarial_training", None)
    assert make("none") == first


def test_weights_are_not_made_again_where_they_would_differ(store, monkeypatch):
    """Another machine, number of threads or precision is told before anything is trained."""
    cpu = torch.device("cpu")
    made = write_making(store, cell_at())
    same = made.provenance.model_copy(
        update={
            "versions": machine_versions(),
            "device": device_name(cpu),
            "threads": torch.get_num_threads(),
            "precision": used().label(cpu),
        }
    )
    check_repeatable(made.model_copy(update={"provenance": same}), cpu)
    compiled = same.model_copy(update={"precision": "fp32, compiled"})
    with pytest.raises(UserError, match=r"they were made in fp32, compiled \(--precision, --compile\)"):
        check_repeatable(made.model_copy(update={"provenance": compiled}), cpu)
    with pytest.raises(UserError, match="made on another machine"):
        check_repeatable(made, cpu)
    begun = same.model_copy(update={"begun": ["adversarial training: epochs up to 1 were made so"]})
    with pytest.raises(UserError, match=r"no run repeats .*epochs up to 1 were made so"):
        check_repeatable(made.model_copy(update={"provenance": begun}), cpu)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    message = (
        f"7 threads would not repeat them bit by bit; they were made with --threads {same.threads}"
    )
    with pytest.raises(UserError, match=message):
        check_repeatable(made.model_copy(update={"provenance": same}), cpu)


class TestLostWeights:
    """Weights of a record are made again without counting what stands in it."""

    CELL = replace(BASE, finetune="all-layers")

    @pytest.fixture
    def again(self, make, store, monkeypatch):
        """Makes a cell again of which only the fine-tuned weights and the making, which may be changed,
        are left; nothing on the path to them can be counted."""
        with monkeypatch.context() as patch:  # alpha* is 0.35
            path = "benchmark.algorithm.path.Path"
            patch.setattr(
                f"{path}.clean", lambda _, alpha: Count(k=40 - round(abs(7 - 20 * alpha)), n=40)
            )
            patch.setattr(f"{path}.robust", lambda *_: Count(k=5, n=40))
            make("all-layers")
        store.work(self.CELL).joinpath(WEIGHTS).unlink()
        for name in EVALUATIONS:
            store.record_path(self.CELL, name).unlink()
        for journal in store.artifacts.rglob("*interpolation*"):
            shutil.rmtree(journal)
        for counting in ("journaled_pgd_answers", "clean_count"):
            monkeypatch.setattr(f"benchmark.algorithm.path.{counting}", None)

        def made(**changes: object):
            known = store.making(self.CELL)
            making = known.model_copy(update=changes)
            store.record_path(self.CELL, "making").write_text(making.model_dump_json())
            make("all-layers")

        return made

    def test_nothing_is_counted_again(self, again, store):
        """The weights are those of the record, though none of its counts can be had."""
        again()
        weights, _ = read_weights(store, self.CELL)
        assert weights.sha256 == store.making(self.CELL).provenance.weights_sha256

    def test_other_work_is_counted(self, again, store):
        """The curve of a making of another spec is not taken."""
        spec = store.making(self.CELL).spec | {"other": 1}
        with pytest.raises(TypeError, match="not callable"):
            again(spec=spec, spec_hash=spec_hash(spec))

    def test_a_changed_curve_is_refused(self, again, store):
        """What it leads to, here alpha 1, are not the weights that the making names."""
        details = store.making(self.CELL).details
        assert details.alpha == 0.35
        better = [
            point.model_copy(
                update={"clean": Count(k=40 * (point.alpha == 1), n=40), "robust": details.reference}
            )
            for point in details.curve
        ]
        with pytest.raises(WeightsDiffer, match="are not those behind its records"):
            again(details=details.model_copy(update={"curve": better}))


class TestRegisteredWeights:
    """Records whose weights are not here go on from the registry's file of these weights."""

    @pytest.fixture
    def base(self, own_mini, digits, tmp_path, monkeypatch):
        """Step 0 of `BASE`, whose weights are registered, in a store; training raises."""
        exported = export(BASE, "base.safetensors", own_mini, name="base")
        (tmp_path / "base.safetensors").write_bytes(exported.content)
        registry = tmp_path / "checkpoints.toml"
        registry.write_text("schema_version = 1\n" + toml_block(exported.entry))
        monkeypatch.setenv("BENCHMARK_CHECKPOINTS", str(registry))

        def never(*args, **kwargs):
            raise AssertionError("trained")

        monkeypatch.setattr("benchmark.engine.workspace.fit", never)
        return lambda store: adversarial_training(run_of(BASE, digits, store))

    def test_nothing_is_trained_again(self, base, own_mini):
        """Where artifacts are lost, the weights are those that the making on record names."""
        shutil.rmtree(own_mini.artifacts)
        assert base(own_mini).sha256 == own_mini.making(BASE).provenance.weights_sha256

    def test_results_of_ones_own_are_trained(self, base, tmp_path):
        """A store without the making gets no weights but its own."""
        with pytest.raises(AssertionError, match="trained"):
            base(Store(tmp_path / "mine", tmp_path / "work"))

    def test_they_cost_no_training(self, base, own_mini, tmp_path):
        """The time left counts no adversarial training where the file is brought."""
        shutil.rmtree(own_mini.artifacts)
        plan = Plan.of(BASE, scale(str(MINI)))
        left = stages_left(own_mini, plan, ["autoattack"], tmp_path)
        assert not left["adversarial training"] and left["autoattack"]
        elsewhere = stages_left(Store(tmp_path / "mine", tmp_path), plan, ["autoattack"], tmp_path)
        assert elsewhere["adversarial training"]

    def test_their_average_is_not_there(self, base, own_mini, tmp_path):
        """What begins at the mean of the last epochs' weights is refused before any work."""
        shutil.rmtree(own_mini.artifacts)
        task = Task(BASE, (replace(BASE, finetune="epoch-average"),))
        options = Options(own_mini, tmp_path, "cpu", 1)
        with pytest.raises(UserError, match="the registry has those alone"):
            refuse_missing([task], scale(str(MINI)), options)
        mine = Store(tmp_path / "mine", tmp_path / "work")
        assert refuse_missing([task], scale(str(MINI)), replace(options, store=mine))

    def test_another_file_is_refused(self, base, own_mini, tmp_path):
        """A file that is not the registry's is named before anything is read from it."""
        shutil.rmtree(own_mini.artifacts)
        (tmp_path / "base.safetensors").write_bytes(b"other")
        with pytest.raises(UserError, match="is not base: expected"):
            base(own_mini)


class TestChoosingAlpha:
    """alpha* is decided in fp32, whatever the process computes in."""

    FINETUNES = ("last-layer", "last-layer-official-code", "last-layer-held-out")

    @pytest.fixture
    def choose(self, digits, learned_mini, tmp_path):
        """Step 3 of a fine-tuning towards other weights, with journals in a named folder."""

        def chosen(finetune: str, folder: str, numbers: str, images: int = 500):
            store = Store(tmp_path / "results", tmp_path / folder)
            some = replace(digits, test=digits.test.first(images))
            run = run_of(replace(BASE, finetune=finetune), some, store)
            use(Precision(numbers))
            chosen = choose_alpha(run, *learned_mini)
            assert used() == Precision(numbers)
            return chosen

        return chosen

    @pytest.fixture
    def learned_mini(self, mini):
        """Weights of both seeds of `mini.toml`, as if one were fine-tuned from the other."""
        paths = (mini.work(replace(BASE, seed=seed)) / WEIGHTS for seed in (0, 1))
        return [Weights.of(load_tensors(path)[0]) for path in paths]

    @pytest.mark.parametrize("finetune", FINETUNES)
    def test_bf16_changes_nothing(self, choose, finetune, tmp_path, monkeypatch):
        """Curve, journals and their fingerprint are those of fp32, and either continues the other's."""
        expected = choose(finetune, "fp32", "fp32")
        assert choose(finetune, "bf16", "bf16") == expected
        exact, forced = (
            {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
            for root in (tmp_path / "fp32", tmp_path / "bf16")
        )
        assert exact == forced
        monkeypatch.setattr("benchmark.engine.counting.pgd_answers", None)
        assert choose(finetune, "fp32", "bf16") == choose(finetune, "bf16", "fp32") == expected

    def test_the_start_is_attacked_once(self, choose, learned_mini, monkeypatch):
        """Two fine-tunings of a base model share its robust count, and find what each finds alone; the
        step of another protocol is another attack."""
        alone = [choose(name, name, "fp32", 100) for name in ("all-layers", *self.FINETUNES[:2])]
        start, attacked = learned_mini[0].state, []

        def counting(model, *args):
            attacked.append(torch.equal(model.state_dict()["linear.weight"], start["linear.weight"]))
            return pgd_answers(model, *args)

        monkeypatch.setattr("benchmark.engine.counting.pgd_answers", counting)
        shared = []
        for name in ("all-layers", *self.FINETUNES[:2]):
            attacked.clear()
            shared.append((choose(name, "shared", "fp32", 100), any(attacked)))
        assert shared == list(zip(alone, (True, False, True), strict=True))
