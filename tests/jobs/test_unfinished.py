"""Unfinished work: checked before it is continued, never begun again in silence, same bytes after."""

import hashlib
import shutil
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save

from benchmark.data.images import Dataset
from benchmark.engine import counting, workspace
from benchmark.engine import first_choice as choosing
from benchmark.engine.first_choice import first_choice
from benchmark.engine.kept_weights import read_weights
from benchmark.engine.precision import UNITS, Precision, use, used
from benchmark.engine.provenance import device_name, journaled
from benchmark.engine.takeover import REFUSE, Takeover
from benchmark.engine.training_state import StateFile
from benchmark.engine.weights import Weights, load_tensors, save_tensors, weights_sha256
from benchmark.errors import UserError
from benchmark.evaluation import EVALUATIONS
from benchmark.evaluation.corruptions import GeneratedCorruptions
from benchmark.evaluation.record import Evaluating
from benchmark.jobs.tasks import Options, Task
from benchmark.jobs.worker import Worker
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run
from benchmark.plans.states import State, cell_state
from benchmark.progress import silent
from benchmark.records import stopping
from benchmark.records.cells import Cell
from benchmark.records.files import write_atomically
from benchmark.records.stopping import StopRequested
from benchmark.records.store import Store
from benchmark.run import adversarial_training, measure_criticality, run_cell
from handmade import copied_to, store_in, write_making
from invoking import MINI, refused
from killing import killing

BASE = Cell("mini", "digits", "resnet18-w8", "pgd-at", "none", 0)
TUNED = replace(BASE, finetune="last-layer")
IMAGES = 40
CPU = torch.device("cpu")
GO_ON, REDO = Takeover(continue_anyway=True), Takeover(redo_stale=True)
OPEN = Precision("fp32", None)  # compiled or not as is found


@pytest.fixture(autouse=True)
def _kept_at_once(monkeypatch):
    """No state waits for its minute."""
    monkeypatch.setattr(stopping, "EVERY", 0.0)


@pytest.fixture(scope="module")
def some(digits):
    """A few images of the embedded dataset."""
    return Dataset(digits.info, digits.train.first(256), digits.test.first(IMAGES))


@pytest.fixture(scope="module")
def make_in(some):
    """A function that makes a cell and its record in a store; returns the making."""

    def made(where, cell=BASE, takeover=REFUSE, recipe=None):
        plan = Plan.of(cell, scale(str(MINI)))
        if recipe is not None:
            plan = replace(plan, base=replace(plan.base, recipe=recipe(plan.base.recipe)))
        run_cell(Run(plan, some, where, silent, takeover=takeover), ("clean",))
        return where.making(cell)

    return made


@pytest.fixture
def make(make_in, store):
    """The same in the test's own store."""
    return partial(make_in, store)


@pytest.fixture(scope="module")
def whole(make_in, tmp_path_factory):
    """A store with the base model, made in one go; to be read only."""
    where = store_in(tmp_path_factory.mktemp("whole"))
    before = used()
    use(Precision("fp32"))
    make_in(where)
    use(before)
    return where


@pytest.fixture
def based(whole, store):
    """A test's own store with that base model in it."""
    return copied_to(store, whole)


@contextmanager
def killed_at(place):
    """Work inside is killed once a state is written of which `place`, given file and state, is true."""
    save = StateFile.save

    def stops(file, state):
        save(file, state)
        if place(file, state):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StateFile, "save", stops)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.fixture
def killed(make, store):
    """A function that makes a cell until a state of so many epochs is written; returns its path."""

    def begun(cell=BASE, name="training", epochs=1, **options):
        with killed_at(lambda file, state: (file.path.stem, state.epoch) == (name, epochs)):
            make(cell, **options)
        return store.work(cell) / f"{name}.safetensors"

    return begun


def other_precision(_patch):
    """bf16 instead of fp32."""
    use(Precision("bf16"))


def other_threads(patch):
    """Seven threads, or so it seems."""
    patch.setattr(torch, "get_num_threads", lambda: 7)


def other_chunk(patch):
    """At most 16 digits at a time."""
    patch.setattr(counting, "BATCH_VALUES", 16 * 64)


