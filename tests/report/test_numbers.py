"""Records against published numbers, and verdicts that were accepted."""

import json
from dataclasses import replace
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import t

from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.cli.check import examine
from benchmark.data.info import CIFAR10
from benchmark.models import arch
from benchmark.plans.elsewhere import CheckpointPlan
from benchmark.plans.named import SCALES
from benchmark.plans.scales import Scale
from benchmark.records.cells import OWN, Cell
from benchmark.records.store import Store
from benchmark.report.check.accepted import (
    accepted_bytes,
    accepted_path,
    accepting,
    read_accepted,
    regressions,
)
from benchmark.report.check.numbers import FAR, SPREAD, checkpoints_compared, compare, compared
from benchmark.report.check.published import published
from benchmark.report.check.verdicts import GOOD, Finding, Verdict, badness, worst_first
from benchmark.report.estimates import Estimate
from benchmark.report.intervals import Interval
from benchmark.report.tables import REPORTS
from benchmark.report.view import View
from handmade import cell_at, record_and_bits, write_record
from handmade_boards import someones
from invoking import Said, refused, said

PAPER, SHORT = SCALES["paper"], SCALES["short"]

MATCH, WITHIN, OFF = Verdict.MATCH, Verdict.WITHIN, Verdict.OFF
RESULTS = Path(__file__).parents[2] / "results"
ROW = "table1/cifar10/resnet18/none"


def of_mean(mean: float, half: float | None = 0.0005) -> Estimate:
    """An accuracy with an interval over seeds that reaches `half` to both sides."""
    interval = None if half is None else Interval(mean - half, mean + half)
    return Estimate((mean, mean, mean), interval)


class TestCompare:
    """One number against one published number, at the edges of each tolerance."""

    @pytest.mark.parametrize(
        ("kind", "name", "gap", "half", "verdict"),
        [
            # The same recipe: up to the paper's spread and half a digit, on both sides.
            ("seeds", "clean", 0.0, 0.0005, MATCH),
            ("seeds", "clean", 0.00205, 0.0005, MATCH),
            ("seeds", "clean", -0.00205, 0.0005, MATCH),
            ("seeds", "clean", 0.0021, 0.0005, WITHIN),
            ("seeds", "clean", 0.0201, 0.0005, OFF),
            # Seeds that disagree do not make a mean agree that is far off.
            ("seeds", "clean", FAR, 0.3, WITHIN),
            ("seeds", "clean", FAR + 1e-5, 0.3, OFF),
            # Where our spread is not known, what is not a match is off.
            ("seeds", "clean", 0.001, None, MATCH),
            ("seeds", "clean", 0.003, None, OFF),
            # The same weights: equal as printed; attacks may differ by tenths, images by a few.
            ("same-weights", "clean", 0.00005, None, MATCH),
            ("same-weights", "clean", 0.0001, None, WITHIN),
            ("same-weights", "clean", 0.00055, None, WITHIN),
            ("same-weights", "clean", 0.0006, None, OFF),
            ("same-weights", "corruptions-15", 0.0006, None, OFF),
            ("same-weights", "pgd10x3", 0.0006, None, WITHIN),
            ("same-weights", "autoattack", -0.00305, None, WITHIN),
            ("same-weights", "autoattack", -0.0031, None, OFF),
            # Another recipe never matches.
            ("neighbour", "clean", 0.0, None, WITHIN),
            ("neighbour", "clean", -0.02, None, WITHIN),
            ("neighbour", "clean", 0.0201, None, OFF),
        ],
    )
    def test_the_edges(self, kind, name, gap, half, verdict):
        """Ours is `gap` above the published value with an interval of `half` to both sides."""
        assert compare(of_mean(0.8 + gap, half), 0.8, kind, name, 3)[0] is verdict

    @pytest.mark.parametrize("side", [1, -1])
    @pytest.mark.parametrize(("beyond", "verdict"), [(-1e-5, WITHIN), (0.0, WITHIN), (1e-5, OFF)])
    def test_seeds_are_within_while_intervals_overlap(self, side, beyond, verdict):
        """Theirs is the t interval of three runs with the deviation that the paper allows for."""
        low, high = t.interval(0.95, 2, loc=0.8, scale=SPREAD / sqrt(3))
        half = 0.004
        ours = (high if side > 0 else low) + side * (half + beyond)
        assert compare(of_mean(ours, half), 0.8, "seeds", "clean", 3)[0] is verdict

    @pytest.mark.parametrize("seeds", [None, 1])
    @pytest.mark.parametrize(("beyond", "verdict"), [(-1e-5, WITHIN), (1e-5, OFF)])
    def test_a_single_published_run_varies_by_the_deviation_itself(self, seeds, beyond, verdict):
        """Its 95 % interval is 1.96 times what the paper allows for, not divided by any root."""
        half = 0.004
        ours = of_mean(0.8 + 1.96 * SPREAD + half + beyond, half)
        assert compare(ours, 0.8, "seeds", "clean", seeds)[0] is verdict


