"""Published criticality against hand-made makings, whose values can be read off."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmark.cli.check import check, examine
from benchmark.plans.named import SCALES
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell
from benchmark.records.records import Finetuning, ModuleCriticality
from benchmark.records.store import Store
from benchmark.report.check.criticality import (
    FACTOR,
    NEAR,
    OFFICIAL_CODE,
    READINGS,
    RIFT,
    criticality_compared,
    judge_drop,
    judge_mrc,
    judge_rank,
)
from benchmark.report.check.published import published
from benchmark.report.check.verdicts import Finding, Verdict
from benchmark.report.tables import REPORTS
from benchmark.report.view import View
from handmade import write_making
from invoking import Said

PAPER, SHORT = SCALES["paper"], SCALES["short"]

MATCH, WITHIN, OFF, MISSING = Verdict.MATCH, Verdict.WITHIN, Verdict.OFF, Verdict.MISSING
LEAST, MOST = "layer2.1.conv2", "layer4.1.conv1"
"""Of ResNet18 on CIFAR-10 in Figure 3; the README names the first of them, too."""
README = "rift-code/cifar10/resnet18/least-critical@rift-official-code"
UNNAMED = tuple(f"other{place}" for place in range(17))
Values = Mapping[str, tuple[float | None, float | None]]  # MRC and drop by module

AS_PUBLISHED: Values = {
    **{name: (1.0 + place, 0.3) for place, name in enumerate(UNNAMED[:9])},
    LEAST: (0.09, 0.0286),
    MOST: (12.94, 0.5303),
    "layer4.0.conv2": (11.0, 0.5305),
}


def criticality(values: Values, unconstrained: Sequence[str] = ()) -> list[ModuleCriticality]:
    """Of every module in `values`; an MRC of None is an ascent that diverged."""
    return [
        ModuleCriticality(
            module=module,
            mrc=mrc,
            accuracy_drop=drop,
            norm_ratio=None if mrc is None else 0.1,
            epochs=1,
            constrained=module not in unconstrained,
        )
        for module, (mrc, drop) in values.items()
    ]


def write(
    store: Store,
    *seeds: Values,
    reading: str = RIFT,
    scale: Scale = PAPER,
    made_at: Scale | None = None,
    unconstrained: Sequence[str] = (),
    place: str = "cifar10/resnet18",
) -> None:
    """Makings of a model at `scale`, one per seed, with these values; `made_at` is another recipe."""
    dataset, arch = place.split("/")
    for seed, values in enumerate(seeds):
        cell = Cell(scale.name, dataset, arch, "pgd-at", reading, seed)
        made = write_making(store, cell, scale=made_at or scale)
        assert isinstance(made.details, Finetuning)
        measured = criticality(values, unconstrained)
        details = made.details.model_copy(update={"criticality": measured})
        store.record_path(cell, "making").unlink()
        store.write_making(made.model_copy(update={"details": details}))


def judged(store: Store, scale: Scale = PAPER) -> dict[str, Finding]:
    """Findings by id."""
    findings = criticality_compared(View(store, scale, scale.name, REPORTS), published())
    by_id = {finding.id: finding for finding in findings}
    assert len(by_id) == len(findings)
    return by_id


def figure3(store: Store, quantity: str, module: str = LEAST, scale: Scale = PAPER) -> Finding:
    """A finding about Figure 3 read by Algorithm 1."""
    return judged(store, scale)[f"figure3/{module}/{quantity}@rift"]


# --- one value ---------------------------------------------------------------------------------------


class TestMrc:
    """MRC by seed against a published one, on a scale of ratios."""

    @pytest.mark.parametrize(
        ("ours", "verdict"),
        [
            (0.09, MATCH),
            (0.0949, MATCH),
            (0.0851, MATCH),
            (0.0951, WITHIN),
            (0.0849, WITHIN),
            (0.18, WITHIN),
            (0.045, WITHIN),
            (0.1801, OFF),
            (0.0449, OFF),
            (0.0, OFF),
            (-0.09, OFF),
        ],
    )
    def test_a_factor_to_both_sides(self, ours: float, verdict: Verdict) -> None:
        """Equal as printed is a match, half and double are still within."""
        assert judge_mrc([ours], 0.09)[0] is verdict

    @given(st.floats(0.01, 100), st.floats(0.02, 50))
    def test_ours_and_theirs_are_alike(self, ours: float, theirs: float) -> None:
        """Which of two values is the published one does not matter."""
        assert judge_mrc([ours], theirs)[0] is judge_mrc([theirs], ours)[0]

    def test_seeds_are_averaged_as_ratios(self) -> None:
        """Four times and a quarter of the published value are as close as the value itself."""
        verdict, why = judge_mrc([4.0, 0.25, 1.0], 1.0)
        assert verdict is MATCH
        assert why == "geometric mean 1.00, equal as printed"
        assert judge_mrc([4.0, 1.0], 1.0)[0] is WITHIN
        assert judge_mrc([4.01, 1.0], 1.0)[0] is OFF

    def test_one_seed_without_an_mrc_above_zero_leaves_no_ratio(self) -> None:
        """An ascent that lowered the loss is not compared with one that raised it."""
        verdict, why = judge_mrc([0.09, -0.001, 0.09], 0.09)
        assert (verdict, "no ratio" in why) == (OFF, True)


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ((0.0286,), MATCH),
        ((0.02865,), MATCH),
        ((0.02855,), MATCH),
        ((0.0287,), WITHIN),
        ((0.0486,), WITHIN),
        ((0.0086,), WITHIN),
        ((0.0487,), OFF),
        ((0.0085,), OFF),
        ((-0.01,), OFF),
        ((0.0086, 0.0486), MATCH),
        ((0.0286, 0.0686), WITHIN),
    ],
)
def test_drops_are_compared_in_points(ours: tuple[float, ...], verdict: Verdict) -> None:
    """The mean over seeds may be two points off, on both sides."""
    assert judge_drop(ours, 0.0286)[0] is verdict


@pytest.mark.parametrize(
    ("ranks", "verdict"),
    [((1, 1, 1), MATCH), ((1, 1, 2), WITHIN), ((NEAR, 1, NEAR), WITHIN), ((1, 1, NEAR + 1), OFF)],
)
def test_a_name_holds_in_every_seed(ranks: Sequence[int], verdict: Verdict) -> None:
    """The worst seed decides."""
    assert judge_rank(ranks) is verdict


# --- what is compared --------------------------------------------------------------------------------


def test_everything_published_is_compared_by_its_readings(store: Store) -> None:
    """Figure 3 in both readings, each name of the README as the released code measures."""
    ids = set(judged(store))
    of_figure = {
        f"figure3/{LEAST}/mrc",
        f"figure3/{LEAST}/drop",
        f"figure3/{LEAST}/least-critical",
        f"figure3/{MOST}/mrc",
        f"figure3/{MOST}/drop",
        f"figure3/{MOST}/most-critical",
        "section5.2/layer4.0.conv2/drop",
    }
    of_readme = {
        f"rift-code/{dataset}/{arch}/least-critical@rift-official-code"
        for dataset in ("cifar10", "cifar100", "tiny-imagenet")
        for arch in ("resnet18", "resnet34", "wrn-34-10")
    }
    assert ids == {f"{name}@{reading}" for name in of_figure for reading in READINGS} | of_readme


def test_ids_are_no_others(store: Store) -> None:
    """Accuracies and claims have other ids."""
    ids = [finding.id for finding in examine(store, "paper", published()).findings]
    assert len(ids) == len(set(ids))
    assert set(judged(store)) < set(ids)


def test_the_published_values_match(store: Store) -> None:
    """Measured exactly as printed, all values and names of that reading match, and say what by."""
    write(store, *[AS_PUBLISHED] * 3)
    findings = [finding for name, finding in judged(store).items() if name.endswith("@rift")]
    assert {finding.verdict for finding in findings} == {MATCH}
    assert all(finding.why.startswith("by Algorithm 1; ") for finding in findings)
    mrc = figure3(store, "mrc")
    assert mrc.ours is not None
    assert (mrc.ours.values, mrc.ours.interval, mrc.plain) == ((0.09,) * 3, None, True)
    assert (mrc.published, mrc.source) == (0.09, "rift: Section 5.2, Figure 3")
    assert (mrc.where, mrc.what) == ("cifar10/resnet18/pgd-at/rift", f"MRC, {LEAST}")
    assert list(mrc.behind) == [
        f"paper/cifar10/resnet18/pgd-at/rift/seed{seed}/making" for seed in range(3)
    ]
    drop = figure3(store, "drop")
    assert drop.ours is not None
    assert drop.ours.values == (0.0286,) * 3
    assert (drop.ours.over, drop.plain) == ("seeds", False)
    assert drop.ours.interval is None  # seeds that agree exactly


@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_is_compared_with_its_own_measurement(store: Store, reading: str) -> None:
    """Makings of one protocol say nothing of the other, and the README is of the released code."""
    write(store, *[AS_PUBLISHED] * 3, reading=reading)
    findings = judged(store)
    present = {name for name, finding in findings.items() if finding.verdict is not MISSING}
    assert {name.rpartition("@")[2] for name in present} == {reading}
    assert (README in present) == (reading == OFFICIAL_CODE)
    assert len(present) == (8 if reading == OFFICIAL_CODE else 7)


def test_other_networks_have_their_own_module(store: Store) -> None:
    """The name of the README for a network is looked for in that network."""
    values: Values = {"layer2.3.conv2": (0.1, 0.02), LEAST: (0.2, 0.02), "a": (0.3, 0.2)}
    write(store, *[values] * 3, reading=OFFICIAL_CODE, place="cifar100/resnet34")
    findings = judged(store)
    assert findings["rift-code/cifar100/resnet34/least-critical@rift-official-code"].verdict is MATCH
    assert findings[README].verdict is MISSING


def ranked(rank: int, *, least: bool) -> Values:
    """Modules of which the published least (or most) critical one has `rank` from its end."""
    order = [*UNNAMED[: rank - 1], LEAST if least else MOST, *UNNAMED[rank - 1 :]]
    return {name: (1.0 + place if least else 99.0 - place, 0.1) for place, name in enumerate(order)}


@pytest.mark.parametrize("least", [True, False])
@pytest.mark.parametrize(("rank", "verdict"), [(1, MATCH), (NEAR, WITHIN), (NEAR + 1, OFF)])
def test_names_are_ranked_from_their_end(
    store: Store, rank: int, verdict: Verdict, least: bool
) -> None:
    """The least critical module counts from below and the robust-critical one from above; `why` has the
    ranks by seed and the modules that are first instead."""
    write(store, ranked(1, least=least), ranked(rank, least=least), ranked(1, least=least))
    module = LEAST if least else MOST
    finding = figure3(store, f"{'least' if least else 'most'}-critical", module)
    assert (finding.verdict, finding.ours, finding.published) == (verdict, None, None)
    assert f"rank 1, {rank}, 1 of 18" in finding.why
    if verdict is not MATCH:
        assert f"rank 1 has {module}, {UNNAMED[0]}, {module}" in finding.why


def test_of_equal_modules_the_one_nearer_the_input_is_less_critical(store: Store) -> None:
    """A tie is broken as RiFT breaks it."""
    write(store, *[{LEAST: (0.1, 0.0), "later": (0.1, 0.0)}] * 3)
    assert figure3(store, "least-critical").why.endswith("rank 1, 1, 1 of 2")
    other = Store(store.results.parent / "other", store.artifacts)
    write(other, *[{"earlier": (0.1, 0.0), LEAST: (0.1, 0.0)}] * 3)
    assert "rank 2, 2, 2 of 2" in figure3(other, "least-critical").why


@pytest.mark.parametrize(("values", "what"), [((None, None), "diverged"), ((-0.1, 0.5303), "failed")])
def test_an_ascent_that_diverged_or_failed_has_neither_value_nor_rank(
    store: Store, values: tuple[float | None, float | None], what: str
) -> None:
    """It is equal to no published number and neither end of the ranking; the others keep theirs."""
    lost: Values = {**AS_PUBLISHED, MOST: values}
    write(store, AS_PUBLISHED, lost, AS_PUBLISHED)
    for quantity in ("mrc", "drop", "most-critical"):
        finding = figure3(store, quantity, MOST)
        assert (finding.verdict, finding.ours) == (OFF, None)
        no = "no rank, seed 1" if quantity == "most-critical" else "no value"
        assert f"{no}; seed 1: the ascent {what}" in finding.why
    assert figure3(store, "least-critical").verdict is MATCH


def test_the_released_code_ranks_a_failed_ascent_lowest(store: Store) -> None:
    """By its reading a negative MRC is the least critical one, and the line says what it is."""
    lost: Values = {**AS_PUBLISHED, MOST: (-0.1, 0.0), "other0": (None, None)}
    write(store, *[lost] * 3, reading=OFFICIAL_CODE)
    finding = judged(store)[f"figure3/{MOST}/most-critical@{OFFICIAL_CODE}"]
    assert finding.verdict is OFF
    assert "rank 11, 11, 11 of 12" in finding.why
    assert "seed 0, 1, 2: the ascent failed" in finding.why


def test_ranks_are_among_those_that_have_one(store: Store) -> None:
    """Where a module is left out in one seed the numbers of modules are told by seed."""
    lost: Values = {**AS_PUBLISHED, "other0": (-0.1, 0.0)}
    write(store, AS_PUBLISHED, lost, AS_PUBLISHED)
    assert "rank 1, 1, 1 of 12, 11, 12" in figure3(store, "least-critical").why


def test_an_mrc_that_is_under_estimated_is_said_to_be(store: Store) -> None:
    """Where the constraint was never active, each line about that module says so."""
    write(store, *[AS_PUBLISHED] * 3, unconstrained=(LEAST,))
    said = "; seed 0, 1, 2: the constraint was never active: MRC is under-estimated"
    assert all(said in figure3(store, name).why for name in ("mrc", "drop", "least-critical"))
    assert said not in figure3(store, "mrc", MOST).why


def test_a_module_that_was_not_measured_is_off(store: Store) -> None:
    """A name that a making does not have is no match of anything."""
    without = {name: values for name, values in AS_PUBLISHED.items() if name != LEAST}
    write(store, AS_PUBLISHED, AS_PUBLISHED, without)
    for quantity in ("mrc", "drop", "least-critical"):
        finding = figure3(store, quantity)
        assert (finding.verdict, finding.ours) == (OFF, None)
        assert finding.why.endswith(f"{LEAST} was not measured, seed 2")


# --- what is missing, and where nothing is compared --------------------------------------------------


def test_what_is_missing_names_the_command(store: Store) -> None:
    """Figure 3 makes the first network, Table 1 by the released code's protocol the others."""
    findings = judged(store)
    assert {finding.verdict for finding in findings.values()} == {MISSING}
    start, end = "python -m benchmark ", " --scale paper"
    for name, finding in findings.items():
        first = "resnet18" in finding.where and "cifar10/" in finding.where
        command = "table1 --protocol rift-official-code"
        if first:
            command = "figure3-official" if name.endswith("official-code") else "figure3"
        assert finding.make == start + command + end


