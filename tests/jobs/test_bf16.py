"""`bf16`: flags of attacks in bf16 against fp32, from the command line to the file and the table."""

import json
import shutil

import numpy as np
import pytest
import torch

import benchmark.cli.bf16 as command_line
import benchmark.jobs.bf16 as measuring
from benchmark.data.info import DIGITS
from benchmark.engine import counting
from benchmark.engine.counting import run_seed
from benchmark.engine.precision import BF16, FP32, computing_in
from benchmark.engine.weights import load_tensors
from benchmark.errors import UserError
from benchmark.models import build
from benchmark.records.cells import Cell
from benchmark.records.records import hashed
from benchmark.report.bf16 import (
    EMULATED,
    Changes,
    FlagRun,
    as_json,
    as_table,
    changes_path,
    read_changes,
)
from benchmark.report.estimates import change_of_flags
from benchmark.report.intervals import over_images
from benchmark.report.tables.render import markdown, text
from handmade import PROVENANCE, copied_to, store_in
from invoking import Command
from killing import calls_of

KEY = "mini/digits/resnet18-w8/pgd-at/none/seed0"
UNITS, IMAGES = "avx512_bf16", 128


def run(store, *arguments, images=IMAGES):
    """The command with one thread on the first test images."""
    return Command(store)("bf16", *arguments, "--threads", "1", "--limit", images)


@pytest.fixture(scope="module")
def measured(mini, tmp_path_factory):
    """A store with the measurement of a trained cell, and what was said; to be copied."""
    store = store_in(tmp_path_factory.mktemp("bf16"))
    shutil.copytree(mini.artifacts, store.artifacts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "bf16_units", lambda device: UNITS)
        return store, run(store, KEY)


@pytest.fixture
def own(measured, store, monkeypatch):
    """A copy of the measured store, to be changed, on a processor with units."""
    monkeypatch.setattr(measuring, "bf16_units", lambda device: UNITS)
    return copied_to(store, measured[0])


@pytest.fixture
def calls(monkeypatch):
    """How many batches were attacked."""
    return calls_of(monkeypatch, counting, "pgd_answers")


def by_hand(**changed):
    """A measurement of two runs on ten images."""
    runs = (
        FlagRun(fp32=6, only_fp32=(1, 4), only_bf16=(2,)),
        FlagRun(fp32=6, only_fp32=(), only_bf16=(2, 9)),
    )
    spec = hashed({"type": "record", "version": 1})
    whole = {"key": KEY, "evaluation": "pgd10x3", "units": UNITS, "images": 10, "runs": runs}
    return Changes(**(whole | spec | {"provenance": PROVENANCE} | changed))