CHANGES = pytest.mark.parametrize(
    ("change", "there", "here"),
    [
        (other_precision, "precision fp32", "precision bf16, scored in fp32"),
        (other_threads, "threads 1", "threads 7"),
        (other_chunk, "chunk 512", "chunk 16"),
    ],
)


class TestCircumstances:
    """Training states that were made in another precision, number of threads or chunk."""

    @CHANGES
    def test_refused_by_name(self, make, killed, monkeypatch, change, there, here):
        """One line says what differs and by which flag the state is continued; it stays as it is."""
        path = killed()
        before = path.read_bytes()
        change(monkeypatch)
        said = rf"'.*/training\.safetensors'.*with {there}, and.*with {here}; --continue-anyway"
        refused(lambda: make(takeover=REDO), said)
        assert path.read_bytes() == before

    @CHANGES
    def test_continued_where_that_is_allowed(
        self, make, killed, store, monkeypatch, change, there, here
    ):
        """The making says what it began with beside what it ended with, and the record remarks it."""
        killed()
        change(monkeypatch)
        made = make(takeover=GO_ON)
        line = f"adversarial training: epochs up to 1 were made with {there}"
        assert made.provenance.begun == [line]
        assert made.provenance.resumed
        name, _, value = here.partition(" ")
        assert str(getattr(made.provenance, name)) == value
        assert line in store.record(BASE, "clean").remarks

    def test_every_change_is_told(self, make, killed, monkeypatch):
        """A training that is continued in a third way names the first and the second."""
        killed()
        use(Precision("bf16"))
        killed(epochs=2, takeover=GO_ON)
        other_threads(monkeypatch)
        refused(lambda: make(), "with threads 1, and")
        assert [line.rpartition(": ")[2] for line in make(takeover=GO_ON).provenance.begun] == [
            "epochs up to 1 were made with precision fp32",
            "epochs up to 2 were made with threads 1",
        ]

    @pytest.mark.usefixtures("based")
    def test_fine_tuning_is_no_exception(self, make, killed, monkeypatch):
        """Its state is refused too, and what is continued is told wherever its weights are used."""
        killed(TUNED, "finetuning")
        other_threads(monkeypatch)
        refused(lambda: make(TUNED), r"finetuning\.safetensors'.*--continue-anyway")
        for cell in (TUNED, replace(TUNED, finetune="last-layer-alpha-1")):
            (line,) = make(cell, GO_ON).provenance.begun
            assert line == "fine-tuning: epochs up to 1 were made with threads 1"

    @pytest.mark.parametrize("epochs", [1, 3])
    def test_unchanged_work_needs_no_flag(self, make, killed, store, whole, epochs):
        """The same circumstances give the same weights and the same mean, and nothing is said."""
        killed(epochs=epochs)
        made, expected = make().provenance, whole.making(BASE).provenance
        assert made.weights_sha256 == expected.weights_sha256
        assert (made.begun, made.resumed) == ([], True)
        one, other = (
            load_tensors(where.work(BASE) / "average.safetensors")[0] for where in (store, whole)
        )
        assert weights_sha256(one) == weights_sha256(other)

    def test_on_the_command_line(self, killed, store, command, tmp_path):
        """The cell fails with exit code 2 until the flag is given."""
        killed()
        anywhere = tmp_path / "anywhere.toml"
        anywhere.write_text(MINI.read_text().replace('precision = "fp32"\n', ""))
        arguments = ("run", BASE.key, "--scale", str(anywhere), "--precision")
        command(*arguments, "fp32", "--dry-run").good()
        said = command(*arguments, "bf16")
        assert said.exit_code == 2
        assert "training.safetensors' is a training begun with precision fp32" in said.stderr
        assert store.making(BASE) is None
        command(*arguments, "bf16", "--continue-anyway").good()
        assert len(store.making(BASE).provenance.begun) == 1


HERE, ELSEWHERE = device_name(torch.device("cpu")), "another device"


def move(patch):
    """Go on with the work on another device."""
    patch.setattr("benchmark.engine.provenance.device_name", lambda _: ELSEWHERE)


