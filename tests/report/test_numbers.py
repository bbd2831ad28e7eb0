"""Records against published numbers, and verdicts that were accepted."""

import json
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import typer
from scipy.stats import t
from typer.testing import CliRunner

from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.cli.check import check, examine
from benchmark.data.info import CIFAR10
from benchmark.errors import UserError
from benchmark.models import arch
from benchmark.plans.plan import CheckpointPlan
from benchmark.plans.scales import PAPER, SCALES, SHORT, Scale
from benchmark.records.cells import OWN, Cell
from benchmark.records.store import Store
from benchmark.report.check.accepted import (
    accepted_bytes,
    accepted_path,
    accepting,
    read_accepted,
    regressions,
)
from benchmark.report.check.claims import claim_findings
from benchmark.report.check.numbers import FAR, SPREAD, attacks, compared, judge, own_compared
from benchmark.report.check.published import published
from benchmark.report.check.verdicts import GOOD, Finding, Verdict, badness, worst_first
from benchmark.report.estimates import Estimate
from benchmark.report.fresh import Fresh
from benchmark.report.intervals import Interval
from handmade import BY_HAND, cell_at, record_and_bits, write_making, write_record
from invoking import Said

MATCH, WITHIN, OFF = Verdict.MATCH, Verdict.WITHIN, Verdict.OFF
RESULTS = Path(__file__).parents[2] / "results"
ROW = "table1/cifar10/resnet18/none"


def of_mean(mean: float, half: float | None = 0.0005) -> Estimate:
    """An accuracy with an interval over seeds that reaches `half` to both sides."""
    interval = None if half is None else Interval(mean - half, mean + half)
    return Estimate((mean, mean, mean), interval)


class TestJudge:
    """One number against one published number, at the edges of each tolerance."""

    @pytest.mark.parametrize(
        ("gap", "verdict"),
        [(0.0, MATCH), (0.00205, MATCH), (-0.00205, MATCH), (0.0021, WITHIN), (0.0201, OFF)],
    )
    def test_seeds_match_within_their_spread(self, gap: float, verdict: Verdict) -> None:
        """A mean is a match up to the paper's spread and half a digit, on both sides."""
        assert judge(of_mean(0.8 + gap), 0.8, "seeds", "clean", 3)[0] is verdict

    @pytest.mark.parametrize("side", [1, -1])
    @pytest.mark.parametrize(("beyond", "verdict"), [(-1e-5, WITHIN), (0.0, WITHIN), (1e-5, OFF)])
    def test_seeds_are_within_while_intervals_overlap(
        self, side: int, beyond: float, verdict: Verdict
    ) -> None:
        """Theirs is the t interval of three runs with the deviation that the paper allows for."""
        low, high = t.interval(0.95, 2, loc=0.8, scale=SPREAD / sqrt(3))
        half = 0.004
        ours = (high if side > 0 else low) + side * (half + beyond)
        assert judge(of_mean(ours, half), 0.8, "seeds", "clean", 3)[0] is verdict

    def test_a_wide_interval_is_no_agreement(self) -> None:
        """Seeds that disagree do not make a mean agree that is far off."""
        assert judge(of_mean(0.8 + FAR, 0.3), 0.8, "seeds", "clean", 3)[0] is WITHIN
        assert judge(of_mean(0.8 + FAR + 1e-5, 0.3), 0.8, "seeds", "clean", 3)[0] is OFF

    def test_without_an_interval_only_a_match_is_known(self) -> None:
        """Where nothing is said of our spread, what is not a match is off."""
        assert judge(of_mean(0.801, None), 0.8, "seeds", "clean", 3)[0] is MATCH
        assert judge(of_mean(0.803, None), 0.8, "seeds", "clean", 3)[0] is OFF

    @pytest.mark.parametrize(
        ("name", "gap", "verdict"),
        [
            ("clean", 0.00005, MATCH),
            ("clean", 0.0001, WITHIN),
            ("clean", 0.00055, WITHIN),
            ("clean", 0.0006, OFF),
            ("corruptions-15", 0.0006, OFF),
            ("autoattack", 0.0006, WITHIN),
            ("autoattack", -0.00305, WITHIN),
            ("autoattack", -0.0031, OFF),
        ],
    )
    def test_the_same_weights(self, name: str, gap: float, verdict: Verdict) -> None:
        """Equal as printed is a match; attacks may differ by tenths, images by a few."""
        assert judge(of_mean(0.5 + gap), 0.5, "same-weights", name)[0] is verdict

    @pytest.mark.parametrize(("gap", "verdict"), [(0.0, WITHIN), (-0.02, WITHIN), (0.0201, OFF)])
    def test_a_neighbour_never_matches(self, gap: float, verdict: Verdict) -> None:
        """Another recipe is within tolerance or off."""
        assert judge(of_mean(0.5 + gap), 0.5, "neighbour", "clean")[0] is verdict

    def test_what_attacks(self) -> None:
        """Clean and corrupted images draw nothing; attacks do."""
        assert [
            name for name in ("clean", "corruptions-18", "pgd10x3", "autoattack") if attacks(name)
        ] == [
            "pgd10x3",
            "autoattack",
        ]