def fresh(store: Store, name: str = "paper") -> View:
    """The records of `store` at a built-in scale."""
    return View(store, SCALES[name], name, REPORTS)


def write_seeds(
    store: Store, cell: Cell, name: str, counts: tuple[int, ...], scale: Scale = PAPER
) -> None:
    """Records of so many of 10,000, by seed."""
    for seed, k in enumerate(counts):
        write_record(store, replace(cell, seed=seed), name, k, 10_000, scale)


def found(findings: list[Finding], name: str) -> Finding:
    """The finding called `name`."""
    (finding,) = [finding for finding in findings if finding.id == name]
    return finding


BASE = Cell("paper", "cifar10", "resnet18", "pgd-at", "none", 0)


class TestCompared:
    """Rows of the published numbers against the records of a scale."""

    def test_a_record_meets_its_row(self, store):
        """Our mean, its interval, the published value, the difference and the source are shown."""
        write_seeds(store, BASE, "clean", (8136, 8146, 8156))
        finding = found(compared(fresh(store), published()), f"{ROW}/clean@none")
        assert finding.verdict is MATCH
        assert finding.ours.values == (0.8136, 0.8146, 0.8156)
        assert finding.ours.over == "seeds"
        assert finding.published == 0.8146
        assert finding.difference == pytest.approx(0)
        assert finding.source == "rift: Table 1"
        assert list(finding.behind) == [
            f"paper/cifar10/resnet18/pgd-at/none/seed{seed}/clean" for seed in range(3)
        ]

    def test_nothing_stands_in_for_a_published_evaluation(self, store):
        """Neither the first images nor corrupted images of our own are compared."""
        of_ours = ("corruptions-15-gen-v2", "corruptions-18", "pgd10-official-code")
        for name in ("clean-first-1000", *of_ours):
            write_seeds(store, BASE, name, (8146, 8146, 8146))
        findings = [f for f in compared(fresh(store), published()) if f.id.startswith(ROW)]
        assert {(f.id, f.verdict) for f in findings} == {
            (f"{ROW}/{name}@none", Verdict.MISSING) for name in ("clean", "corruptions-15", "pgd10x3")
        }

    @pytest.mark.parametrize(
        ("seeds", "recipe", "why", "flag"),
        [
            (2, PAPER, "no clean of none, seed 2", ""),
            (3, replace(PAPER, training={"epochs": 1}), "stale clean of none", " --redo-stale"),
        ],
    )
    def test_what_is_not_all_there_or_stale_is_missing(self, store, seeds, recipe, why, flag):
        """Two of three seeds are no number, and another recipe's are not compared; the command makes
        them."""
        write_seeds(store, BASE, "clean", (8146,) * seeds, recipe)
        finding = found(compared(fresh(store), published()), f"{ROW}/clean@none")
        assert (finding.verdict, finding.ours, finding.why) == (Verdict.MISSING, None, why)
        place = f"--results {store.results}"
        assert finding.make == f"python -m benchmark table1 --scale paper {place}{flag}"

    def test_each_reading_of_a_row_is_compared(self, store):
        """Where the paper leaves open which weights a row is about, both are compared with it."""
        start, ids = "table3/all-layers/clean@", [f.id for f in compared(fresh(store), published())]
        of_row = {name.removeprefix(start) for name in ids if name.startswith(start)}
        assert of_row == {"all-layers-alpha-1", "all-layers"}

    def test_printed_differences_are_compared(self, store):
        """A printed difference is compared with ours, seed by seed."""
        write_seeds(store, BASE, "clean", (8000, 8100, 8200))
        write_seeds(store, replace(BASE, finetune="rift"), "clean", (8200, 8300, 8400))
        finding = found(compared(fresh(store), published()), "table1/cifar10/resnet18/difference/clean")
        assert finding.ours.values == pytest.approx((0.02, 0.02, 0.02))
        assert (finding.verdict, finding.published) == (MATCH, 0.0198)

    def test_a_shorter_recipe_is_a_neighbour(self, store):
        """At the scale `short` the same accuracy is within tolerance and no match."""
        write_seeds(store, replace(BASE, scale="short"), "clean", (8146,), SHORT)
        finding = found(compared(fresh(store, "short"), published()), f"{ROW}/clean@none")
        assert finding.verdict is WITHIN

    @pytest.mark.parametrize(
        "scale", [SCALES["quick"], SCALES["narrow"], replace(PAPER, name="mine")], ids=lambda s: s.name
    )
    def test_other_scales_are_never_compared(self, store, scale):
        """Small networks have no published counterpart, and the paper's at a scale that is not the
        paper's are another recipe."""
        assert compared(View(store, scale, scale.name, REPORTS), published()) == []

    def test_ids_are_unique(self, store):
        """Every finding has an id of its own: accuracies, criticality and claims."""
        ids = [finding.id for finding in examine(store, "paper").findings]
        assert len(ids) == len(set(ids)) > 200
        assert {"C1", f"{ROW}/clean@none", "figure3/layer2.1.conv2/mrc@rift"} <= set(ids)