class TestCommand:
    """From weights to the file."""

    def test_flags_are_those_of_both_attacks(self, measured, digits):
        """Image by image the file has what the attacks of the suite give in either precision."""
        store, answer = measured
        assert answer.exit_code == 0, answer.stderr
        (found,) = read_changes(store.results)
        assert (found.key, found.units, found.images) == (KEY, UNITS, IMAGES)
        assert found.provenance.precision == "bf16, scored in fp32"
        model, split = build("resnet18-w8", DIGITS).eval(), digits.test.first(IMAGES)
        model.load_state_dict(load_tensors(store.work(Cell.parse(KEY)) / "weights.safetensors")[0])
        for number, each in enumerate(found.runs):
            seed, bits = run_seed(Cell.parse(KEY), number), {}
            for numbers in (FP32, BF16):
                with computing_in(numbers):
                    batch = counting.pgd_answers(model, split, DIGITS.threat, seed, 0, IMAGES)
                    bits[numbers] = batch.numpy()
            assert each.fp32 == bits[FP32].sum()
            assert np.array_equal(found.differences[number], bits[BF16].astype(int) - bits[FP32])

    def test_what_is_shown_is_what_is_filed(self, measured):
        """The table on standard output and the Markdown beside the file are made from the file."""
        store, answer = measured
        table = as_table(read_changes(store.results))
        assert answer.stdout == text(table) + "\n"
        assert changes_path(store.results).with_suffix(".md").read_text() == markdown(table)
        assert run(store).stdout == answer.stdout

    def test_a_second_run_measures_nothing(self, own, measured, monkeypatch):
        """What is on file is shown again."""
        monkeypatch.setattr(measuring.Comparison, "measure", None)
        assert run(own, KEY).stdout == measured[1].stdout

    def test_resumed_equals_uninterrupted(self, own, measured, calls):
        """Killed after both precisions began, the command continues and ends with the same flags."""
        changes_path(own.results).unlink()
        calls.most = 4
        assert run(own, KEY).exit_code == 130
        assert not changes_path(own.results).exists()
        calls.most = None
        run(own, KEY).good()
        assert calls.made == 6
        (found,), (expected,) = read_changes(own.results), read_changes(measured[0].results)
        assert found.runs == expected.runs
        assert found.provenance.resumed
        assert not list(own.work(Cell.parse(KEY)).glob("pgd10x3*"))

    def test_another_device_begins_anew(self, own, calls, monkeypatch):
        """What is filed as one device's holds no batch of another's."""
        changes_path(own.results).unlink()
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(measuring, "device_name", lambda _device: "another")
            calls.most = 4
            assert run(own, KEY).exit_code == 130
        calls.most = None
        run(own, KEY).good()
        assert calls.made == 4 + 6
        (found,) = read_changes(own.results)
        assert not found.provenance.resumed

    def test_killed_between_both_files(self, own, monkeypatch):
        """The same command completes them: the table is that of the file, row by row."""
        write = command_line.write_result

        def killed(*given):
            write(*given)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(command_line, "write_result", killed)
            assert run(own, KEY, images=16).exit_code == 130
        run(own, KEY, images=16).good()
        found, path = read_changes(own.results), changes_path(own.results)
        assert len(found) == 2
        assert path.with_suffix(".md").read_text() == markdown(as_table(found))

    def test_nothing_is_claimed_without_units(self, own, monkeypatch):
        """Where bf16 is emulated that is refused, or on demand filed as such beside the other."""
        monkeypatch.setattr(measuring, "bf16_units", lambda device: EMULATED)
        before = changes_path(own.results).read_bytes()
        assert "'cpu' has no bf16 units" in run(own, KEY).refusal
        assert changes_path(own.results).read_bytes() == before
        run(own, KEY, "--emulated", images=8).good()
        found = {each.images: each.units for each in read_changes(own.results)}
        assert found == {IMAGES: UNITS, 8: EMULATED}

    def test_other_weights_are_told(self, own):
        """A measurement of the same cell with other weights stays as it is."""
        path = changes_path(own.results)
        (found,) = read_changes(own.results)
        path.write_bytes(as_json((found.model_copy(update=hashed({"type": "record"})),)))
        before, answer = path.read_bytes(), run(own, KEY)
        assert (answer.exit_code, answer.stdout) == (2, "")
        assert f"{KEY} was measured with other weights or settings" in answer.stderr
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((KEY, "--checkpoint", "x"), "one model at a time"),
            ((KEY.replace("seed0", "seed7"),), "is not there; `run mini/"),
            (("own/digits/cnn/mine/none/seed0",), "of weights made elsewhere"),
            (("--checkpoint", "unheard-of"), "unheard-of"),
            (("mini",), "'mini' is not a cell key"),
        ],
    )
    def test_mistakes_are_one_line(self, own, arguments, message):
        """What cannot be measured is named before anything is done."""
        assert message in run(own, *arguments).refusal

    def test_a_processor_names_its_units(self, monkeypatch):
        """AMX before AVX512, and `emulated` where torch names neither."""
        cpu = torch.device("cpu")
        monkeypatch.setattr(measuring, "has_bf16_units", lambda device: True)
        for features, units in (
            ({"amx_bf16": True, "avx512_bf16": True}, "amx_bf16"),
            ({"amx_bf16": False, "avx512_bf16": True}, "avx512_bf16"),
            ({}, EMULATED),
        ):
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda features=features: features)
            assert measuring.bf16_units(cpu) == units
        monkeypatch.setattr(measuring, "has_bf16_units", lambda device: False)
        assert measuring.bf16_units(cpu) == EMULATED


class TestFile:
    """What is counted from the file, and what is refused in it."""

    def test_numbers_are_counted_from_the_places(self):
        """Two runs lose two images and gain three, (3 - 2) of 2 x 10; images are resampled."""
        found = by_hand()
        assert found.differences.sum(axis=0).tolist() == [0, -1, 2, 0, -1, 0, 0, 0, 0, 1]
        shown = change_of_flags(found.differences, KEY)
        assert (shown.mean, shown.over) == (1 / 20, "images")
        other = over_images(found.differences, seed=1)
        assert shown.interval.low == pytest.approx(other.low, abs=0.05)
        assert shown.interval.high == pytest.approx(other.high, abs=0.05)
        assert "6, 6 of 10" in markdown(as_table((found,)))
        assert "| 2, 0" in markdown(as_table((found,)))
        assert "+5.00 [" in markdown(as_table((found,)))

    def test_the_file_is_ordered_and_read_back(self, store):
        """Whatever the order of measuring, the content is the same."""
        one, two = by_hand(), by_hand(units=EMULATED)
        assert as_json((one, two)) == as_json((two, one))
        changes_path(store.results).parent.mkdir()
        changes_path(store.results).write_bytes(as_json((two, one)))
        assert read_changes(store.results) == (one, two)

    @pytest.mark.parametrize(
        ("where", "value", "message"),
        [
            (("spec", "version"), 2, "spec_hash is not the hash of spec"),
            (("runs", 0, "only_bf16"), [10], "below 10"),
            (("runs", 0, "only_bf16"), [1], "each once"),
            (("runs", 0, "fp32"), 1, "1 images cannot be right"),
            (("runs", 0, "fp32"), 10, "10 images cannot be right"),
            (("surprise",), 1, "Extra inputs"),
        ],
    )
    def test_a_broken_file_is_refused_by_name(self, store, where, value, message):
        """One line with the path and what is wrong."""
        content = json.loads(as_json((by_hand(),)))
        part = content["measured"][0]
        for name in where[:-1]:
            part = part[name]
        part[where[-1]] = value
        changes_path(store.results).parent.mkdir()
        changes_path(store.results).write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"bf16\.json' does not fit its schema") as refused:
            read_changes(store.results)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)