class TestDevices:
    """Work that goes on on another device, as a queue decides."""

    def test_a_training_names_each(self, make, killed, store, monkeypatch):
        """No flag is needed, and nothing is made again; the record tells what was made where."""
        path = killed()
        move(monkeypatch)
        made = make().provenance
        line = f"adversarial training: epochs up to 1 were made with device {HERE}"
        assert (made.device, made.begun, made.resumed) == (ELSEWHERE, [line], True)
        assert line in store.record(BASE, "clean").remarks
        assert not path.exists()

    def test_an_unfinished_epoch_is_named_too(self, make, killed, monkeypatch):
        """With the steps of it that were done."""
        with killed_at(lambda _, state: state.step == 1):
            make()
        move(monkeypatch)
        (line,) = make().provenance.begun
        assert f"epochs up to 0 and 1 steps were made with device {HERE}" in line

    def test_steps_of_a_fine_tuning_name_theirs(self, make, based, monkeypatch):
        """Criticality and attacks of the base model that were done elsewhere are taken, and the making
        says so."""
        make(TUNED)
        rift = replace(BASE, finetune="rift")
        with monkeypatch.context() as patch:
            patch.setattr("benchmark.run.fine_tune", None)
            with pytest.raises(TypeError):
                make(rift)
        assert make(TUNED).provenance.begun == []
        move(monkeypatch)
        made = make(rift).provenance
        parts = ("criticality", "interpolation")
        assert made.begun == [f"{part}: a part was done on device {HERE}, threads 1" for part in parts]

    @pytest.mark.usefixtures("based")
    def test_who_takes_what_is_finished_has_no_part_in_it(self, make, monkeypatch):
        """A measurement that was made here is not said to be of who fine-tuned by it meanwhile."""
        make(replace(BASE, finetune="rift"))
        with monkeypatch.context() as patch:
            move(patch)
            make(replace(BASE, finetune="rift-alpha-1"))
        assert make(replace(BASE, finetune="rift-bn-frozen")).provenance.begun == []

    @pytest.mark.parametrize(("first", "then"), [("yes", "no"), ("no", "yes")])
    def test_auto_stays_what_it_was(self, some, tmp_path, monkeypatch, first, then):
        """A base model begun with bf16 units, or without, is made on in the same numbers."""
        anywhere = tmp_path / "mini.toml"
        anywhere.write_text(MINI.read_text().replace('precision = "fp32"\n', ""))
        task, label = Task(BASE, (BASE,)), {"yes": "bf16", "no": "fp32"}[first]

        def work(units, name):
            monkeypatch.setenv(UNITS, units)
            store = Store(tmp_path / name / "results", tmp_path / name / "artifacts")
            on_some = lambda run: run_cell(replace(run, data=some), ("clean",))  # noqa: E731
            options = Options(store, tmp_path, "cpu", 1, make=on_some)
            assert Worker(scale(str(anywhere)), options, lambda *_: None).do(task, block=False) == []
            return store.making(BASE).provenance

        with killed_at(lambda *_: True):
            work(first, "moved")
        moved = work(then, "moved")
        assert moved.precision.startswith(label)
        assert (moved.weights_sha256, moved.begun) == (work(first, "whole").weights_sha256, [])

    def test_a_kill_before_the_weights_are_written(self, make, store, monkeypatch):
        """What has been trained is taken, on another device too, for the making that is there."""
        with monkeypatch.context() as patch:
            patch.setattr(workspace, "save_tensors", None)
            with pytest.raises(TypeError):
                make()
        made = store.making(BASE)
        assert made is not None and not store.has_weights(BASE)
        move(monkeypatch)
        assert make() == made
        assert store.has_weights(BASE)

    def test_a_damaged_choice_is_refused(self, store):
        """One line names the file; other precisions than `auto` do not look at it."""
        write_atomically(store.work(BASE) / "precision", b"fp16")
        auto, fp32 = Precision(), Precision("fp32")
        with pytest.raises(UserError, match="precision' says neither fp32 nor bf16; delete it"):
            first_choice(auto, store, BASE, CPU)
        assert first_choice(fp32, store, BASE, CPU) == fp32

    @pytest.mark.parametrize("name", ["fp32", "auto"])
    @pytest.mark.parametrize("repays", [True, False])
    def test_compiling_is_decided_once(self, store, monkeypatch, name, repays):
        """By what repays when work begins, or by a flag; then it is what was, and a flag is obeyed."""
        monkeypatch.setattr(choosing, "has_compiler", lambda: True)
        free, told = Precision(name, compiled=None), Precision(name, compiled=not repays)
        assert first_choice(free, store, BASE, CPU, lambda: repays).compiled is repays
        assert first_choice(free, store, BASE, CPU, lambda: not repays).compiled is repays
        assert first_choice(told, store, BASE, CPU).compiled is told.compiled
        kept = (store.work(BASE) / "precision").read_text()
        assert kept.endswith(", compiled") is repays
        if repays:
            monkeypatch.setattr(choosing, "has_compiler", lambda: False)
            with pytest.raises(UserError, match=r"was begun compiled, which needs a C\+\+ compiler"):
                first_choice(free, store, BASE, CPU)

    def test_weights_on_record_say_whether_they_were_compiled(self, store):
        """Where the working files are gone, what goes on is as they were made."""
        write_making(store, BASE, scale=scale(str(MINI)))
        assert not first_choice(Precision(compiled=None), store, BASE, CPU, lambda: True).compiled