def fresh(store: Store, name: str = "paper") -> Fresh:
    """The records of `store` at a built-in scale."""
    return Fresh(store, SCALES[name], name)


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

    def test_a_record_meets_its_row(self, store: Store) -> None:
        """Our mean, its interval, the published value, the difference and the source are shown."""
        write_seeds(store, BASE, "clean", (8136, 8146, 8156))
        finding = found(compared(fresh(store), published()), f"{ROW}/clean@none")
        assert finding.verdict is MATCH
        assert finding.ours is not None
        assert finding.ours.values == (0.8136, 0.8146, 0.8156)
        assert finding.ours.over == "seeds"
        assert finding.published == 0.8146
        assert finding.difference == pytest.approx(0)
        assert finding.source == "rift: Table 1"
        assert list(finding.behind) == [
            f"paper/cifar10/resnet18/pgd-at/none/seed{seed}/clean" for seed in range(3)
        ]

    def test_nothing_stands_in_for_a_published_evaluation(self, store: Store) -> None:
        """Neither the first images nor corrupted images of our own are compared."""
        for name in (
            "clean-first-1000",
            "corruptions-15-gen-v2",
            "corruptions-18",
            "pgd10-official-code",
        ):
            write_seeds(store, BASE, name, (8146, 8146, 8146))
        findings = [f for f in compared(fresh(store), published()) if f.id.startswith(ROW)]
        assert {(f.id, f.verdict) for f in findings} == {
            (f"{ROW}/{name}@none", Verdict.MISSING) for name in ("clean", "corruptions-15", "pgd10x3")
        }

    def test_what_is_missing_names_the_command(self, store: Store) -> None:
        """A seed that lacks a record makes the number missing, not a mean over the rest."""
        write_seeds(store, BASE, "clean", (8146, 8146))
        finding = found(compared(fresh(store), published()), f"{ROW}/clean@none")
        assert (finding.verdict, finding.ours) == (Verdict.MISSING, None)
        assert "seed 2" in finding.why
        assert finding.make == "python -m benchmark table1 --scale paper"

    def test_a_stale_record_is_missing(self, store: Store) -> None:
        """Records of another recipe are not compared, and the command makes them again."""
        write_seeds(store, BASE, "clean", (8146,) * 3, replace(PAPER, training={"epochs": 1}))
        finding = found(compared(fresh(store), published()), f"{ROW}/clean@none")
        assert finding.verdict is Verdict.MISSING
        assert finding.why.startswith("stale clean")
        assert finding.make.endswith("--redo-stale")

    def test_each_reading_of_a_row_is_compared(self, store: Store) -> None:
        """Where the paper does not say which weights a row is of, both are held against it."""
        ids = [finding.id for finding in compared(fresh(store), published())]
        assert {i for i in ids if i.startswith("table3/all-layers/clean")} == {
            "table3/all-layers/clean@all-layers-alpha-1",
            "table3/all-layers/clean@all-layers",
        }

    def test_printed_differences_are_compared(self, store: Store) -> None:
        """A printed difference is held against ours, seed by seed."""
        write_seeds(store, BASE, "clean", (8000, 8100, 8200))
        write_seeds(store, replace(BASE, finetune="rift"), "clean", (8200, 8300, 8400))
        finding = found(compared(fresh(store), published()), "table1/cifar10/resnet18/difference/clean")
        assert finding.ours is not None
        assert finding.ours.values == pytest.approx((0.02, 0.02, 0.02))
        assert (finding.verdict, finding.published) == (MATCH, 0.0198)

    def test_a_shorter_recipe_is_a_neighbour(self, store: Store) -> None:
        """At the scale `short` the same accuracy is within tolerance and no match."""
        write_seeds(store, replace(BASE, scale="short"), "clean", (8146,), SHORT)
        finding = found(compared(fresh(store, "short"), published()), f"{ROW}/clean@none")
        assert finding.verdict is WITHIN

    @pytest.mark.parametrize("name", ["quick", "narrow"])
    def test_other_scales_are_never_compared(self, store: Store, name: str) -> None:
        """Small networks have no published counterpart."""
        assert compared(fresh(store, name), published()) == []

    def test_a_scale_of_ones_own_is_not_compared(self, store: Store) -> None:
        """The paper's networks at a scale that is not the paper's are another recipe."""
        own = Fresh(store, replace(PAPER, name="mine"), "mine.toml")
        assert compared(own, published()) == []

    def test_ids_are_unique(self, store: Store) -> None:
        """Every finding has an id of its own, claims included."""
        findings = [*compared(fresh(store), published()), *claim_findings(fresh(store), published())]
        ids = [finding.id for finding in findings]
        assert len(ids) == len(set(ids))
        assert len(ids) > 200


