"""Races and their reports: what is timed, in which order, what ratios are, and what a file keeps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import UserError
from race import Race
from report import (
    Group,
    Machine,
    Origin,
    Report,
    Variant,
    main,
    markdown,
    read,
    report_to_update,
    screen,
)

ORIGIN = Origin(commit="c" * 40, dirty=False, date="2026-01-01T00:00:00+00:00")
MACHINE = Machine(
    processor="abacus",
    accelerator=None,
    cores=2,
    threads=2,
    bf16_units=False,
    versions={"torch": "2.15.0"},
)


def group(row: str = "fog", plain: float = 6.0, fast: float = 2.0, **fields) -> Group:
    """A group of three equal rounds."""
    variants = [Variant(name=name, samples=[t] * 3) for name, t in (("plain", plain), ("fast", fast))]
    return Group(row=row, size="32x32", origin=ORIGIN, variants=variants, **fields)


def two_variants(**fields) -> Race:
    """A race that does nothing."""
    race = Race("nothing", "small", **fields)
    race.variant("plain", lambda: None)
    race.variant("fast", lambda: None)
    return race


class TestRace:
    """What is called, when and how often."""

    @pytest.fixture(autouse=True)
    def _no_collection(self, monkeypatch):
        """Races of nothing leave no garbage."""
        monkeypatch.setattr("gc.collect", lambda: 0)

    def test_variants_take_turns(self):
        """Each variant is warmed up, the check runs, then all variants in turn each round."""
        calls = []
        race = Race("calls", "small", rounds=3)
        race.variant("plain", lambda: calls.append("plain"), warm_up=lambda: calls.append("short"))
        race.variant("fast", lambda: calls.append("fast"))
        race.check(lambda: calls.append("check") or "compared")
        measured = race.measured(ORIGIN)
        assert calls == ["short", "fast", "check", *["plain", "fast"] * 3]
        assert measured.exactness == "compared"
        for variant in measured.variants:
            assert len(variant.samples) == len(variant.cpu_s) == 3
            assert variant.first_s is not None

    def test_a_check_of_what_was_timed_comes_last(self):
        """It runs once, after all rounds."""
        calls = []
        race = Race("calls", "small", rounds=1)
        race.variant("plain", lambda: calls.append("plain"), warm_up=lambda: None)
        race.check(lambda: calls.append("check") or "compared", last=True)
        assert race.measured(ORIGIN).exactness == "compared"
        assert calls == ["plain", "check"]

    def test_second_lane_measures_nothing(self):
        """A race that has been run answers with what it measured."""
        calls = []
        race = Race("calls", "small", rounds=2)
        race.variant("plain", lambda: calls.append(1))
        first = race.measured(ORIGIN)
        assert race.measured(ORIGIN) is first
        assert len(calls) == 3

    def test_disagreement_stops_the_race(self):
        """If the check fails there are no rounds, and every lane fails with it."""
        calls, checks = [], []
        race = Race("calls", "small")
        race.variant("plain", lambda: calls.append(1), warm_up=lambda: None)

        def differ() -> str:
            checks.append(1)
            raise AssertionError("pixel 3 differs")

        race.check(differ)
        for _ in range(2):
            with pytest.raises(AssertionError, match="pixel 3 differs"):
                race.measured(ORIGIN)
        assert (calls, checks) == ([], [1])

    def test_counts_are_samples(self):
        """A race with a unit takes what it is given, one sample per case."""
        race = Race("search", "3 curves", unit="evaluations", asked={"lazy": 3.5})
        race.count("plain", [21, 21, 21])
        race.count("lazy", [3, 7, 1])
        measured = race.measured(ORIGIN)
        assert measured.ratios == {"lazy": (7.0, 3.0, 21.0)}
        assert all(variant.cpu_s == [] for variant in measured.variants)

    def test_left_out_variants_are_told(self):
        """A variant that this machine lacks is in the group with its reason, and has no ratio."""
        race = two_variants(asked={"compiled": 5})
        race.leave_out("compiled", "no compiler")
        measured = race.measured(ORIGIN)
        assert measured.left_out == {"compiled": "no compiler"}
        assert list(measured.ratios) == ["fast"]
        assert "no compiler" in screen([measured])

    def test_wrong_races_are_refused(self):
        """Plain comes first, names are used once, and asked ratios are of variants that exist."""
        with pytest.raises(ValueError, match="has to be 'plain'"):
            Race("a", "b").variant("fast", lambda: None)
        with pytest.raises(ValueError, match="two variants 'fast'"):
            two_variants().leave_out("fast", "twice")
        with pytest.raises(ValueError, match="no variant 'fold'"):
            two_variants(asked={"fold": 2}).measured(ORIGIN)
        with pytest.raises(ValueError, match="is timed"):
            two_variants().count("counted", [1])
        with pytest.raises(ValueError, match="counts images"):
            Race("a", "b", unit="images").variant("plain", lambda: None)
        with pytest.raises(ValueError, match="rounds must be 1 or more, got 0"):
            Race("a", "b", rounds=0)


class TestReport:
    """Ratios, files and tables."""

    @given(rounds=st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=1, max_size=9))
    def test_ratio_is_of_medians_and_spread_of_rounds(self, rounds):
        """By hand: sorted middles of both sides, and the extremes of the quotients."""
        plain, fast = ([float(pair[side]) for pair in rounds] for side in (0, 1))
        variants = [Variant(name="plain", samples=plain), Variant(name="fast", samples=fast)]
        ratio, least, most = Group(row="r", size="s", origin=ORIGIN, variants=variants).ratios["fast"]

        def middle(values: list[float]) -> float:
            values, half = sorted(values), len(values) // 2
            return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2

        assert ratio == pytest.approx(middle(plain) / middle(fast))
        quotients = [p / f for p, f in rounds]
        assert (least, most) == (pytest.approx(min(quotients)), pytest.approx(max(quotients)))

    def test_file_comes_back(self, tmp_path):
        """What is written is read again, through folders that did not exist."""
        report = Report(machine=MACHINE).updated(group(asked={"fast": 2.5}, exactness="equal"))
        path = tmp_path / "new" / "here.json"
        report.write(path)
        assert read(path) == report == report_to_update(path, MACHINE)

    def test_derived_numbers_are_not_believed(self, tmp_path):
        """Medians and ratios changed by hand change no table: they come from the samples."""
        path = tmp_path / "here.json"
        Report(machine=MACHINE).updated(group()).write(path)
        stored = json.loads(path.read_text())
        assert stored["groups"][0]["ratios"] == {"fast": [3.0, 3.0, 3.0]}
        before = markdown(read(path))
        stored["groups"][0]["ratios"]["fast"] = [9.0, 9.0, 9.0]
        stored["groups"][0]["variants"][1]["median"] = 0.1
        path.write_text(json.dumps(stored))
        assert markdown(read(path)) == before
        assert "3.00x [3.00x–3.00x]" in before

    @pytest.mark.parametrize(
        ("field", "value"), [("processor", "another"), ("threads", 1), ("versions", {"torch": "2.14"})]
    )
    def test_other_machines_are_refused(self, tmp_path, field, value):
        """A file of another processor, number of threads or version is left as it is."""
        path = tmp_path / "here.json"
        Report(machine=MACHINE).updated(group()).write(path)
        before = path.read_bytes()
        with pytest.raises(UserError, match=f"measured with {field} .*name another file") as refused:
            report_to_update(path, MACHINE.model_copy(update={field: value}))
        assert "\n" not in str(refused.value)
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        ("content", "wrong"),
        [
            ("", "not a report"),
            ("[]", "not a report"),
            ('{"schema_version": 2}', "schema_version"),
            ('{"schema_version": 1}', "machine"),
        ],
    )
    def test_damaged_files_are_refused(self, tmp_path, content, wrong):
        """One line names the file and what is wrong."""
        path = tmp_path / "here.json"
        path.write_text(content)
        with pytest.raises(UserError, match=wrong) as refused:
            report_to_update(path, MACHINE)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_groups_that_cannot_be_are_refused(self):
        """Rounds correspond, plain is first, and a sample is more than 0."""
        plain = Variant(name="plain", samples=[1.0, 2.0])
        for variants in (
            [plain, Variant(name="fast", samples=[1.0])],
            [Variant(name="fast", samples=[1.0])],
        ):
            with pytest.raises(ValueError, match="variant"):
                Group(row="r", size="s", origin=ORIGIN, variants=variants)
        with pytest.raises(ValueError, match="greater than 0"):
            Variant(name="plain", samples=[0.0])

    def test_target_in_a_file_is_refused(self, tmp_path):
        """A path below something that is no folder is told before anything is measured."""
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="cannot write"):
            report_to_update(tmp_path / "file" / "here.json", MACHINE)

    def test_command_prints_the_table(self, tmp_path, capsys):
        """The file named is printed; a file that is not there is one line and exit code 2."""
        path = tmp_path / "here.json"
        report = Report(machine=MACHINE).updated(group())
        report.write(path)
        assert main([str(path)]) == 0
        assert capsys.readouterr().out == markdown(report) + "\n"
        assert main([str(tmp_path / "none.json")]) == 2
        assert main([]) == 2
        assert capsys.readouterr().err.count("\n") == 2


BENCH = """
import functools
import pytest
from race import Race

