"""Cells that start from a checkpoint of the registry: what they are, and what they never are."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import registering
from benchmark.checkpoints.registry import VARIABLE, checkpoint
from benchmark.cli.scope import Scope, scale_of
from benchmark.data.info import DIGITS
from benchmark.engine.weights import load_tensors, save_tensors, weights_sha256
from benchmark.errors import UserError
from benchmark.models import build
from benchmark.plans.named import arguments, filed, scale
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.start import caveats, starting_from
from benchmark.records.cells import Cell
from benchmark.records.checkout import shipped
from benchmark.records.records import Checkpoint, Finetuning, Making
from benchmark.records.specs import spec_hash
from benchmark.report.tables import REPORTS
from benchmark.report.tables.layout import Row
from benchmark.report.tables.paper import table_1, table_1_cells, table_2_cells
from benchmark.report.view import View
from handmade import store_in, write_record
from invoking import MINI, Command
from registering import toml_of

TRAINED = Cell.parse("mini/digits/resnet18-w8/pgd-at/none/seed0")
BASE = replace(TRAINED, scale="mini-from-one")
RIFT = replace(BASE, finetune="rift")
FROM_ONE = ("--scale", MINI, "--from-checkpoint", "one")
ENTRY = registering.ENTRY | {
    "name": "one",
    "arch": "resnet18-w8",
    "source": "one.safetensors",
    "file": "one.safetensors",
    "what": "PGD-AT of two epochs.",
}
NARROW = Scale(
    name="by-hand",
    summary="numbers written by hand",
    datasets=("digits", "cifar10"),
    archs=("resnet18-w8", "resnet18-w16"),
    seeds=(0, 1, 2),
    threads=1,
    training={"epochs": 3},
    networks={"resnet18-w16": {"epochs": 2}},
    recipes={"trades": {"epochs": 4}},
    evaluations=("clean",),
)


def write_registry(folder: Path, *changes: dict[str, Any]) -> Path:
    """A registry with an entry for each of `changes` to `ENTRY`; of what is None there is none."""
    path = folder / "registry.toml"
    path.write_text(toml_of(*(ENTRY | change for change in changes)))
    return path


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A function that makes a registry of changes to `ENTRY` the one in use."""
    made = []

    def know(*changes: dict[str, Any]) -> None:
        made.append(tmp_path / f"registry-{len(made)}")
        made[-1].mkdir()
        monkeypatch.setenv(VARIABLE, str(write_registry(made[-1], *changes)))

    return know


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights of a small network for digits, as drawn, in a folder of their own."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build("resnet18-w8", DIGITS)
    path = tmp_path_factory.mktemp("file") / "one.safetensors"
    save_tensors(path, network.state_dict(), {})
    return path