def checkpoint(**changes: Any) -> CheckpointEntry:
    """An entry of the registry."""
    content: dict[str, Any] = {
        "name": "theirs",
        "dataset": "cifar10",
        "arch": "resnet18",
        "source": "https://example.org/theirs.safetensors",
        "file": "theirs.safetensors",
        "sha256": "c" * 64,
        "licence": "MIT",
        "what": "weights of a test",
        "eps": "8/255",
        "selects_on": "unknown",
        "published": {"clean": 0.85, "autoattack": 0.5},
    }
    return CheckpointEntry(**(content | changes))


def write_own(store: Store, name: str, k: int, sha256: str = "c" * 64, **changes: Any) -> None:
    """A record of the checkpoint `theirs`, read from a file with that hash."""
    cell = Cell(OWN, "cifar10", "resnet18", "theirs", "none", 0)
    plan = CheckpointPlan(cell, CIFAR10, arch("resnet18"), "a" * 64)
    record, bits = record_and_bits(plan, name, k, 10_000)  # type: ignore[arg-type]
    changes["sources"] = {"theirs.safetensors": sha256}
    store.write_record(record.model_copy(update=changes), bits)


class TestCheckpoints:
    """The same weights, evaluated here and by others."""

    def verdicts(self, store: Store, entry: CheckpointEntry) -> dict[str, Finding]:
        """What the registry says of `theirs` against the records."""
        findings = own_compared(store, published(), {entry.name: entry})
        return {finding.id: finding for finding in findings if "theirs" in finding.id}

    def test_the_numbers_of_the_registry(self, store: Store) -> None:
        """Clean accuracy has to be equal; what is not evaluated is missing, with the command for it."""
        write_own(store, "clean", 8500)
        known = self.verdicts(store, checkpoint())
        assert known["checkpoints/theirs/clean"].verdict is MATCH
        lacking = known["checkpoints/theirs/autoattack"]
        assert lacking.verdict is Verdict.MISSING
        assert lacking.make == (
            "python -m benchmark evaluate --checkpoint theirs --evaluations clean,autoattack"
        )

    def test_what_a_record_warns_of_is_said(self, store: Store) -> None:
        """The verdict stays, and the line says what its record warns of."""
        write_own(store, "clean", 8500, remarks=["trained elsewhere", "warning: masking"])
        finding = self.verdicts(store, checkpoint())["checkpoints/theirs/clean"]
        assert finding.verdict is MATCH
        assert finding.why.endswith("; WARNING, none, seed 0: masking")

    def test_another_file_is_not_compared(self, store: Store) -> None:
        """A record of other bytes than the registry's is not of these weights."""
        write_own(store, "clean", 8500, "d" * 64)
        finding = self.verdicts(store, checkpoint())["checkpoints/theirs/clean"]
        assert finding.verdict is Verdict.MISSING
        assert "another file" in finding.why

    def test_another_radius_is_not_compared(self, store: Store) -> None:
        """Robust accuracy at another eps has no counterpart, clean accuracy has."""
        assert set(self.verdicts(store, checkpoint(eps="0.031"))) == {"checkpoints/theirs/clean"}

    def test_the_radius_is_the_datasets(self, store: Store) -> None:
        """What is published of digits within 0.08 is compared, and within 8/255 is not."""
        digits = {"dataset": "digits", "arch": "resnet18-w16"}
        both = {"checkpoints/theirs/clean", "checkpoints/theirs/autoattack"}
        assert set(self.verdicts(store, checkpoint(**digits, eps="0.08"))) == both
        clean = {"checkpoints/theirs/clean"}
        assert set(self.verdicts(store, checkpoint(**digits, eps="8/255"))) == clean