@functools.cache
def sums():
    race = Race("sums", "short", asked={"fast": 2})
    race.variant("plain", lambda: sum(range(9000)))
    race.variant("fast", lambda: sum(range(90)))
    race.check(lambda: "nothing compared")
    return race

@pytest.mark.parametrize("variant", ["plain", "fast"])
def test_sums(variant, lane):
    lane(sums(), variant)
"""


def test_a_run_from_the_command_line(tmp_path: Path) -> None:
    """It replaces the rows that it measures and no others; pytest-benchmark has the very samples."""
    (tmp_path / "bench_sleep.py").write_text(BENCH)
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    here = Machine.here().model_copy(update={"threads": 1})
    kept, old = group("kept"), group("sums")
    report = Report(machine=here).updated(kept).updated(old.model_copy(update={"size": "short"}))
    report.write(ours)

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "conftest"]
    command += ["-o", "python_files=bench_*.py", "--bench-threads", "1", "--bench-json", str(ours)]
    command += ["--benchmark-json", str(theirs), str(tmp_path)]
    # Without what tells pytest-benchmark that it is in a worker of pytest-xdist.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=outside | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing compared" in done.stdout

    first, second = read(ours).groups
    assert first == kept
    assert second.key == ("sums", "short")
    assert second.ratios.keys() == {"fast"}
    handed = json.loads(theirs.read_text())["benchmarks"]
    assert {each["group"] for each in handed} == {"sums, short"}
    assert {each["name"]: each["stats"]["data"] for each in handed} == {
        f"test_sums[{variant.name}]": variant.samples for variant in second.variants
    }


class TestCommitted:
    """The table in docs/speed.md."""

    def test_it_is_that_of_the_committed_file(self) -> None:
        """Every file under results/benchmarks is shown as it renders, between its two marks."""
        root = Path(__file__).parents[2]
        page = (root / "docs/speed.md").read_text(encoding="utf-8")
        files = sorted((root / "results/benchmarks").glob("*.json"))
        assert files
        for path in files:
            start, end = f"<!-- {path.name} -->\n\n", "\n\n<!-- end -->"
            assert page.partition(start)[2].partition(end)[0] == markdown(read(path))