@pytest.fixture(scope="module")
def own_registry(file):
    """A registry with the weights in `file`, said to be trained at another eps."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return write_registry(file.parent, {"sha256": digest, "eps": "0.1"})


@pytest.fixture(scope="module")
def ran(own_registry, tmp_path_factory):
    """Table 1 of the mini scale from that checkpoint; to be read only."""
    store = store_in(tmp_path_factory.mktemp("ran"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(own_registry))
        return store, Command(store)("table1", *FROM_ONE)


@pytest.fixture
def started(own_registry, monkeypatch):
    """The mini scale from the checkpoint of `own_registry`, which is in use."""
    monkeypatch.setenv(VARIABLE, str(own_registry))
    return starting_from(scale(str(MINI)), ["one"])


class TestRiftFromACheckpoint:
    """From the file to the table, on digits."""

    def test_starts_from_the_tensors_of_the_file_and_trains_none(self, ran, file):
        """The base model has exactly the file's tensors, and nothing is adversarially trained."""
        store, said = ran
        assert said.exit_code == 0, said.stderr
        assert "adversarial training" not in said.stderr
        kept = load_tensors(store.work(BASE) / "weights.safetensors")[0]
        assert weights_sha256(kept) == weights_sha256(load_tensors(file)[0])
        assert store.making(BASE).provenance.weights_sha256 == weights_sha256(kept)

    def test_is_evaluated_as_the_model_whose_weights_they_are(self, ran, file, digits):
        """Clean accuracy is that of the network with the file's tensors, counted here once more."""
        network = build("resnet18-w8", DIGITS)
        network.load_state_dict(load_tensors(file)[0])
        x = digits.test.images.permute(0, 3, 1, 2) / 255
        right = (network.eval()(x).argmax(1) == digits.test.labels).sum()
        assert ran[0].record(BASE, "clean").k == right

    def test_has_keys_of_its_own(self, ran):
        """Every record is of a cell that names the checkpoint; only what the file is of is made."""
        assert list(ran[0].keys_on_disk()) == [BASE.key, RIFT.key]
        assert BASE.checkpoint == RIFT.checkpoint == "one"
        assert TRAINED.checkpoint is None

    def test_says_in_its_makings_where_the_weights_are_from(self, ran, file, started):
        """The base model's making names file, source and licence; the fine-tuned one's spec has it."""
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        base, tuned = ran[0].making(BASE), ran[0].making(RIFT)
        assert isinstance(base.details, Checkpoint)
        assert (base.details.name, base.details.file_sha256) == ("one", digest)
        assert (base.details.licence, base.details.source) == ("MIT", "one.safetensors")
        assert isinstance(tuned.details, Finetuning)
        assert tuned.spec["tuning"]["base"]["type"] == base.spec["type"] == "checkpoint"
        assert base.spec["name"] == "one"
        assert base.spec["file_sha256"] == digest

    def test_says_in_its_records_what_a_reader_should_know(self, ran):
        """An eps of training that is not that of the evaluation is a remark of every record."""
        for cell in (BASE, RIFT):
            assert ran[0].record(cell, "clean").remarks == [
                "checkpoint one was trained at eps 0.1 and is attacked at eps 0.08 here"
            ]

    def test_is_shown_with_what_the_weights_really_are(self, ran):
        """A note under the table says it; its file has the checkpoint in its name."""
        store, said = ran
        note = (
            "AT weights not trained here: checkpoint one: PGD-AT of two epochs (one.safetensors; MIT)"
        )
        assert note in said.stdout
        written = sorted(path.name for path in (store.results / "tables").iterdir())
        assert written == [f"table1-mini-from-one.{end}" for end in ("csv", "md", "tex")]

    def test_is_done_once(self, ran, started, monkeypatch):
        """The same command finds everything fresh, also without the checkpoint's file."""
        monkeypatch.setattr("benchmark.checkpoints.start.verified_file", None)
        said = Command(ran[0])("table1", *FROM_ONE).good()
        assert "cells to make" not in said.stderr
        assert said.stdout == ran[1].stdout

    def test_reads_the_file_again_where_its_copy_is_gone(self, started, ran, store, digits):
        """Weights of a checkpoint can be had again on any machine, and are the same."""
        from benchmark.plans.running import Run
        from benchmark.run import adversarial_training

        plan = Plan.of(BASE, started)
        made = ran[0].making(BASE)
        elsewhere = made.provenance.model_copy(update={"device": "cpu, another"})
        store.write_making(made.model_copy(update={"provenance": elsewhere}))
        weights = adversarial_training(Run(plan, digits, store, lambda *_: None))
        assert weights.sha256 == made.provenance.weights_sha256

    def test_never_reads_another_file(self, ran, file, own_registry, store, tmp_path, monkeypatch):
        """A file whose hash is not the registry's is refused, and nothing is written of it."""
        changed = bytearray(file.read_bytes())
        changed[-1] ^= 1
        (tmp_path / file.name).write_bytes(changed)
        (tmp_path / "registry.toml").write_text(own_registry.read_text())
        monkeypatch.setenv(VARIABLE, str(tmp_path / "registry.toml"))
        said = Command(store)("table1", *FROM_ONE)
        assert said.exit_code == 2
        assert "is not one: expected sha256" in said.stderr
        assert not list(store.keys_on_disk())
        assert not (store.results / "tables").exists()

    @pytest.mark.usefixtures("started")
    def test_is_drawn_in_figures(self, ran):
        """Figure 3 is of the checkpoint's criticality, in a file of that name."""
        said = Command(ran[0])("figure3", *FROM_ONE, "--collect").good()
        assert "checkpoint one: PGD-AT of two epochs" in said.stdout
        assert (ran[0].results / "figures" / "figure3-mini-from-one.csv").exists()