def checkpoint(**changes: Any) -> CheckpointEntry:
    """An entry of the registry."""
    model = {"name": "theirs", "dataset": "cifar10", "arch": "resnet18", "eps": "8/255"}
    published = {"clean": 0.85, "autoattack": 0.5}
    return someones(**model | {"sha256": "c" * 64, "published": published} | changes)


def write_own(store: Store, name: str, k: int, sha256: str = "c" * 64, **changes: Any) -> None:
    """A record of the checkpoint `theirs`, read from a file with that hash."""
    cell = Cell(OWN, "cifar10", "resnet18", "theirs", "none", 0)
    plan = CheckpointPlan(cell, CIFAR10, arch("resnet18"), "a" * 64)
    record, bits = record_and_bits(plan, name, k, 10_000)  # type: ignore[arg-type]
    changes["sources"] = {"theirs.safetensors": sha256}
    store.write_record(record.model_copy(update=changes), bits)


class TestCheckpoints:
    """The same weights, evaluated here and by others."""

    def findings(self, store: Store, **changes: Any) -> dict[str, Finding]:
        """The registry's numbers of `theirs` against the records, by evaluation."""
        findings = checkpoints_compared(store, published(), {"theirs": checkpoint(**changes)})
        start = "checkpoints/theirs/"
        return {f.id.removeprefix(start): f for f in findings if f.id.startswith(start)}

    @pytest.mark.parametrize(
        ("changes", "verdict", "why"),
        [
            ({}, MATCH, "the same weights: equal as printed"),
            ({"k": 8400}, OFF, "the same weights: not within 0.05 points"),
            ({"remarks": ["elsewhere", "warning: masking"]}, MATCH, "; WARNING, none, seed 0: masking"),
            ({"sha256": "d" * 64}, Verdict.MISSING, "cccccccccccc); move it away to make it again"),
        ],
    )
    def test_a_record_and_the_registry(self, store, changes, verdict, why):
        """Clean accuracy of the very weights has to be equal; what is not evaluated is missing, with
        the command for it, which replaces no record."""
        write_own(store, "clean", **{"k": 8500} | changes)
        findings = self.findings(store)
        assert (findings["clean"].verdict, findings["clean"].why.endswith(why)) == (verdict, True)
        assert (findings["autoattack"].verdict, findings["clean"].make) == (Verdict.MISSING, "")
        assert findings["autoattack"].make == (
            "python -m benchmark evaluate --checkpoint theirs --evaluations clean,autoattack"
            f" --results {store.results}"
        )

    @pytest.mark.parametrize(
        ("dataset", "eps", "names"),
        [
            ("cifar10", "8/255", {"clean", "autoattack"}),
            ("cifar10", "0.031", {"clean"}),
            ("digits", "0.08", {"clean", "autoattack"}),
            ("digits", "8/255", {"clean"}),
        ],
    )
    def test_robust_accuracy_has_the_radius_of_its_dataset(self, store, dataset, eps, names):
        """At another radius it has no counterpart, clean accuracy has."""
        arch = "resnet18" if dataset == "cifar10" else "resnet18-w16"
        assert set(self.findings(store, dataset=dataset, arch=arch, eps=eps)) == names