def test_a_second_network_is_made_in_numbers_of_its_own(store, monkeypatch):
    """Whether it is compiled does not depend on the base model of the mix that asks for it first."""
    begun = {}

    def trained(run):
        begun.setdefault(run.plan.cell.method, used().compiled)  # later ones would find the weights

    monkeypatch.setattr(choosing, "has_compiler", lambda: True)
    repays = "benchmark.jobs.worker.repays_compiling"
    monkeypatch.setattr(repays, lambda base, *_: base.method == "pgd-at")
    monkeypatch.setattr("benchmark.run.adversarial_training", trained)
    mix = replace(BASE, finetune="output-mix")
    worker = Worker(scale(str(MINI)), Options(store, store.artifacts, "cpu", 1, OPEN), lambda *_: None)
    assert worker.make(Task(BASE, (mix,)))  # nothing can be made of no weights
    assert begun == {"pgd-at": True, "standard": False}


class TestSettings:
    """Training states of another recipe, version or base model."""

    def longer(self, recipe):
        return replace(recipe, epochs=4)

    @pytest.mark.parametrize("takeover", [REFUSE, GO_ON])
    def test_refused_by_name(self, make, killed, takeover):
        """They cannot be continued; one line names the file to move away, which stays as it is."""
        path = killed(recipe=self.longer)
        before = path.read_bytes()
        with pytest.raises(
            UserError, match=r"training\.safetensors' is .* other settings .*--redo-stale"
        ):
            make(takeover=takeover)
        assert path.read_bytes() == before

    def test_renamed_on_demand(self, make, killed, whole):
        """The training begins anew, and the state keeps its bytes under the hash of its settings."""
        path = killed(recipe=self.longer)
        before, settings = path.read_bytes(), load_tensors(path)[1]["fingerprint"]
        made = make(takeover=REDO).provenance
        assert made.weights_sha256 == whole.making(BASE).provenance.weights_sha256
        assert not made.resumed
        assert path.with_name(f"training-{settings[:12]}.safetensors").read_bytes() == before