class TestSpec:
    """What records of such cells depend on."""

    def test_of_a_committed_record_is_what_it_was(self):
        """What is trained has the spec that committed makings have: they are not stale."""
        key = "narrow/cifar10/resnet18-w16/pgd-at/rift/seed0"
        making = Making.model_validate_json(shipped(f"results/records/{key}/making.json").read_bytes())
        assert Plan.of(Cell.parse(key), scale("narrow")).spec == making.spec

    @pytest.mark.parametrize(
        ("change", "same"),
        [
            ({"what": "Something else.", "licence": "none", "source": "a/one.safetensors"}, True),
            ({"eps": "0.1", "selects_on": "unknown", "extra_data": True}, True),
            ({"sha256": "1" * 64}, False),
            ({"entry": "ema"}, False),
            ({"prefix": "encoder."}, False),
            ({"drop": ["sub_block1."]}, False),
            ({"normalization": "none"}, False),
        ],
    )
    def test_is_of_the_tensors_and_what_is_done_to_pixels(self, known, change, same):
        """Whatever changes a logit changes the spec, and what is only said of the weights does not."""
        hashes = []
        for entry in ({}, change):
            known(entry)
            plan = Plan.of(RIFT, starting_from(scale(str(MINI)), ["one"]))
            hashes.append(spec_hash(plan.evaluation_spec("clean")))
        assert (hashes[0] == hashes[1]) is same

    def test_has_the_normalisation_of_the_checkpoint(self, known):
        """The network normalises as the checkpoint's did, not as the dataset's info says."""
        import torch

        from benchmark.plans.running import new_model

        known({"normalization": "0.5/0.25"})
        plan = Plan.of(BASE, starting_from(scale(str(MINI)), ["one"])).base
        constants = {
            name.rpartition(".")[2]: buffer.flatten().tolist()
            for name, buffer in new_model(plan, torch.device("cpu")).named_buffers()
        }
        assert (constants["mean"], constants["std"]) == ([0.5], [0.25])
        assert plan.spec["dataset"]["mean"] == [0.5]


class TestScale:
    """What a scale that starts from checkpoints is of."""

    def test_is_cut_down_to_what_the_checkpoints_are_of(self, known):
        """Datasets, networks, methods and seeds are theirs, in their order; no training is left."""
        known({}, {"name": "two", "arch": "resnet18-w16", "method": "trades"})
        cut = starting_from(NARROW, ["two", "one"])
        assert (cut.datasets, cut.archs) == (("digits",), ("resnet18-w16", "resnet18-w8"))
        assert (cut.methods, cut.seeds) == (("trades", "pgd-at"), (0,))
        assert (cut.training, cut.networks, cut.recipes) == ({}, {}, {})
        assert cut.key_names == ("by-hand-from-two", "by-hand-from-one")
        assert cut.finetuning == NARROW.finetuning

    def test_gives_the_first_checkpoint_to_tables_of_one_model(self, known):
        """Tables 1 and 3 are of the first checkpoint's method, Table 3 of its network."""
        known({}, {"name": "two", "arch": "resnet18-w16", "method": "trades"})
        for names in (["one", "two"], ["two", "one"]):
            cut = starting_from(NARROW, names)
            for cells in (table_1_cells(cut, ["rift"]), REPORTS["table3"].cells(cut, ["rift"])):
                assert {cell.checkpoint for cell in cells} == {names[0]}

    def test_gives_table_2_what_is_not_pgd_at(self, known):
        """Table 2 is of the checkpoints of other methods, be there one of PGD-AT or not."""
        known({}, {"name": "two", "method": "trades"}, {"name": "three", "method": "mart"})
        for names in (["two", "three"], ["one", "two", "three"]):
            cut = starting_from(NARROW, names, beyond_first=True)
            assert {cell.checkpoint for cell in table_2_cells(cut, ["rift"])} == {"two", "three"}

    def test_leaves_out_what_no_checkpoint_is_of(self, known, store):
        """A network without a checkpoint has neither a row in Table 1 nor a cell to make."""
        known({}, {"name": "two", "dataset": "cifar10", "arch": "resnet18-w16", "eps": "8/255"})
        cut = starting_from(NARROW, ["one", "two"])
        cells = table_1_cells(cut, ["rift"])
        assert [(cell.dataset, cell.arch, cell.checkpoint) for cell in cells] == [
            ("digits", "resnet18-w8", "one"),
            ("digits", "resnet18-w8", "one"),
            ("cifar10", "resnet18-w16", "two"),
            ("cifar10", "resnet18-w16", "two"),
        ]
        rows = [row.labels[:2] for row in table_1(View(store, cut), ["rift"]).rows]
        both = ("Digits", "ResNet18 (width 8)"), ("CIFAR-10", "ResNet18 (width 16)")
        assert rows == [place for place in both for _ in ("AT", "AT+RiFT", "difference")]

    def test_shows_numbers_of_its_own_cells_only(self, known, store):
        """What is on record for trained cells stands in no table of a checkpoint's cells."""
        known({}, {"name": "two", "dataset": "cifar10", "arch": "resnet18-w16", "eps": "8/255"})
        cut = starting_from(NARROW, ["one", "two"])
        trained = replace(NARROW, seeds=(0,))
        for network in NARROW.archs:
            cell = Cell("by-hand", "digits", network, "pgd-at", "none", 0)
            write_record(store, cell, "clean", 100, scale=trained)
        write_record(store, table_1_cells(cut, ["rift"])[0], "clean", 900, scale=cut)
        table = table_1(View(store, cut), ["rift"])
        rows = [row for row in table.rows if isinstance(row, Row) and row.labels[2] == "AT"]
        shown = {
            row.labels[:2]: None if row.numbers[0] is None else row.numbers[0].mean for row in rows
        }
        assert shown["Digits", "ResNet18 (width 8)"] == 0.9
        assert {value for place, value in shown.items() if place[1] != "ResNet18 (width 8)"} == {None}

    def test_has_a_name_that_says_it(self, known):
        """`SCALE-from-NAME` is that scale starting from NAME, as keys on disk have it."""
        known({})
        assert scale("quick-from-one") == starting_from(scale("quick"), ["one"])
        assert scale("quick-from-one").stem == "quick-from-one"

    def test_of_a_file_may_name_its_checkpoints(self, known, tmp_path):
        """A TOML scale with `checkpoints` starts from them without a flag."""
        known({})
        path = tmp_path / "mine.toml"
        path.write_text('checkpoints = ["one"]\n' + MINI.read_text())
        assert scale(str(path)) == starting_from(scale(str(MINI)), ["one"])

    def test_that_is_filed_is_named_by_its_file_alone(self, known, tmp_path):
        """Printed commands name no checkpoint beside a file that says where its cells start."""
        known({})
        file = filed("mini", tmp_path)
        file.parent.mkdir()
        file.write_text('checkpoints = ["one"]\n' + MINI.read_text())
        assert arguments("mini-from-one", tmp_path) == str(file)
        assert arguments("mini-from-two", tmp_path) == "mini-from-two"

    def test_follows_from_keys(self, known, tmp_path):
        """Keys of several checkpoints are of one scale, also where it has others of its own; those of
        another scale are refused."""
        known({}, {"name": "two", "arch": "resnet18-w16"})
        cells = [RIFT, replace(RIFT, scale="mini-from-two", arch="resnet18-w16")]
        assert scale_of(cells, str(MINI), None, None).key_names == ("mini-from-one", "mini-from-two")
        assert scale_of([replace(RIFT, scale="quick-from-one")], None, None, None).name == "quick"
        path = tmp_path / "mini.toml"
        path.write_text('checkpoints = ["one"]\n' + MINI.read_text())
        assert scale_of(cells[1:], str(path), None, None).key_names == ("mini-from-two",)
        with pytest.raises(UserError, match="run one scale at a time"):
            scale_of([TRAINED, RIFT], str(MINI), None, None)