def finding(name: str, verdict: Verdict, **changes: Any) -> Finding:
    """A finding with nothing but a verdict."""
    return replace(Finding(name, verdict, "here", "Std", "why"), **changes)


class TestAccepted:
    """What was accepted, and what has got worse since."""

    def test_what_was_accepted_is_read_again(self, store):
        """The file has one line per verdict, in the order of ids whatever the order of findings; a
        scale of which nothing is on record can be accepted too."""
        ours = Estimate((0.1, 0.2), Interval(-0.1, 0.4))
        findings = [
            finding("b", MATCH, ours=ours, published=0.15, behind={"k/clean": "f" * 64}),
            finding("a", Verdict.UNCLEAR),
            finding("c", Verdict.MISSING),
        ]
        lines = accepted_bytes(accepting("by-hand", findings)).decode().splitlines()[1:-1]
        assert [json.loads(line.rstrip(","))["id"] for line in lines] == ["a", "b"]
        path = accepted_path(store.results, "by-hand")
        path.parent.mkdir(parents=True)
        for some in (findings, findings[::-1], []):
            kept = accepting("by-hand", some)
            path.write_bytes(accepted_bytes(kept))
            assert read_accepted(store.results, "by-hand") == kept
        assert accepting("by-hand", findings) == accepting("by-hand", findings[::-1])

    def test_only_what_was_good_can_get_worse(self):
        """A regression is a good verdict that is not a good one any more, or is not decided at all."""
        for before, now in product(Verdict, (*Verdict, None)):
            kept = accepting("by-hand", [finding("a", before)])
            worse = regressions(kept, [] if now is None else [finding("a", now)])
            assert bool(worse) is (before in GOOD and now not in GOOD), (before, now)

    def test_a_glob_leaves_the_others_alone(self):
        """What was not looked at has not got worse."""
        kept = accepting("by-hand", [finding(name, MATCH) for name in ("C1/x", "C2/x")])
        assert [each.id for each in regressions(kept, [], "C1*")] == ["C1/x"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "holds no accepted verdicts"),
            ('{"schema_version": 1, "scale": "other", "verdicts": []}', "of the scale 'other'"),
            ('{"schema_version": 2, "scale": "by-hand", "verdicts": []}', "schema_version"),
            (
                '{"schema_version": 1, "scale": "by-hand", "verdicts": [{"id": "a", "verdict": "x"}]}',
                "verdicts.0.verdict",
            ),
            (
                '{"schema_version": 1, "scale": "by-hand", "verdicts": '
                '[{"id": "b", "verdict": "off"}, {"id": "a", "verdict": "off"}]}',
                "every id stands once, in order",
            ),
        ],
    )
    def test_a_broken_file_is_refused(self, store, content, message):
        """One line names the file and what is wrong."""
        path = accepted_path(store.results, "by-hand")
        path.parent.mkdir(parents=True)
        path.write_text(content)
        assert str(path) in refused(lambda: read_accepted(store.results, "by-hand"), message)


def test_the_worst_comes_first():
    """Off and failing before open and missing, these before what is good."""
    findings = [finding(verdict.name, verdict) for verdict in Verdict]
    ordered = [each.verdict for each in worst_first(findings)]
    assert ordered[:2] == [OFF, Verdict.FAILS]
    assert set(ordered[-3:]) == GOOD
    assert [badness(verdict) for verdict in ordered] == list(range(len(Verdict)))


