"""Published criticality compared with hand-made measurements, whose values can be read off."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.cli.check import examine
from benchmark.plans.named import SCALES
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell
from benchmark.records.store import Store
from benchmark.report.check.criticality import (
    DROP,
    FACTOR,
    MRC,
    NEAR,
    OFFICIAL_CODE,
    READINGS,
    RIFT,
    compare_value,
    criticality_compared,
)
from benchmark.report.check.published import published
from benchmark.report.check.text import CHECK_FORMATS, Check
from benchmark.report.check.verdicts import Finding, Verdict
from benchmark.report.tables import REPORTS
from benchmark.report.view import View
from handmade import measured, write_making

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


def write(
    store: Store,
    *seeds: Values,
    reading: str = RIFT,
    scale: Scale = PAPER,
    made_at: Scale | None = None,
    unconstrained: Sequence[str] = (),
    place: str = "cifar10/resnet18",
) -> None:
    """Write how a model at `scale` was made, once per seed, with these values (an MRC of None is an
    ascent that diverged); `made_at` is another recipe."""
    dataset, arch = place.split("/")
    for seed, values in enumerate(seeds):
        entries = [
            measured(module, mrc, drop, module not in unconstrained)
            for module, (mrc, drop) in values.items()
        ]
        cell = Cell(scale.name, dataset, arch, "pgd-at", reading, seed)
        write_making(store, cell, scale=made_at or scale, criticality=entries)


def found(store: Store, scale: Scale = PAPER) -> dict[str, Finding]:
    """Findings by id."""
    findings = criticality_compared(View(store, scale, scale.name, REPORTS), published())
    return {finding.id: finding for finding in findings}


def figure3(store: Store, quantity: str, module: str = LEAST, scale: Scale = PAPER) -> Finding:
    """A finding about Figure 3 read by Algorithm 1."""
    return found(store, scale)[f"figure3/{module}/{quantity}@rift"]


# --- one value ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "published_value", "ours", "verdict"),
    [
        (MRC, 0.09, (0.09,), MATCH),
        (MRC, 0.09, (0.0949,), MATCH),
        (MRC, 0.09, (0.0851,), MATCH),
        (MRC, 0.09, (0.0951,), WITHIN),
        (MRC, 0.09, (0.0849,), WITHIN),
        (MRC, 0.09, (0.18,), WITHIN),
        (MRC, 0.09, (0.045,), WITHIN),
        (MRC, 0.09, (0.1801,), OFF),
        (MRC, 0.09, (0.0449,), OFF),
        (MRC, 0.09, (0.0,), OFF),
        (MRC, 0.09, (0.09, -0.001, 0.09), OFF),  # no ratio
        (MRC, 1.0, (4.0, 0.25, 1.0), MATCH),  # seeds are averaged as ratios
        (MRC, 1.0, (4.0, 1.0), WITHIN),
        (MRC, 1.0, (4.01, 1.0), OFF),
        (DROP, 0.0286, (0.0286,), MATCH),
        (DROP, 0.0286, (0.02865,), MATCH),
        (DROP, 0.0286, (0.02855,), MATCH),
        (DROP, 0.0286, (0.0287,), WITHIN),
        (DROP, 0.0286, (0.0486,), WITHIN),
        (DROP, 0.0286, (0.0086,), WITHIN),
        (DROP, 0.0286, (0.0487,), OFF),
        (DROP, 0.0286, (0.0085,), OFF),
        (DROP, 0.0286, (0.0086, 0.0486), MATCH),  # seeds are averaged in points
        (DROP, 0.0286, (0.0286, 0.0686), WITHIN),
    ],
)
def test_the_edges_of_each_tolerance(quantity, published_value, ours, verdict):
    """Equal as printed is a match; MRC may be off by a factor of two, a drop by two points."""
    assert compare_value(quantity, ours, published_value)[0] is verdict


@given(st.floats(0.01, 100), st.floats(0.02, 50))
def test_ours_and_theirs_are_alike(ours, theirs):
    """Which of two MRC is the published one does not matter."""
    assert compare_value(MRC, [ours], theirs)[0] is compare_value(MRC, [theirs], ours)[0]


# --- what is compared --------------------------------------------------------------------------------


def test_everything_published_is_compared_by_its_readings(store):
    """Figure 3 in both readings, each name of the README as the released code measures; what is missing
    names the command: Figure 3 for the first network, Table 1 for the others."""
    findings = found(store)
    of_figure = {
        *(f"figure3/{LEAST}/{quantity}" for quantity in ("mrc", "drop", "least-critical")),
        *(f"figure3/{MOST}/{quantity}" for quantity in ("mrc", "drop", "most-critical")),
        "section5.2/layer4.0.conv2/drop",
    }
    of_readme = {
        f"rift-code/{dataset}/{arch}/least-critical@rift-official-code"
        for dataset in ("cifar10", "cifar100", "tiny-imagenet")
        for arch in ("resnet18", "resnet34", "wrn-34-10")
    }
    of_figure = {f"{name}@{reading}" for name in of_figure for reading in READINGS}
    assert findings.keys() == of_figure | of_readme
    assert {finding.verdict for finding in findings.values()} == {MISSING}
    for name, finding in findings.items():
        command = "table1 --protocol rift-official-code"
        if "cifar10/resnet18/" in finding.where:
            command = "figure3-official" if name.endswith("official-code") else "figure3"
        assert finding.make == f"python -m benchmark {command} --scale paper --results {store.results}"
    scale = replace(PAPER, datasets=("cifar100", "cifar10"))
    make = figure3(store, "mrc", scale=scale).make
    assert make == f"python -m benchmark table1 --scale paper --results {store.results}"


def test_the_published_values_match(store):
    """Measured exactly as printed, all values and names of that reading match."""
    write(store, *[AS_PUBLISHED] * 3)
    findings = [finding for name, finding in found(store).items() if name.endswith("@rift")]
    assert {finding.verdict for finding in findings} == {MATCH}
    assert all(finding.why.startswith("by Algorithm 1; ") for finding in findings)
    mrc, drop = figure3(store, "mrc"), figure3(store, "drop")
    assert (mrc.ours.values, mrc.ours.interval, mrc.plain) == ((0.09,) * 3, None, True)
    assert (mrc.published, mrc.source) == (0.09, "rift: Section 5.2, Figure 3")
    assert list(mrc.behind) == [
        f"paper/cifar10/resnet18/pgd-at/rift/seed{seed}/making" for seed in range(3)
    ]
    assert (drop.ours.values, drop.ours.over, drop.plain) == ((0.0286,) * 3, "seeds", False)


@pytest.mark.parametrize(("reading", "count"), [(RIFT, 7), (OFFICIAL_CODE, 8)])
def test_a_reading_is_compared_with_its_own_measurement(store, reading, count):
    """One protocol's measurement is not the other's, and the README belongs to the released code."""
    write(store, *[AS_PUBLISHED] * 3, reading=reading)
    present = {name for name, finding in found(store).items() if finding.verdict is not MISSING}
    assert {name.rpartition("@")[2] for name in present} == {reading}
    assert (README in present, len(present)) == (reading == OFFICIAL_CODE, count)


def test_other_networks_have_their_own_module(store):
    """The name of the README for a network is looked for in that network."""
    values: Values = {"layer2.3.conv2": (0.1, 0.02), LEAST: (0.2, 0.02), "a": (0.3, 0.2)}
    write(store, *[values] * 3, reading=OFFICIAL_CODE, place="cifar100/resnet34")
    findings = found(store)
    assert findings["rift-code/cifar100/resnet34/least-critical@rift-official-code"].verdict is MATCH
    assert findings[README].verdict is MISSING


def ranked(rank: int, *, least: bool) -> Values:
    """Modules of which the published least (or most) critical one has `rank` from its end."""
    order = [*UNNAMED[: rank - 1], LEAST if least else MOST, *UNNAMED[rank - 1 :]]
    return {name: (1.0 + place if least else 99.0 - place, 0.1) for place, name in enumerate(order)}


@pytest.mark.parametrize("least", [True, False])
@pytest.mark.parametrize(("rank", "verdict"), [(1, MATCH), (NEAR, WITHIN), (NEAR + 1, OFF)])
def test_names_are_ranked_from_their_end(store, rank, verdict, least):
    """The least critical module counts from below and the robust-critical one from above, the worst
    seed decides, and `why` has the ranks by seed and the modules that are first instead."""
    write(store, ranked(1, least=least), ranked(rank, least=least), ranked(1, least=least))
    module = LEAST if least else MOST
    finding = figure3(store, f"{'least' if least else 'most'}-critical", module)
    assert (finding.verdict, finding.ours, finding.published) == (verdict, None, None)
    assert f"rank 1, {rank}, 1 of 18" in finding.why
    if verdict is not MATCH:
        assert f"rank 1 has {module}, {UNNAMED[0]}, {module}" in finding.why


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        ({LEAST: (0.1, 0.0), "later": (0.1, 0.0)}, "rank 1 of 2"),  # a tie is broken as RiFT breaks it
        ({"earlier": (0.1, 0.0), LEAST: (0.1, 0.0)}, "rank 2 of 2"),
        ({**AS_PUBLISHED, "other0": (-0.1, 0.0)}, "rank 1 of 11"),  # of those that have a valid MRC
    ],
)
def test_ranks(store, values, rank):
    """The rank of the published least critical module."""
    write(store, values, scale=SHORT)
    assert rank in figure3(store, "least-critical", scale=SHORT).why


@pytest.mark.parametrize(("values", "what"), [((None, None), "diverged"), ((-0.1, 0.5303), "failed")])
def test_an_ascent_that_diverged_or_failed_has_neither_value_nor_rank(store, values, what):
    """It is equal to no published number and neither end of the ranking; the others keep theirs."""
    write(store, AS_PUBLISHED, {**AS_PUBLISHED, MOST: values}, AS_PUBLISHED)
    for quantity in ("mrc", "drop", "most-critical"):
        finding = figure3(store, quantity, MOST)
        assert (finding.verdict, finding.ours) == (OFF, None)
        assert f"no {'rank' if '-' in quantity else 'value'}; seed 1: the ascent {what}" in finding.why
    assert figure3(store, "least-critical").verdict is MATCH


def test_the_released_code_ranks_a_failed_ascent_lowest(store):
    """By its reading a negative MRC is the least critical one, and the line tells what it is."""
    lost: Values = {**AS_PUBLISHED, MOST: (-0.1, 0.0), "other0": (None, None)}
    write(store, *[lost] * 3, reading=OFFICIAL_CODE)
    finding = found(store)[f"figure3/{MOST}/most-critical@{OFFICIAL_CODE}"]
    assert finding.verdict is OFF
    assert "rank 11, 11, 11 of 12" in finding.why
    assert "seed 0, 1, 2: the ascent failed" in finding.why


def test_what_a_line_tells_of_its_module(store):
    """Where the constraint was never active each line about that module tells it; a module that was not
    measured matches nothing."""
    lost = {name: values for name, values in AS_PUBLISHED.items() if name != MOST}
    write(store, AS_PUBLISHED, AS_PUBLISHED, lost, unconstrained=[LEAST])
    text = "; seed 0, 1, 2: the constraint was never active: MRC is under-estimated"
    assert all(text in figure3(store, name).why for name in ("mrc", "drop", "least-critical"))
    for quantity in ("mrc", "drop", "most-critical"):
        finding = figure3(store, quantity, MOST)
        assert (finding.verdict, finding.ours) == (OFF, None)
        assert finding.why.endswith(f"; {MOST} was not measured, seed 2")


@pytest.mark.parametrize(
    ("seeds", "recipe", "why", "flag"),
    [
        (2, PAPER, "no making of rift, seed 2", ""),
        (3, replace(PAPER, criticality={"images": 100}), "stale making of rift", " --redo-stale"),
    ],
)
def test_what_is_not_all_there_or_stale_is_missing(store, seeds, recipe, why, flag):
    """Two of three seeds are no number, and another recipe's are not compared."""
    write(store, *[AS_PUBLISHED] * seeds, made_at=recipe)
    finding = figure3(store, "mrc")
    assert (finding.verdict, finding.ours, finding.why) == (MISSING, None, why)
    assert finding.make == f"python -m benchmark figure3 --scale paper --results {store.results}{flag}"