class TestRefusals:
    """What is not started from, and what is not trained in its stead."""

    @pytest.mark.parametrize(
        ("entries", "names", "reason"),
        [
            ([{}], "on", "no checkpoint is called 'on'; close to it: one"),
            ([{"arch": "robustbench:Rice2020"}], "one", "evaluate --checkpoint one"),
            ([{"method": None}], "one", "of no training method of this suite"),
            ([{}, {"name": "two"}], "one,two", "both of digits/resnet18-w8/pgd-at/seed0"),
            ([{"dataset": "cifar100"}], "one", "is of cifar100, and scale 'mini' of digits"),
            (
                [{}, {"name": "two", "seed": 1}, {"name": "three", "arch": "resnet18-w16"}],
                "one,two,three",
                "of seeds 0, 1, but those of digits/resnet18-w16/pgd-at of 0",
            ),
        ],
    )
    def test_are_one_line(self, known, entries, names, reason, command):
        """What cannot be started from is named before anything is made, with what would be right."""
        known(*entries)
        assert reason in command("table1", "--scale", MINI, "--from-checkpoint", names).refusal
        assert not list(command.store.keys_on_disk())

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (("table2",), "Table 2 shows methods other than pgd-at"),
            (("table1", "--seeds", "7"), "--seeds 7: the checkpoints are of seed 0"),
            (("table1", "--protocol", "rift-held-out"), "was or may have been trained on them"),
            (("table1", "--scale", "quick-from-one"), "starts from checkpoints already"),
        ],
    )
    def test_of_what_a_checkpoint_cannot_show(self, known, arguments, reason, command):
        """So are flags that do not fit the checkpoint."""
        known({})
        where = () if "--scale" in arguments else ("--scale", str(MINI))
        assert reason in command(*arguments, *where, "--from-checkpoint", "one").refusal

    def test_of_torchs_unsafe_setting_come_before_any_work(self, known, command, monkeypatch):
        """The environment variable that lets files run code is refused, and nothing has been begun."""
        known({})
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        assert (
            "a checkpoint is not read: TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set"
            in command("table1", *FROM_ONE).refusal
        )
        assert not command.store.artifacts.exists()

    def test_never_become_a_training(self, known):
        """A checkpoint's cell has no plan at the scale that trains, nor a trained one at the other."""
        known({})
        trains = scale(str(MINI))
        for cell, wrong in ((RIFT, trains), (TRAINED, starting_from(trains, ["one"]))):
            with pytest.raises(UserError, match="is not of"):
                Plan.of(cell, wrong)

    def test_spare_a_checkpoint_that_held_out_the_same_images(self, known):
        """Only a model of this suite's `none-held-out` has not seen what `rift-held-out` judges by."""
        held_out = replace(RIFT, finetune="rift-held-out")
        known({"cell": "mini/digits/resnet18-w8/pgd-at/none-held-out/seed0", "selects_on": "hold-out"})
        plan = Plan.of(held_out, starting_from(scale(str(MINI)), ["one"]))
        assert plan.base.cell.finetune == "none-held-out"
        assert plan.base.hold_out is not None
        known({"selects_on": "hold-out"})
        with pytest.raises(UserError, match="leave out what ends in -held-out"):
            Plan.of(held_out, starting_from(scale(str(MINI)), ["one"]))

    def test_spare_the_audit_as_it_is_by_default(self, known, command):
        """The audit leaves its held-out row out, says so, and makes every other cell."""
        known({})
        said = command("audit", *FROM_ONE, "--dry-run").good()
        assert "the images held out: rift-held-out" in said.stderr
        assert "mini-from-one/digits/resnet18-w8/pgd-at/random-layer/seed0" in said.stdout
        assert "held-out" not in said.stdout