def finding(name: str, verdict: Verdict, **changes: Any) -> Finding:
    """A finding with nothing but a verdict."""
    return replace(Finding(name, verdict, "here", "Std", "why"), **changes)


class TestAccepted:
    """What was accepted, and what has got worse since."""

    def test_what_was_accepted_is_read_again(self, store: Store) -> None:
        """The file has one line per verdict, in the order of ids whatever the order of findings."""
        ours = Estimate((0.1, 0.2), Interval(-0.1, 0.4))
        findings = [
            finding("b", MATCH, ours=ours, published=0.15, behind={"k/clean": "f" * 64}),
            finding("a", Verdict.UNCLEAR),
            finding("c", Verdict.MISSING),
        ]
        kept = accepting("by-hand", findings)
        content = accepted_bytes(kept)
        assert content == accepted_bytes(accepting("by-hand", findings[::-1]))
        assert [json.loads(line.rstrip(","))["id"] for line in content.decode().splitlines()[1:-1]] == [
            "a",
            "b",
        ]
        path = accepted_path(store.results, "by-hand")
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        assert read_accepted(store.results, "by-hand") == kept

    def test_no_verdicts_are_a_file_too(self, store: Store) -> None:
        """A scale of which nothing is on record can be accepted."""
        path = accepted_path(store.results, "by-hand")
        path.parent.mkdir(parents=True)
        path.write_bytes(accepted_bytes(accepting("by-hand", [])))
        kept = read_accepted(store.results, "by-hand")
        assert kept is not None
        assert kept.verdicts == ()

    @pytest.mark.parametrize("before", list(Verdict))
    @pytest.mark.parametrize("now", [*Verdict, None])
    def test_only_what_was_good_can_get_worse(self, before: Verdict, now: Verdict | None) -> None:
        """A regression is a good verdict that is not a good one any more, or is not judged at all."""
        kept = accepting("by-hand", [finding("a", before)])
        worse = regressions(kept, [] if now is None else [finding("a", now)])
        assert bool(worse) is (before in GOOD and now not in GOOD)

    def test_a_glob_leaves_the_others_alone(self) -> None:
        """What was not looked at has not got worse."""
        kept = accepting("by-hand", [finding("C1/x", MATCH), finding("C2/x", MATCH)])
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
    def test_a_broken_file_is_refused(self, store: Store, content: str, message: str) -> None:
        """One line names the file and what is wrong."""
        path = accepted_path(store.results, "by-hand")
        path.parent.mkdir(parents=True)
        path.write_text(content)
        with pytest.raises(UserError, match=message) as error:
            read_accepted(store.results, "by-hand")
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_the_worst_comes_first() -> None:
    """Off and failing before open and missing, these before what is good."""
    findings = [finding(verdict.name, verdict) for verdict in Verdict]
    ordered = [each.verdict for each in worst_first(findings)]
    assert ordered[:2] == [OFF, Verdict.FAILS]
    assert set(ordered[-3:]) == GOOD
    assert [badness(verdict) for verdict in ordered] == list(range(len(Verdict)))


# --- the command --------------------------------------------------------------------------------------


@pytest.fixture
def store_with_a_record(store: Store) -> Store:
    """A store with one record of a scale that no test here asks for."""
    write_record(store, cell_at(), "clean", 900)
    return store


def said(store: Store, *arguments: str) -> Said:
    """What `check` says to `arguments`."""
    app = typer.Typer()
    app.command()(check)
    result = CliRunner().invoke(
        app, [*arguments, "--results", str(store.results)], catch_exceptions=False
    )
    return Said(result.exit_code, result.stdout, result.stderr)