def test_a_network_that_no_figure_shows_is_made_by_its_table(store: Store) -> None:
    """Of another network than the first the paper's reading is made by Table 1."""
    scale = replace(PAPER, datasets=("cifar100", "cifar10"))
    assert figure3(store, "mrc", scale=scale).make == "python -m benchmark table1 --scale paper"


def test_every_seed_has_to_be_there(store: Store) -> None:
    """Two of three seeds are no number."""
    write(store, AS_PUBLISHED, AS_PUBLISHED)
    finding = figure3(store, "mrc")
    assert (finding.verdict, finding.ours, finding.why) == (MISSING, None, "no making of rift")


def test_stale_makings_are_missing(store: Store) -> None:
    """Another recipe's are not compared, and the command makes them again."""
    old = replace(PAPER, criticality={"images": 100})
    write(store, *[AS_PUBLISHED] * 3, made_at=old)
    finding = figure3(store, "mrc")
    assert (finding.verdict, finding.why) == (MISSING, "stale making of rift")
    assert finding.make.endswith("figure3 --scale paper --redo-stale")


def test_a_shorter_recipe_never_matches(store: Store) -> None:
    """At the scale `short` equal values and names are within tolerance, and what is off stays off."""
    write(store, AS_PUBLISHED, scale=SHORT)
    for quantity in ("mrc", "drop", "least-critical"):
        finding = figure3(store, quantity, scale=SHORT)
        assert (finding.verdict, finding.why.endswith("by another recipe")) == (WITHIN, True)
    other = Store(store.results.parent / "other", store.artifacts)
    write(other, {**AS_PUBLISHED, LEAST: (9.0, 0.3)}, scale=SHORT)
    for quantity in ("mrc", "drop", "least-critical"):
        assert figure3(other, quantity, scale=SHORT).verdict is OFF