class TestDamage:
    """Working files with a flipped bit."""

    def flip(self, path):
        content = bytearray(path.read_bytes())
        content[-3] ^= 4
        write_atomically(path, bytes(content))
        return bytes(content)

    @pytest.mark.parametrize(("cell", "name"), [(BASE, "training"), (TUNED, "finetuning")])
    def test_a_state_is_dropped(self, make, killed, store, cell, name, caplog):
        """It is said once; the training begins anew and gives the same weights."""
        path = killed(cell, name)
        self.flip(path)
        made = make(cell).provenance
        said = f"'{path}' does not fit the hash of its contents; it is dropped and its work done again"
        assert [record.getMessage() for record in caplog.records] == [said]
        assert not path.exists()
        shutil.rmtree(store.results)
        shutil.rmtree(store.artifacts)
        assert make(cell).provenance.weights_sha256 == made.weights_sha256

    @pytest.mark.parametrize("sealed", [True, False])
    def test_fine_tuned_weights_are_made_again(self, make, based, caplog, sealed):
        """With a flipped bit as without a hash."""
        path = based.work(TUNED) / "finetuned.safetensors"
        again = replace(TUNED, finetune="last-layer-alpha-1")
        make(TUNED)
        whole = load_tensors(path)
        self.flip(path) if sealed else write_atomically(path, save(*whole))
        make(again)
        assert [record.getMessage() for record in caplog.records] == [
            f"'{path}' {'does not fit the' if sealed else 'has no'} hash of its contents; it is "
            "dropped and its work done again"
        ]
        assert weights_sha256(load_tensors(path, sealed=True)[0]) == weights_sha256(whole[0])

    def test_weights_are_not(self, make, based):
        """Records are of them: one line names the file, which stays."""
        path = based.work(BASE) / "weights.safetensors"
        damaged = self.flip(path)
        refused(lambda: make(TUNED), r"weights\.safetensors' does not fit the hash .*; delete it")
        assert path.read_bytes() == damaged

    def test_a_lost_making_is_restored(self, make, based, monkeypatch):
        """From the weights, byte for byte, though all records are there; else it is not missed."""
        path = based.record_path(BASE, "making")
        before, plan = path.read_bytes(), Plan.of(BASE, scale(str(MINI)))
        path.unlink()
        assert cell_state(based, plan, ("clean",)) is State.MISSING
        monkeypatch.setattr(workspace, "fit", None)
        make()
        assert path.read_bytes() == before
        assert cell_state(based, plan, ("clean",)) is State.DONE
        path.unlink()
        (based.work(BASE) / "weights.safetensors").unlink()
        assert cell_state(based, plan, ("clean",)) is State.DONE


class TestKeptOnce:
    """Fine-tuned weights: each tensor is on disk once, and none is made again for that."""

    ENDS = tuple(replace(TUNED, finetune=name) for name in ("last-layer-alpha-1", "last-layer"))

    @pytest.fixture
    def tuned(self, make, based, monkeypatch):
        """A store with the last layer tuned, alpha* of it between both ends."""
        monkeypatch.setattr("benchmark.run.best_alpha", lambda *_, whole: (0.35, []))
        for cell in self.ENDS:
            make(cell)
        return based

    def again(self, make, store, cell):
        """Make the records of `cell` once more, from the weights on disk."""
        store.record_path(cell, "clean").unlink()
        return make(cell).provenance.weights_sha256

    def test_files_hold_what_moved(self, tuned):
        """The last layer and all statistics; of both points no tensor."""
        names = set(load_tensors(tuned.work(TUNED) / "finetuned.safetensors")[0])
        statistics = {name for name in names if name.split(".")[-1].startswith(("running", "num_b"))}
        assert names - statistics == {"linear.weight", "linear.bias"}
        assert len(statistics) == 20 * 3
        for cell in self.ENDS:
            assert load_tensors(tuned.work(cell) / "weights.safetensors")[0] == {}
            kept, made = read_weights(tuned, cell)[0], tuned.making(cell)
            assert kept.sha256 == made.provenance.weights_sha256

    @pytest.mark.parametrize("cell", ENDS)
    def test_they_are_taken_as_they_are(self, make, tuned, monkeypatch, cell):
        """By this version, and by it from the whole file of an earlier one."""
        expected = tuned.making(cell).provenance.weights_sha256
        monkeypatch.setattr(workspace, "fit", None)
        assert self.again(make, tuned, cell) == expected
        kept, told = read_weights(tuned, cell)
        earlier = {name: told[name] for name in ("fingerprint", "making")}
        save_tensors(tuned.work(cell) / "weights.safetensors", kept.state, earlier)
        (tuned.work(TUNED) / "finetuned.safetensors").unlink()
        assert self.again(make, tuned, cell) == expected

    def test_a_whole_fine_tuned_file_is_read_too(self, make, tuned, monkeypatch):
        """As earlier versions wrote it: with the tensors that did not move."""
        path = tuned.work(TUNED) / "finetuned.safetensors"
        state, told = load_tensors(path)
        save_tensors(path, load_tensors(tuned.work(BASE) / "weights.safetensors")[0] | state, told)
        monkeypatch.setattr(workspace, "fit", None)
        for cell in self.ENDS:
            expected = tuned.making(cell).provenance.weights_sha256
            (tuned.work(cell) / "weights.safetensors").unlink()
            assert self.again(make, tuned, cell) == expected

    def test_a_replaced_part_is_made_again(self, make, tuned):
        """To the same bytes, where another recipe has left its own fine-tuned weights meanwhile."""
        path = tuned.work(TUNED) / "finetuned.safetensors"
        state, told = load_tensors(path)
        other = state | {"linear.bias": state["linear.bias"] + 1}
        save_tensors(path, other, told | {"fingerprint": "of another recipe"})
        expected = tuned.making(TUNED).provenance.weights_sha256
        assert self.again(make, tuned, TUNED) == expected
        assert weights_sha256(load_tensors(path)[0]) == weights_sha256(state)

    def test_what_ends_at_the_base_needs_no_tuning(self, make, based, monkeypatch):
        """At alpha = 0 the lost weights are those of the base model, on whatever machine."""
        with monkeypatch.context() as patch:
            patch.setattr("benchmark.run.best_alpha", lambda *_, whole: (0.0, []))
            make(TUNED)
        shutil.rmtree(based.work(TUNED))
        move(monkeypatch)
        monkeypatch.setattr("benchmark.run.fine_tune", None)
        expected = based.making(BASE).provenance.weights_sha256
        assert self.again(make, based, TUNED) == expected

    def test_a_missing_part_is_made_again(self, make, tuned):
        """To the same bytes."""
        (tuned.work(TUNED) / "finetuned.safetensors").unlink()
        assert read_weights(tuned, TUNED) is None
        expected = tuned.making(TUNED).provenance.weights_sha256
        assert self.again(make, tuned, TUNED) == expected
        assert read_weights(tuned, TUNED)[0].sha256 == expected