class TestCommand:
    """`check` on records of a test."""

    def test_what_got_worse_ends_with_1(self, store: Store) -> None:
        """Accepted, looked at again, and then without its records."""
        write_seeds(store, BASE, "clean", (8146, 8146, 8146))
        first = said(store, "--scale", "paper")
        assert first.exit_code == 0
        assert "No accepted verdicts" in first.stdout
        assert said(store, "--scale", "paper", "--accept").exit_code == 0
        again = said(store, "--scale", "paper")
        assert again.exit_code == 0
        assert "Nothing has got worse" in again.stdout
        store.record_path(BASE, "clean").unlink()
        worse = said(store, "--scale", "paper")
        assert worse.exit_code == 1
        assert f"{ROW}/clean@none: match -> missing" in worse.stdout
        assert f"{ROW}/clean@none" in worse.stderr
        assert said(store, "--scale", "paper", "--only", "C*").exit_code == 0
        accepted = said(store, "--scale", "paper", "--accept")
        assert (accepted.exit_code, "GOT WORSE" in accepted.stdout) == (0, True)
        assert said(store, "--scale", "paper").exit_code == 0

    def test_a_terminal_of_120_columns_is_enough(self, store: Store) -> None:
        """No line of text is wider, with records and without."""
        write_seeds(store, BASE, "clean", (8146, 8100, 8200))
        for arguments in (("--scale", "paper"), ("--published",), ("--scale", OWN), ()):
            lines = said(store, *arguments).stdout.splitlines()
            assert len(lines) > 10
            assert max(map(len, lines)) <= 120

    def test_a_narrow_terminal_is_enough(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lines are as wide as the terminal, down to 80 columns."""
        monkeypatch.setenv("COLUMNS", "80")
        write_seeds(store, BASE, "clean", (8146, 8100, 8200))
        for arguments in (("--scale", "paper"), ("--published",), ("--scale", OWN), ()):
            lines = said(store, *arguments).stdout.splitlines()
            assert max(map(len, lines)) <= 80, arguments

    @pytest.mark.parametrize("arguments", [(), ("--scale", "paper"), ("--scale", OWN)])
    def test_a_tree_without_records_is_refused(self, store: Store, arguments: tuple[str, ...]) -> None:
        """A mistyped --results does not pass: nothing there could ever get worse."""
        answer = said(store, *arguments)
        assert answer.exit_code == 2
        (line,) = answer.stderr.splitlines()
        assert f"there is no folder '{store.results / 'records'}'" in line

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--scale", "quick"),
            ("--only", "C1*"),
            ("--accept",),
            ("--from-checkpoint", "x"),
            ("--precision", "fp32"),
        ],
    )
    def test_what_published_would_ignore_is_refused(
        self, store: Store, arguments: tuple[str, ...]
    ) -> None:
        """Printing what is published judges nothing, so that the other flags would do nothing."""
        answer = said(store, "--published", *arguments)
        assert answer.exit_code == 2
        assert "--published prints everything and judges nothing" in answer.stderr
        assert answer.stdout == ""

    def test_a_folder_in_the_place_of_verdicts_is_told(self, store_with_a_record: Store) -> None:
        """Exit code 2 and the path: 1 would mean that something got worse."""
        path = accepted_path(store_with_a_record.results, "quick")
        path.mkdir(parents=True)
        for arguments in ((), ("--accept",)):
            answer = said(store_with_a_record, *arguments)
            assert answer.exit_code == 2
            assert f"cannot read '{path}'" in answer.stderr

    def test_missing_is_said_by_command(self, store_with_a_record: Store) -> None:
        """What nothing is on record for takes a line for each command, not one for each case."""
        quick = said(store_with_a_record)
        assert "C2: `python -m benchmark table2 --scale quick`" in quick.stdout
        assert published().claim("C2").statement not in quick.stdout
        own = said(store_with_a_record, "--scale", OWN)
        assert own.stdout.count("evaluate --checkpoint") <= 4
        shown = " ".join(own.stdout.split())
        assert "evaluate --checkpoint NAME --evaluations clean,autoattack`; NAME: " in shown

    @pytest.mark.parametrize("scale", ["kept", "kept.toml"])
    @pytest.mark.parametrize("start", ["", "narrow-cifar10-resnet18-w16-pgd-at-seed0"])
    def test_scales_that_are_filed_and_start_from_checkpoints(
        self,
        store_with_a_record: Store,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        scale: str,
        start: str,
    ) -> None:
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
        answer = said(store_with_a_record, "--scale", scale, *flags, "--format", "csv")
        assert answer.exit_code == 0, answer.stderr
        named = str(file) if scale == "kept" else scale
        assert f"table1 --scale {' '.join([named, *flags])}," in answer.stdout
        if start and scale == "kept":
            slot = said(store_with_a_record, "--scale", f"kept-from-{start}", "--format", "csv")
            assert slot.stdout == answer.stdout

    @pytest.mark.parametrize("kind", ["text", "markdown", "csv"])
    def test_published_numbers_need_no_records(self, store: Store, kind: str) -> None:
        """Tables are printed in every format and nothing is written."""
        answer = said(store, "--published", "--format", kind)
        assert answer.exit_code == 0
        assert ("0.8344" if kind == "csv" else "83.44") in answer.stdout
        assert not store.results.exists()

    def test_claims_and_notes_are_shown(self, store: Store) -> None:
        """Every claim, every note, and what is behind every row is in the listing."""
        shown = " ".join(said(store, "--published").stdout.replace("-\n    ", "-").split())
        for row in published().rows:
            seeds = "not said" if row.seeds is None else row.seeds
            behind = f"{row.protocol} (seeds or runs: {seeds}; tolerance: {row.tolerance})"
            assert behind in shown
            assert f": {row.note}" in shown or row.note is None
        for claim in published().claims:
            assert f"{claim.id} ({claim.where})" in shown
        for note in published().notes:
            assert note.where in shown

    def test_csv_has_every_finding(self, store: Store) -> None:
        """One line per finding and fractions, not percent."""
        write_seeds(store, BASE, "clean", (8146, 8146, 8146))
        lines = said(
            store, "--scale", "paper", "--only", f"{ROW}/*", "--format", "csv"
        ).stdout.splitlines()
        assert len(lines) == 4
        assert ",0.8146," in next(line for line in lines if "clean" in line)

    def test_markdown_shows_what_is_missing(self, store: Store) -> None:
        """What has no number is a line for each command below the tables."""
        write_record(store, cell_at(), "clean", 900)
        answer = said(store, "--scale", "paper", "--only", f"{ROW}/*", "--format", "markdown")
        assert "- missing 3 of 3: `python -m benchmark table1 --scale paper`" in answer.stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--scale", "papr"), "unknown scale 'papr'"),
            (("--only", "C99*"), "no verdict matches"),
            (("--accept", "--only", "C1*"), "leave --only out"),
        ],
    )
    def test_wrong_input_is_one_line(
        self, store: Store, arguments: tuple[str, ...], message: str
    ) -> None:
        """Exit code 2, one line, and nothing written."""
        write_record(store, cell_at(), "clean", 900)
        answer = said(store, *arguments)
        assert answer.exit_code == 2
        (line,) = answer.stderr.splitlines()
        assert message in line
        assert [path.name for path in store.results.iterdir()] == ["records"]


@pytest.mark.parametrize(
    "path", sorted((RESULTS / "checks").glob("*.json")), ids=lambda path: path.stem
)
def test_committed_verdicts_are_those_of_the_committed_records(path: Path, tmp_path: Path) -> None:
    """What is accepted in the repository is what its records give today."""
    examined = examine(Store(RESULTS, tmp_path), path.stem, published())
    assert examined.name == path.stem
    assert accepted_bytes(accepting(path.stem, examined.findings)) == path.read_bytes()


def test_a_record_that_goes_stale_is_a_regression(store: Store) -> None:
    """What held by a making of another recipe is missing, and so worse than accepted."""
    cell = cell_at("rift")
    one = replace(BY_HAND, seeds=(0,), archs=("resnet18-w8",))
    old = replace(one, finetuning={"epochs": 1})
    write_making(store, cell, 0.7, scale=old)
    kept = accepting("by-hand", claim_findings(Fresh(store, old, "x.toml"), published()))
    held = [each.id for each in kept.verdicts if each.verdict in GOOD and each.id.startswith("C9/")]
    worse = regressions(kept, claim_findings(Fresh(store, one, "x.toml"), published()))
    assert held
    assert set(held) <= {each.id for each in worse}