@pytest.mark.parametrize(
    "scale",
    [
        SCALES["quick"],
        SCALES["narrow"],
        replace(PAPER, name="mine"),
        replace(PAPER, checkpoints=("some",)),
    ],
    ids=["quick", "narrow", "own", "from-checkpoint"],
)
def test_other_scales_are_never_compared(store: Store, scale: Scale) -> None:
    """Neither small networks nor another recipe nor others' weights have a published counterpart."""
    assert judged(store, scale) == {}


def test_what_a_scale_does_not_have_is_not_compared(store: Store) -> None:
    """A scale of fewer networks, datasets or methods has fewer lines."""
    assert not judged(store, replace(PAPER, methods=("trades",)))
    smaller = replace(PAPER, archs=("resnet34",), datasets=("cifar100",))
    assert set(judged(store, smaller)) == {
        "rift-code/cifar100/resnet34/least-critical@rift-official-code"
    }


# --- as shown ----------------------------------------------------------------------------------------


def said(store: Store, *arguments: str) -> Said:
    """What `check --scale paper` says to `arguments`."""
    app = typer.Typer()
    app.command()(check)
    everything = ["--scale", "paper", "--results", str(store.results), *arguments]
    result = CliRunner().invoke(app, everything, catch_exceptions=False)
    return Said(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def measured(store: Store) -> Store:
    """Three seeds with one MRC out of its tolerance and one drop within it."""
    first = {**AS_PUBLISHED, LEAST: (0.2, 0.04)}
    write(store, first, {**first, LEAST: (0.25, 0.05)}, {**first, LEAST: (0.16, 0.03)})
    return store


def test_text_shows_mrc_as_it_is_and_drops_in_percent(measured: Store) -> None:
    """By seed and without a difference for MRC; a mean with its interval for a drop."""
    shown = said(measured, "--only", f"figure3/{LEAST}/*@rift").stdout
    flat = " ".join(shown.split())
    assert (
        f"OFF cifar10/resnet18/pgd-at/rift MRC, {LEAST} 0.20 0.25 0.16 published 0.09: by "
        "Algorithm 1; geometric mean 0.20, 2.22 times the published value, not within a factor of 2 "
        "(rift: Section 5.2, Figure 3)" in flat
    )
    assert f"drop of robust accuracy, {LEAST} 4.00 ± 1.00 [1.52, 6.48] published 2.86" in flat
    assert "difference +1.14: by Algorithm 1; by seed 4.00, 5.00, 3.00; no more than 2 points" in flat
    assert f"match cifar10/resnet18/pgd-at/rift least critical module, {LEAST}: by Algorithm" in flat
    assert max(map(len, shown.splitlines())) <= 120


def test_markdown_shows_the_same(measured: Store) -> None:
    """MRC without an interval or a difference, a drop with both."""
    shown = said(measured, "--only", f"figure3/{LEAST}/*@rift", "--format", "markdown").stdout
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in shown.splitlines()
        if line.startswith("|")
    ]
    heads, _, *lines = rows
    by_what = {line[2]: dict(zip(heads, line, strict=True)) for line in lines}
    mrc = by_what[f"MRC, {LEAST}"]
    assert [mrc[head] for head in ("verdict", "ours", "95 %", "published", "difference")] == [
        "off",
        "0.20 0.25 0.16",
        "",
        "0.09",
        "",
    ]
    drop = by_what[f"drop of robust accuracy, {LEAST}"]
    assert (drop["95 %"], drop["published"], drop["difference"]) == ("[1.52, 6.48]", "2.86", "+1.14")