def test_a_shorter_recipe_never_matches(store):
    """At the scale `short` equal values and names are within tolerance, and what is off stays off."""
    write(store, {**AS_PUBLISHED, MOST: (90.0, 0.9), "other0": (99.0, 0.3)}, scale=SHORT)
    for quantity in ("mrc", "drop", "least-critical"):
        finding = figure3(store, quantity, scale=SHORT)
        assert (finding.verdict, finding.why.endswith("by another recipe")) == (WITHIN, True)
    for quantity in ("mrc", "drop"):
        assert figure3(store, quantity, MOST, SHORT).verdict is OFF


@pytest.mark.parametrize(
    "scale",
    [
        SCALES["quick"],
        SCALES["narrow"],
        replace(PAPER, name="mine"),
        replace(PAPER, checkpoints=("some",)),
        replace(PAPER, methods=("trades",)),
    ],
    ids=["quick", "narrow", "own", "from-checkpoint", "another-method"],
)
def test_what_is_never_compared(store, scale):
    """Small networks, another recipe, others' weights and other methods have no published counterpart;
    a scale of fewer networks and datasets has fewer lines."""
    assert found(store, scale) == {}
    smaller = replace(PAPER, archs=("resnet34",), datasets=("cifar100",))
    assert set(found(store, smaller)) == {
        "rift-code/cifar100/resnet34/least-critical@rift-official-code"
    }