class TestAverage:
    """The mean of the last epochs' weights beside those of a base model."""

    def test_kept_beside_the_weights(self, whole):
        """It names the weights that it is beside, and is something else."""
        made, path = whole.making(BASE), whole.work(BASE) / "average.safetensors"
        mean, metadata = load_tensors(path, sealed=True)
        weights, _ = load_tensors(path.with_name("weights.safetensors"))
        assert metadata == {"fingerprint": f"{made.spec_hash} {weights_sha256(weights)}"}
        assert {name: x.shape for name, x in mean.items()} == {n: x.shape for n, x in weights.items()}
        assert weights_sha256(mean) != weights_sha256(weights)

    def test_nothing_is_trained_for_it(self, make, based, monkeypatch):
        """Weights without it are taken as they are; fine-tuning makes none."""
        made = based.making(BASE)
        (based.work(BASE) / "average.safetensors").unlink()
        tune = workspace.fit

        def fit(*what, stage, **how):
            assert stage == "fine-tuning"
            return tune(*what, stage=stage, **how)

        monkeypatch.setattr(workspace, "fit", fit)
        make(TUNED)
        assert based.making(BASE) == made
        assert not list(based.artifacts.rglob("average.safetensors"))


class TestChunks:
    """Evaluations that are continued with another number of images at a time."""

    @pytest.fixture
    def evaluate(self, network, learned, some):
        """A function that evaluates a trained network in a store; returns the record and its bits."""
        network.load_state_dict(learned)
        plan = Plan.of(BASE, scale(str(MINI)))

        def evaluated(name, where, progress=silent):
            weights = Weights.of(network.state_dict())
            record = Evaluating(plan, network, weights, some, where, progress).record(name)
            return record, {part: bits.tolist() for part, bits in where.bits(record).items()}

        return evaluated

    @pytest.fixture
    def resumed(self, evaluate, store, tmp_path, monkeypatch):
        """A function that stops an evaluation after `parts`, and continues it in chunks of 16; returns
        that and what chunks of 16 give without a stop."""

        def after(name, parts):
            with pytest.raises(KeyboardInterrupt):
                evaluate(name, store, killing(parts))
            other_chunk(monkeypatch)
            return evaluate(name, store), evaluate(name, Store(tmp_path / "other", tmp_path / "others"))

        return after

    def test_on_another_device(self, evaluate, store, monkeypatch):
        """It goes on where it stopped, and the record names the one that a part was done on."""

        def stops(_stage, done, total, note=""):
            if done == IMAGES:
                stopping.ask()

        with monkeypatch.context() as patch:
            patch.setattr(stopping, "_asked", False)
            with pytest.raises(StopRequested):
                evaluate("pgd10x3", store, stops)
        move(monkeypatch)
        calls, attack = [], counting.pgd_answers
        monkeypatch.setattr(counting, "pgd_answers", lambda *of: calls.append(of) or attack(*of))
        record, _ = evaluate("pgd10x3", store)
        assert len(calls) == 2
        line = f"pgd10x3: a part was done on device {HERE}, threads 1"
        assert record.provenance.begun == [line]
        assert record.provenance.resumed
        assert line in record.remarks

    def test_a_device_that_did_nothing_is_not_named(self, evaluate, store, monkeypatch):
        """One on which an evaluation ended before its first answers has no part in it."""
        with monkeypatch.context() as patch:
            move(patch)
            patch.setattr(counting, "pgd_answers", None)
            with pytest.raises(TypeError):
                evaluate("pgd10x3", store)
        record, _ = evaluate("pgd10x3", store)
        assert (record.provenance.begun, record.provenance.resumed) == ([], False)

    def test_corruptions(self, resumed, monkeypatch):
        """An answer that depends on its place in the batch is of one chunk size only in a record."""
        monkeypatch.setitem(EVALUATIONS, "few", GeneratedCorruptions(15, severities=(1,)))
        answers = lambda model, x, labels: (torch.arange(len(x)) % 3 == 0).to(torch.int8)  # noqa: E731
        monkeypatch.setattr(counting, "answers", answers)
        (record, bits), (_, expected) = resumed("few", 7)
        assert bits == expected
        assert record.provenance.chunk == 16
        assert next(iter(bits.values())) == [place % 16 % 3 == 0 for place in range(IMAGES)]

    def test_pgd_in_bf16(self, resumed):
        """Whether the processor's rounding depends on the batch or not."""
        use(Precision("bf16"))
        (record, bits), (other, expected) = resumed("pgd10x3", IMAGES)
        assert bits == expected
        assert record.bits_sha256 == other.bits_sha256
        assert 0 < record.k < IMAGES

    def test_criticality(self, based, some, monkeypatch):
        """Values that were measured in chunks of another size are not in the journal any more."""
        run = Run(Plan.of(replace(BASE, finetune="rift"), scale(str(MINI))), some, based, silent)
        theta_at, calls = adversarial_training(run), []
        monkeypatch.setattr(
            "benchmark.run.criticality",
            lambda *given, **_: calls.append(given[4]) or [given[4].get("conv1") is None],
        )
        for chunk, none in ((256, True), (256, False), (32, True)):
            monkeypatch.setattr("benchmark.run.CHUNK", chunk)
            assert measure_criticality(run, theta_at) == [none]
            calls[-1].put("conv1", entry=np.zeros(1))


def test_fingerprints_of_unfinished_work():
    """Settings, weights, precision and chunk: each of them counts."""
    cpu, weights = torch.device("cpu"), hashlib.sha256(b"").hexdigest()
    known = {
        journaled(spec, *of, device=cpu, chunk=chunk)
        for spec in ({"a": 1}, {"a": 2})
        for of in ((), (weights,))
        for chunk in (85, 512)
    }
    use(Precision("bf16"))
    assert len(known | {journaled({"a": 1}, device=cpu, chunk=85)}) == 9


def test_ascents_in_bf16_are_apart():
    """`auto` on bf16 units has ascents in fp32, and goes on with none that was begun in bf16."""
    cpu, found = torch.device("cpu"), set()
    for chosen in (Precision("auto", units=True), Precision("bf16")):
        use(chosen)
        found.add(journaled({"a": 1}, device=cpu, chunk=85))
    assert len(found) == 2