# --- the command --------------------------------------------------------------------------------------


@pytest.fixture
def store_with_a_record(store):
    """A store with one record of a scale that no test here asks for."""
    write_record(store, cell_at(), "clean", 900)
    return store


def checked(store: Store, *arguments: str) -> Said:
    """What `check` prints with `arguments`."""
    return said("check", *arguments, "--results", str(store.results))


class TestCommand:
    """`check` on records of a test."""

    def test_what_got_worse_ends_with_1(self, store):
        """Accepted, looked at again, and then without its records."""
        write_seeds(store, BASE, "clean", (8146, 8146, 8146))
        paper = ("--scale", "paper")
        first = " ".join(checked(store, *paper).stdout.split())
        assert "No accepted verdicts to hold this against; this command with --accept keeps" in first
        some = checked(store, *paper, "--only", "C*").good().stdout
        assert "this command with --accept and without --only keeps all." in " ".join(some.split())
        checked(store, *paper, "--accept").good()
        assert "Nothing has got worse" in checked(store, *paper).good().stdout
        store.record_path(BASE, "clean").unlink()
        worse = checked(store, *paper)
        assert worse.exit_code == 1
        assert f"{ROW}/clean@none: match -> missing" in worse.stdout
        assert f"{ROW}/clean@none" in worse.stderr
        some = checked(store, *paper, "--only", "C*").good().stdout
        assert "Nothing that matches 'C*' has got worse since" in some
        assert "  C1: `" in checked(store, *paper, "--only", "C1/*").good().stdout
        assert "GOT WORSE" in checked(store, *paper, "--accept").good().stdout
        checked(store, *paper).good()

    @pytest.mark.parametrize(("columns", "widest"), [(None, 120), ("80", 80)])
    def test_lines_are_no_wider_than_the_terminal(self, tmp_path, monkeypatch, columns, widest):
        """No line of text is wider, with records and without, down to 80 columns."""
        monkeypatch.chdir(tmp_path)
        store = Store(Path("mine"), Path("artifacts"))
        if columns is not None:
            monkeypatch.setenv("COLUMNS", columns)
        write_seeds(store, BASE, "clean", (8146, 8100, 8200))
        for arguments in (("--scale", "paper"), ("--published",), ("--scale", OWN), ()):
            lines = checked(store, *arguments).stdout.splitlines()
            assert len(lines) > 10
            assert max(map(len, lines)) <= widest, arguments

    @pytest.mark.parametrize("arguments", [(), ("--scale", "paper"), ("--scale", OWN)])
    def test_a_tree_without_records_is_refused(self, store, arguments):
        """A mistyped --results does not pass: nothing there could ever get worse."""
        missing = f"there is no folder '{store.results / 'records'}'"
        assert missing in checked(store, *arguments).refusal

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--scale", "papr"), "unknown scale 'papr'"),
            (("--only", "C99*"), "no verdict matches"),
            (("--accept", "--only", "C1*"), "leave --only out"),
            # Printing what is published compares nothing, so that other flags would do nothing.
            (("--published", "--scale", "quick"), "judges nothing; leave --scale"),
            (("--published", "--only", "C1*"), "judges nothing"),
            (("--published", "--accept"), "judges nothing"),
            (("--published", "--from-checkpoint", "x"), "judges nothing"),
            (("--published", "--precision", "fp32"), "judges nothing"),
            (("--published", "--format", "csv"), "leave --format csv out"),
        ],
    )
    def test_wrong_input_is_refused(self, store_with_a_record, arguments, message):
        """Nothing is written."""
        assert message in checked(store_with_a_record, *arguments).refusal
        assert [path.name for path in store_with_a_record.results.iterdir()] == ["records"]

    def test_a_folder_in_the_place_of_verdicts_is_told(self, store_with_a_record):
        """Exit code 2 and the path: 1 would mean that something got worse."""
        path = accepted_path(store_with_a_record.results, "quick")
        path.mkdir(parents=True)
        for arguments in ((), ("--accept",)):
            assert f"cannot read '{path}'" in checked(store_with_a_record, *arguments).refusal

    def test_missing_is_listed_by_command(self, store_with_a_record):
        """What nothing is on record for takes a line for each command, not one for each case; it is of
        the tree that was looked at."""
        quick, place = checked(store_with_a_record), f"--results {store_with_a_record.results}"
        shown = " ".join(quick.stdout.split())
        assert f"C2: `python -m benchmark table2 --scale quick {place}`" in shown
        assert published().claims[1].statement not in quick.stdout
        own = checked(store_with_a_record, "--scale", OWN)
        assert own.stdout.count("evaluate --checkpoint") <= 4
        shown = " ".join(own.stdout.split())
        assert f"evaluate --checkpoint NAME --evaluations clean,autoattack {place}`; NAME: " in shown

    @pytest.mark.parametrize("scale", ["kept", "kept.toml"])
    @pytest.mark.parametrize("start", ["", "narrow-cifar10-resnet18-w16-pgd-at-seed0"])
    def test_scales_that_are_filed_and_start_from_checkpoints(
        self, store_with_a_record, monkeypatch, tmp_path, scale, start
    ):
        """A scale kept in the results tree is found by its name, and commands name its file."""
        results = store_with_a_record.results
        file = results / "scales" / "kept.toml" if scale == "kept" else tmp_path / scale
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            'name = "kept"\nsummary = "x"\nseeds = [0]\n'
            'datasets = ["cifar10"]\narchs = ["resnet18-w16"]\n'
        )
        monkeypatch.chdir(tmp_path)
        flags = ("--from-checkpoint", start) if start else ()
        answer = checked(store_with_a_record, "--scale", scale, *flags, "--format", "csv").good()
        named = str(file) if scale == "kept" else scale
        assert f"table1 --scale {' '.join([named, *flags])} --results {results}," in answer.stdout
        if start and scale == "kept":
            slot = checked(store_with_a_record, "--scale", f"kept-from-{start}", "--format", "csv")
            assert slot.stdout == answer.stdout

    def test_published_numbers_claims_and_notes_are_shown(self, store):
        """Every number's source, every claim and every note is in the listing, which needs no records
        and writes nothing."""
        answer = checked(store, "--published").good()
        assert not store.results.exists()
        shown = " ".join(answer.stdout.replace("-\n    ", "-").split())
        assert "83.44" in shown
        for row in published().rows:
            seeds = "not said" if row.seeds is None else row.seeds
            behind = f"{row.protocol} (seeds or runs: {seeds}; tolerance: {row.tolerance})"
            assert behind in shown
            assert f": {row.note}" in shown or row.note is None
        for claim in published().claims:
            assert f"{claim.id} ({claim.where})" in shown
        for note in published().notes:
            assert note.where in shown

    def test_csv_and_markdown(self, store, monkeypatch):
        """CSV has one line per finding and fractions, not percent; in Markdown what has no number is a
        line for each command below the tables, and a sentence one line in any terminal."""
        monkeypatch.setenv("COLUMNS", "60")
        write_seeds(store, BASE, "clean", (8146, 8146, 8146))
        flags = ("--scale", "paper", "--only", f"{ROW}/*", "--format")
        lines = checked(store, *flags, "csv").stdout.splitlines()
        assert len(lines) == 4
        assert ",0.8146," in next(line for line in lines if "clean" in line)
        assert ",3,0.8146 0.8146 0.8146," in next(line for line in lines if "clean" in line)
        shown = checked(store, *flags, "markdown").stdout
        again = f"python -m benchmark table1 --scale paper --results {store.results}"
        assert f"- missing 2 of 3: `{again}`" in shown
        assert "hold this against; this command with --accept and without --only keeps all.\n" in shown


@pytest.mark.parametrize(
    "path", sorted((RESULTS / "checks").glob("*.json")), ids=lambda path: path.stem
)
def test_committed_verdicts_are_those_of_the_committed_records(path, tmp_path):
    """What is accepted in the repository is what its records give today."""
    shown = examine(Store(RESULTS, tmp_path), path.stem)
    assert shown.name == path.stem
    assert accepted_bytes(accepting(path.stem, shown.findings)) == path.read_bytes()