# --- as shown ----------------------------------------------------------------------------------------


def test_mrc_is_shown_as_it_is_and_drops_in_percent(store):
    """By seed and without an interval or a difference for MRC, out of its tolerance; a mean with both
    for a drop within it. In CSV numbers are by seed, neither percent nor rounded."""
    first = {**AS_PUBLISHED, LEAST: (0.2, 0.04)}
    write(store, first, {**first, LEAST: (0.25, 0.05)}, {**first, LEAST: (0.16, 0.03)})
    findings = tuple(figure3(store, quantity) for quantity in ("mrc", "drop", "least-critical"))
    check = Check("paper", "title", findings, published())
    shown = {kind: render(check) for kind, render in CHECK_FORMATS.items()}
    flat = " ".join(shown["text"].split())
    assert (
        f"OFF cifar10/resnet18/pgd-at/rift MRC, {LEAST} 0.20 0.25 0.16 published 0.09: by "
        "Algorithm 1; geometric mean 0.20, 2.22 times the published value, not within a factor of 2 "
        "(rift: Section 5.2, Figure 3)" in flat
    )
    assert f"drop of robust accuracy, {LEAST} 4.00 ± 1.00 [1.52, 6.48] published 2.86" in flat
    assert "difference +1.14: by Algorithm 1; by seed 4.00, 5.00, 3.00; no more than 2 points" in flat
    assert f"match cifar10/resnet18/pgd-at/rift least critical module, {LEAST}: by Algorithm" in flat
    assert max(map(len, shown["text"].splitlines())) <= 120
    rows = [re.split(r" *\| *", line) for line in shown["markdown"].splitlines() if line[:1] == "|"]
    by_what = {row[3]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    heads = ("verdict", "ours", "95 %", "published", "difference")
    mrc, drop = by_what[f"MRC, {LEAST}"], by_what[f"drop of robust accuracy, {LEAST}"]
    assert [mrc[head] for head in heads] == ["off", "0.20 0.25 0.16", "", "0.09", ""]
    assert [drop[head] for head in heads[2:]] == ["[1.52, 6.48]", "2.86", "+1.14"]
    lines = {line["id"]: line for line in csv.DictReader(io.StringIO(shown["csv"]))}
    mrc, drop, name = (
        lines[f"figure3/{LEAST}/{what}@rift"] for what in ("mrc", "drop", "least-critical")
    )
    assert (mrc["values"], mrc["published"], mrc["low"]) == ("0.2 0.25 0.16", "0.09", "")
    assert (drop["values"], drop["published"], drop["over"]) == ("0.04 0.05 0.03", "0.0286", "seeds")
    assert name["values"] == ""


def test_the_tolerances_are_told(store):
    """A compared scale tells by what rule MRC and names are compared, and how C9 is decided."""
    notes = " ".join(CHECK_FORMATS["text"](examine(store, "paper")).split())
    assert f"factor of {FACTOR:g}" in notes
    assert f"among the {NEAR} least" in notes
    assert "a claim fails if one of its cases does, C9 only if those of most models do;" in notes
    assert "MRC" not in " ".join(examine(store, "quick").notes)