def test_caveats_are_said_only_where_there_are_some(known):
    """An eps that is the same number in another notation is none; extra data and no hash are."""
    known({"dataset": "cifar10", "eps": "8/255"})
    assert caveats(checkpoint("one")) == []
    known(
        {
            "dataset": "cifar10",
            "eps": "0.031",
            "extra_data": True,
            "sha256": None,
            "source": "robustbench:Zhang2019Theoretically",
        }
    )
    said = caveats(checkpoint("one"))
    assert [line.partition(" was ")[0] for line in said[:2]] == ["checkpoint one"] * 2
    assert "eps 0.031 and is attacked at eps 8/255" in said[0]
    assert "knows no sha256" in said[2]


def test_several_methods_are_said_to_be_left_out(known, command):
    """Table 1 is of one method: a checkpoint of another is named, and the table is of the first."""
    known({}, {"name": "two", "method": "trades"})
    said = command("table1", "--scale", str(MINI), "--from-checkpoint", "one,two", "--dry-run")
    assert "table1 cannot show two beside one" in said.stderr
    assert "trades" not in said.stdout


def test_flags_reach_the_scale(known):
    """Evaluations and a limit apply to a scale from a checkpoint as to any other."""
    known({})
    chosen = Scope("quick", from_checkpoint="one").chosen("clean", 100)
    assert (chosen.evaluations, chosen.checkpoints) == (("clean-first-100",), ("one",))


def test_checkpoints_of_other_seeds_are_left_out(known, command):
    """What `--seeds` leaves out is not said to fit no table."""
    known({}, {"name": "two", "seed": 1})
    wanted = "--scale", MINI, "--from-checkpoint", "one,two", "--seeds", "1"
    said = command("table1", *wanted, "--collect").good()
    assert said.stderr == "" and "checkpoint one" not in said.stdout


@pytest.mark.usefixtures("started")
def test_keys_and_status_are_of_the_checkpoint(ran):
    """`run KEY` finds what is on record, and `status` lists the checkpoint's cells and no others."""
    command = Command(ran[0])
    said = command("run", RIFT.key, "--scale", str(MINI))
    assert (said.exit_code, said.stderr.count("cells to make")) == (0, 0)
    assert [line.split()[0] for line in said.stdout.splitlines()] == [BASE.key, RIFT.key]
    said = command("status", *FROM_ONE)
    states = {line.split()[0]: line.split()[1] for line in said.stdout.splitlines()[1:-1]}
    assert {key for key, state in states.items() if state == "done"} == {BASE.key, RIFT.key}
    assert {Cell.parse(key).checkpoint for key in states} == {"one"}