def test_csv_has_the_values_by_seed(measured: Store) -> None:
    """Numbers are neither percent nor rounded, and there is no interval of MRC."""
    shown = said(measured, "--only", f"figure3/{LEAST}/*@rift", "--format", "csv").stdout
    lines = {line["id"]: line for line in csv.DictReader(io.StringIO(shown))}
    mrc = lines[f"figure3/{LEAST}/mrc@rift"]
    assert (mrc["values"], mrc["published"], mrc["low"]) == ("0.2 0.25 0.16", "0.09", "")
    drop = lines[f"figure3/{LEAST}/drop@rift"]
    assert (drop["values"], drop["published"], drop["over"]) == ("0.04 0.05 0.03", "0.0286", "seeds")
    assert lines[f"figure3/{LEAST}/least-critical@rift"]["values"] == ""


def test_a_module_that_is_lost_is_a_regression(measured: Store) -> None:
    """What was a match when it was accepted and is off by other makings ends the check with 1."""
    assert said(measured, "--accept").exit_code == 0
    for seed in range(3):
        cell = Cell("paper", "cifar10", "resnet18", "pgd-at", RIFT, seed)
        measured.record_path(cell, "making").unlink()
    write(measured, *[{**AS_PUBLISHED, LEAST: (50.0, 0.5)}] * 3)
    worse = said(measured)
    assert worse.exit_code == 1
    assert f"figure3/{LEAST}/least-critical@rift: match -> off" in worse.stdout
    assert f"figure3/{LEAST}/mrc@rift" not in worse.stderr


def test_the_tolerances_are_said(store: Store) -> None:
    """A compared scale says by what rule MRC and names are judged; another one says that it is not."""
    told = " ".join(examine(store, "paper", published()).notes)
    assert f"factor of {FACTOR:g}" in told
    assert f"among the {NEAR} least" in told
    assert "MRC" not in " ".join(examine(store, "quick", published()).notes)
