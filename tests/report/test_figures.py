"""Figures from makings and records written by hand: numbers, captions, and what is drawn of them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import handmade
from benchmark.errors import UserError
from benchmark.plans.named import SCALES
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.start import starting_from
from benchmark.records.cells import Cell
from benchmark.records.records import Count, CurvePoint, EpochLog, ModuleCriticality
from benchmark.records.store import Store
from benchmark.report.estimates import Estimate
from benchmark.report.figures import FIGURES
from benchmark.report.figures.bars import CriticalityBars, ModuleOverSeeds, axis_of_mrc, ranked
from benchmark.report.figures.curves import TuningCurve
from benchmark.report.figures.damage import Damage, DamagedModule, spearman
from benchmark.report.figures.draw import LEAST, MOST, draw, laid_out
from benchmark.report.figures.figure import Picture
from benchmark.report.intervals import Interval, wilson
from benchmark.report.tables.audit import AUDITED, audit
from benchmark.report.view import View
from handmade import AUDIT_BY_HAND, BY_HAND, cell_at, write_audit, write_records

TWO = replace(BY_HAND, archs=("resnet18-w8",), seeds=(0, 1), criticality={"images": 64})
TUNINGS = ("rift", "robust-critical", "last-layer", "random-layer", "all-layers")
MODULES = ("conv1", "layer1.0.conv1", "layer4.1.conv2", "linear")
MRC = ((0.5, 0.02, 2.0, 0.3), (0.7, 0.04, 1.0, 0.5))
BOUND = ((True,) * 4,) * 2


write_making = partial(handmade.write_making, modules=["linear"], scale=TWO)
"""Puts a fresh fine-tuning, or a training, into a store."""


def curve(clean: Sequence[int], robust: Sequence[int | None]) -> list[CurvePoint]:
    """Points of a grid of three, from counts of 500."""
    counts = [[None if k is None else Count(k=k, n=500) for k in ks] for ks in (clean, robust)]
    return [
        CurvePoint(alpha=alpha, clean=std, robust=adv)
        for alpha, std, adv in zip((0.0, 0.5, 1.0), *counts, strict=True)
    ]


def measured_entry(module: str, mrc: float | None, constrained: bool = True) -> ModuleCriticality:
    """The drop of accuracy is a tenth of MRC."""
    return handmade.measured(module, mrc, mrc and mrc / 10, constrained)


def write_curves(store: Store, tunings: Sequence[str] = TUNINGS) -> None:
    """Both seeds start at (400, 250) and (420, 240); each tuning gains and loses more than the last."""
    for step, tuning in enumerate(tunings, start=1):
        for seed, (clean, robust) in enumerate(((400, 250), (420, 240))):
            points = curve(
                (clean, clean + step, clean + 2 * step), (robust, robust + 1, robust - 4 * step)
            )
            cell = cell_at(f"{tuning}-curve", seed)
            write_making(store, cell, curve=points, alpha=0.5, modules=[MODULES[seed]])


def write_criticality(
    store: Store,
    name: str = "rift",
    mrc: Sequence[Sequence[float | None]] = MRC,
    bound: Sequence[Sequence[bool]] = BOUND,
) -> None:
    """The criticality of `MODULES` for each seed; `bound` is whether the constraint was active."""
    for seed, values in enumerate(mrc):
        entries = [measured_entry(*each) for each in zip(MODULES, values, bound[seed], strict=True)]
        write_making(store, cell_at(name, seed), criticality=entries)


def write_damage(
    store: Store, modules: Sequence[str] = MODULES, mrc: Sequence[Sequence[float | None]] = MRC
) -> None:
    """Module i of `MODULES` loses i (seed 0) or 3i (seed 1) and gains 10 images of 1000."""
    write_criticality(store, mrc=mrc)
    for seed in TWO.seeds:
        write_records(store, cell_at("none", seed), {"clean": 900, "pgd10x3": 500}, TWO)
        for module in modules:
            after = {"clean": 910, "pgd10x3": 500 - MODULES.index(module) * (1 + 2 * seed)}
            write_records(store, cell_at(f"module-{module}-alpha-1", seed), after, TWO)


def picture_of(name: str, store: Store, scale: Scale = TWO) -> Picture:
    """The figure called `name`."""
    return FIGURES[name].build(View(store, scale))


def rows_of(name: str, store: Store, scale: Scale = TWO) -> list[dict[str, str]]:
    """The CSV of a figure, read back."""
    return list(csv.DictReader(io.StringIO(picture_of(name, store, scale).csv())))


def only(rows: list[dict[str, str]], **wanted: str) -> list[dict[str, str]]:
    """The rows that hold `wanted`."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


# --- curves -----------------------------------------------------------------------------------------


def test_curves_by_hand(store):
    """The CSV holds each seed's accuracies along alpha, their mean, and which alpha was chosen."""
    write_curves(store)
    rows = rows_of("figure1", store)
    assert len(rows) == 5 * 3 * 3
    first = only(rows, tuning="robust-critical", seed="1")
    assert [(row["alpha"], row["clean"], row["robust"], row["alpha_star"]) for row in first] == [
        ("0.0", "0.84", "0.48", "False"),
        ("0.5", "0.844", "0.482", "True"),
        ("1.0", "0.848", "0.464", "False"),
    ]
    mean = only(rows, tuning="rift", seed="mean")
    assert [(row["clean"], row["robust"], row["alpha_star"]) for row in mean] == [
        ("0.82", "0.49", ""),
        ("0.822", "0.492", ""),
        ("0.824", "0.482", ""),
    ]


def test_rings_are_at_the_alpha_of_each_seed():
    """On the curves as they are moved to the mean start, of RiFT alone."""
    clean, robust = ((0.8, 0.82, 0.84), (0.9, 0.93, 0.94)), ((0.5, 0.51, 0.48), (0.4, 0.42, 0.41))
    accuracies = np.stack([clean, robust], axis=1)
    found = TuningCurve("rift", "RiFT", (0.0, 0.5, 1.0), accuracies, (1.0, 0.5), False)
    np.testing.assert_allclose(found.rings, [(0.89, 0.43), (0.88, 0.47)])
    assert not len(replace(found, tuning="all-layers").rings)


def test_a_figure_is_of_the_seeds_of_its_network(store):
    """Seeds that a scale names for a network are those of the picture; one seed has no mean."""
    write_curves(store)
    one = replace(TWO, seeds=(1,))
    assert {row["seed"] for row in rows_of("figure1", store, one)} == {"1"}
    assert "seed 1: one seed, no spread" in picture_of("figure1", store, one).caption
    own = replace(TWO, seeds=(7,), networks={"resnet18-w8": {"seeds": (1, 0)}})
    picture = picture_of("figure1", store, own)
    assert picture.seeds == (1, 0)
    assert "seeds 1, 0: curves are their mean" in picture.caption


def test_seeds_are_moved_as_a_whole(store):
    """Every moved line starts at the mean AT point and keeps its shape, and their mean is the mean."""
    write_curves(store)
    picture = picture_of("figure1", store)
    assert picture.floor == pytest.approx(picture.base[1] - 0.001)
    for tuning in picture.tunings:
        moved = tuning.aligned
        assert moved[:, :, 0] == pytest.approx(np.array([picture.base] * 2))
        assert np.diff(moved) == pytest.approx(np.diff(tuning.accuracies))
        assert moved.mean(axis=0) == pytest.approx(tuning.mean)


def test_a_tuning_of_some_seeds_is_left_out_by_name(store):
    """A missing seed or a curve with a gap leaves a tuning out; the caption names the cells."""
    write_curves(store, ("rift", "last-layer"))
    write_making(store, cell_at("all-layers-curve", 0), curve=curve((1, 2, 3), (1, 2, 3)))
    for seed, gap in enumerate((None, 200)):
        write_making(store, cell_at("robust-critical-curve", seed), curve=curve((1, 2, 3), (1, gap, 3)))
    assert {row["tuning"] for row in rows_of("figure1", store)} == {"rift", "last-layer"}
    *_, note = picture_of("figure1", store).notes
    place = "by-hand/digits/resnet18-w8/pgd-at"
    assert note == (
        f"left out, because cells are missing or stale: {place}/robust-critical-curve/seed0, "
        f"{place}/random-layer-curve/seed0, {place}/random-layer-curve/seed1 and 1 more"
    )


def test_the_caption_of_curves(store):
    """It says which scale, seeds and images, what the marks are, and which modules were fine-tuned."""
    write_curves(store)
    lines = picture_of("figure1", store).caption.splitlines()
    assert lines[0].startswith("Figure 1: ")
    assert lines[0].endswith("ResNet18 (width 8) on Digits")
    assert "  scale by-hand: numbers written by hand" in lines
    assert any(line.startswith("  seeds 0, 1: ") for line in lines)
    assert any(line.startswith("  accuracies of all 500 test images") for line in lines)
    assert "  ring: alpha* of non-robust-critical (RiFT), by seed 0.50, 0.50" in lines
    assert "  robust-critical: conv1 (1 of 2 seeds); layer1.0.conv1 (1 of 2 seeds)" in lines
    assert not [line for line in lines if line.startswith("  all layers:") or "left out" in line]
    with pytest.raises(UserError, match="missing or stale"):  # curves of other settings
        picture_of("figure1", store, replace(TWO, finetuning={"lr": 0.5}))


def test_the_caption_names_a_part_of_the_test_images(store):
    """Where alpha is chosen on a part of the test images, the curves are of that part."""
    scale = replace(TWO, seeds=(0,), finetuning={"select_images": 500})
    cell = cell_at("rift-curve", scale=scale)
    write_making(store, cell, scale=scale, curve=curve((1, 2, 3), (1, 2, 3)))
    assert "accuracies of the first 500 test images" in picture_of("figure1", store, scale).caption


# --- criticality ------------------------------------------------------------------------------------


def test_criticality_by_hand(store):
    """The CSV holds MRC and drop of every module by seed, input first, and their means."""
    write_criticality(store)
    rows = rows_of("figure3", store)
    assert [row["module"] for row in only(rows, seed="0")] == list(MODULES)
    assert [float(row["mrc"]) for row in only(rows, seed="1")] == list(MRC[1])
    assert [float(row["mrc"]) for row in only(rows, seed="mean")] == [0.6, 0.03, 1.5, 0.4]
    assert [float(row["accuracy_drop"]) for row in only(rows, seed="mean")] == [0.06, 0.003, 0.15, 0.04]
    caption = picture_of("figure3", store).caption
    assert "least critical: layer1.0.conv1; most critical: layer4.1.conv2" in caption
    assert "fine-tuned by rift: linear (2 of 2 seeds)" in caption
    assert "on the first 64 training images" in caption
    assert "the axis of MRC is logarithmic" in caption


def test_criticality_needs_every_seed(store):
    """Bars are of all seeds; of the seeds that are there if these alone are asked for."""
    write_criticality(store, mrc=MRC[:1])
    with pytest.raises(UserError, match="rift/seed1; the same command without --collect"):
        picture_of("figure3", store)
    assert len(rows_of("figure3", store, replace(TWO, seeds=(0,)))) == 4


def test_unconstrained_and_diverged_modules_are_named(store):
    """A module whose constraint was never active or whose ascent diverged is told in the caption."""
    bound = ((True, False, True, True), (True, True, True, False))
    write_criticality(store, mrc=((0.5, 0.02, None, 0.3), MRC[1]), bound=bound)
    caption = picture_of("figure3", store).caption
    assert "most critical: conv1" in caption
    assert "the ascent diverged in some seed, not ranked: layer4.1.conv2\n" in caption
    assert "under-estimated (hatched): layer1.0.conv1, linear\n" in caption
    (mean,) = only(rows_of("figure3", store), module="layer4.1.conv2", seed="mean")
    assert (mean["mrc"], mean["accuracy_drop"]) == ("", "")


@pytest.mark.parametrize(
    ("figure", "tuning", "least", "how"),
    [
        ("figure3", "rift", "linear", "not ranked"),
        ("figure3-official", "rift-official-code", "conv1", "ranked as the released code does"),
    ],
)
def test_a_failed_ascent_is_ranked_by_the_released_code_only(store, figure, tuning, least, how):
    """A negative MRC in one seed takes the module out of the ranking, and the caption names it."""
    write_criticality(store, tuning, ((-0.5, 0.5, 1.0, 0.3), (0.1, 0.5, 1.0, 0.3)))
    caption = picture_of(figure, store).caption
    assert f"least critical: {least}; most critical: layer4.1.conv2" in caption
    assert f"the ascent ended lower than it began in some seed, {how}: conv1\n" in caption


def test_official_criticality_is_a_figure_of_its_own(store):
    """The released code's measure comes from its own cell and is called by its name."""
    write_criticality(store, "rift-official-code")
    with pytest.raises(UserError):
        picture_of("figure3", store)
    caption = picture_of("figure3-official", store).caption
    assert caption.startswith("Figure 3: module robust criticality as the released code measures it, ")
    assert "projected epochs" in caption
    assert "on the first 64 test images" in caption


def measured(*mrc: float | None, module: str = "linear", constrained: bool = True) -> ModuleOverSeeds:
    """A module of these MRC by seed."""
    return ModuleOverSeeds(tuple(measured_entry(module, value, constrained) for value in mrc))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((0.2, 1.9), "linear"),
        ((0.2, 2.0), "log"),
        ((0.01, -0.2), "symlog"),
        ((0.0, 0.2, 3.0), "symlog"),
        ((-0.1, 0.2), "linear"),
        ((None, 0.2, 3.0), "log"),
        ((0.0, 0.0), "linear"),
        ((None,), "linear"),
    ],
)
def test_the_axis_shows_all_orders_of_magnitude(values, kind):
    """Logarithmic from a factor of ten on, with room for zero and below where there is such an MRC."""
    assert axis_of_mrc([measured(value) for value in values]) == kind


def test_rank_is_by_mean_and_of_valid_values():
    """Ties keep the order; a negative or a diverged seed has no rank but in the released order."""
    high, tie, low, diverged = (measured(*mrc) for mrc in ((3, 1), (2, 2), (-1, 0), (None, 0)))
    zero = measured(0, 0)
    assert ranked([diverged, high, tie, low, zero]) == [zero, high, tie]
    every = [high, tie, low, zero, diverged]
    assert ranked(every, released_order=True) == [diverged, low, zero, high, tie]


# --- criticality against damage ---------------------------------------------------------------------


def test_damage_by_hand(store):
    """Losses and gains are against the base model of the seed, modules from least to most critical."""
    write_damage(store)
    rows = rows_of("figure-damage", store)
    means = only(rows, seed="mean")
    order = ["layer1.0.conv1", "linear", "conv1", "layer4.1.conv2"]
    assert [row["module"] for row in means] == order
    assert [row["rank"] for row in means] == ["1", "2", "3", "4"]
    assert [float(row["adv_loss"]) for row in means] == [0.002, 0.006, 0.0, 0.004]
    assert {row["std_gain"] for row in rows} == {"0.01"}
    assert [float(row["adv_loss"]) for row in only(rows, seed="1")] == [0.003, 0.009, 0.0, 0.006]
    caption = picture_of("figure-damage", store).caption
    assert (
        "over 4 modules (95 % intervals over them): Adv lost rho = 0.00 [-0.96, 0.96] (p = 1.000); "
        "Std gained not defined. Of Adv lost with Std gained: not defined" in caption
    )
    assert "within each seed: rho = " in caption
    least = "layer1.0.conv1, the least critical of them, has rank 1 by Std gained (1 is the most) and 2"
    assert f"{least} by Adv lost" in caption
    assert "left out" not in caption


def test_modules_without_records_keep_their_rank_free(store):
    """A module that is missing is named and leaves the rank of the others as it is."""
    write_damage(store, ("conv1", "layer4.1.conv2"))
    picture = picture_of("figure-damage", store)
    assert [(module.rank, module.measured.module) for module in picture.modules] == [
        (3, "conv1"),
        (4, "layer4.1.conv2"),
    ]
    assert picture.count == 4
    assert "module-layer1.0.conv1-alpha-1/seed0" in picture.caption


def test_damage_is_of_modules_that_are_ranked(store):
    """A module with a failed or diverged ascent is named and left out of ranks and correlations."""
    write_damage(store, mrc=((0.5, None, 1.0, -0.1), (0.5, 0.1, 1.0, 0.1)))
    picture = picture_of("figure-damage", store)
    ranks = [(module.rank, module.measured.module) for module in picture.modules]
    assert (ranks, picture.count) == ([(1, "conv1"), (2, "layer4.1.conv2")], 2)
    assert "diverged in some seed, left out: layer1.0.conv1\n" in picture.caption
    assert "lower than it began in some seed, left out: linear\n" in picture.caption


def test_damage_of_nothing_that_is_ranked_is_refused(store):
    """Without a valid MRC in every seed there is no order to show modules in."""
    write_damage(store, (), mrc=[(-0.1,) * len(MODULES)] * 2)
    with pytest.raises(UserError, match="no module has a valid MRC in every seed"):
        picture_of("figure-damage", store)
    assert "no module is ranked" in picture_of("figure3", store).caption


@pytest.mark.parametrize("missing", ["none", "rift", "modules"])
def test_damage_needs_base_criticality_and_a_module(store, missing):
    """Without the base model, the criticality or any module there is nothing to compare."""
    write_damage(store, MODULES if missing != "modules" else ())
    if missing != "modules":
        path = store.record_path(cell_at(missing, 1), "clean")
        (path.with_stem("making") if missing == "rift" else path).unlink()
    with pytest.raises(UserError, match="figure-damage has nothing complete to show"):
        picture_of("figure-damage", store)


def test_equal_means_over_seeds_are_ties():
    """What two modules lose may add up to the same over seeds: rounding puts neither first."""
    lost = (2, 27), (11, 18), (30, 30)
    modules = [
        DamagedModule(rank, measured(rank, rank), [0.3 - (150 - k) / 500 for k in each], (0.1, 0.1))
        for rank, each in enumerate(lost, start=1)
    ]
    picture = Damage("figure-damage", "title", "model", (0, 1), (), tuple(modules), 3)
    assert "has rank 1 by Std gained (1 is the most) and 1 by Adv lost" in picture.least
    of_loss, _ = picture.with_mrc
    assert of_loss.rho == pytest.approx(0.75**0.5)  # ranks 1, 2, 3 and 1.5, 1.5, 3


def test_spearman_agrees_with_its_closed_form():
    """Without ties rho is 1 - 6 sum(d^2) / (n (n^2 - 1)), with p from Student's t."""
    from scipy.stats import t

    x, y = (0.1, 0.5, 3.0, 0.7, 9.0), (2.0, 1.0, 5.0, 4.0, 3.0)
    squares = sum((a - b) ** 2 for a, b in zip((1, 2, 4, 3, 5), (2, 1, 5, 4, 3), strict=True))
    rho = 1 - 6 * squares / (5 * 24)
    p = 2 * t.sf(rho * (3 / (1 - rho**2)) ** 0.5, 3)
    found = spearman(x, y)
    assert (found.rho, found.p) == pytest.approx((rho, p))
    assert str(found) == "rho = 0.60 [-0.67, 0.98] (p = 0.285)"


def test_spearmans_interval_covers_the_population():
    """Of 1,000 samples of 21 pairs from a normal with correlation r, whose population's rho is
    6 / pi asin(r / 2), 95 % have it in their interval."""
    rng, r = np.random.default_rng(0), 0.6
    x, noise = rng.standard_normal((2, 1_000, 21))
    y = r * x + (1 - r**2) ** 0.5 * noise
    intervals = [spearman(*pair).interval for pair in zip(x, y, strict=True)]
    covered = np.mean([each.low <= 6 / np.pi * np.arcsin(r / 2) <= each.high for each in intervals])
    assert 0.93 < covered < 0.97
    assert spearman((1, 2, 3), (2, 3, 1)).interval is None
    for n, p in ((3, "= 0.333"), (4, "= 0.083"), (5, "= 0.017"), (10, "< 0.001"), (24, "< 0.001")):
        assert str(spearman(range(n), range(n))) == f"rho = 1.00 (p {p})"


def test_spearman_of_nothing_to_rank_is_undefined():
    """Two pairs, or one side all equal, have no rank correlation."""
    assert spearman((1, 2), (1, 2)) is None
    assert spearman((1, 2, 3), (1, 1, 1)) is None
    assert spearman((2, 2, 2), (1, 2, 3)) is None


# --- all figures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_to_show_says_how_to_make_it(store, name):
    """An empty store is refused with a cell that it lacks, and nothing is written."""
    with pytest.raises(UserError, match=f"^{name} .* stale quick/.*/seed0.*; the same command without"):
        picture_of(name, store, SCALES["quick"])
    assert not store.results.exists()


def test_figures_are_of_the_papers_datasets_and_networks():
    """Each figure is of the dataset and network that its caption in the paper names."""
    places = {
        "figure1": ("cifar10", "resnet18"),
        "figure3": ("cifar10", "resnet18"),
        "figure3-official": ("cifar10", "resnet18"),
        "figure-c1": ("cifar100", "resnet34"),
        "figure-c2": ("tiny-imagenet", "wrn-34-10"),
        "figure-c3": ("cifar100", "resnet18"),
        "figure-c4": ("tiny-imagenet", "resnet18"),
        "figure-c5": ("cifar100", "resnet18"),
        "figure-damage": ("cifar10", "resnet18"),
        "figure-posthoc": ("cifar10", "resnet18"),
        "figure-training": ("cifar10", "resnet18"),
        "figure-audit": ("cifar10", "resnet18"),
    }
    paper = SCALES["paper"]
    for name, spec in FIGURES.items():
        cells = spec.cells(paper)
        assert {(cell.dataset, cell.arch) for cell in cells} == {places[name]}
        assert {cell.seed for cell in cells} == {0, 1, 2}
        assert all(Plan.of(cell, paper).cell == cell for cell in cells)
    assert len(FIGURES["figure1"].cells(paper)) == 5 * 3
    assert len(FIGURES["figure-damage"].cells(paper)) == (2 + 21) * 3


def test_a_smaller_scale_lends_its_last(store):
    """Where a scale has no second dataset or third network the last stands in, and it says so."""
    write_criticality(store)
    caption = picture_of("figure-c2", store).caption
    assert caption.startswith("Figure C.2: ")
    assert "the scale has no third dataset: Digits, its last, stands in" in caption
    assert "the scale has no third network: ResNet18 (width 8), its last, stands in" in caption
    assert "stands in" not in picture_of("figure3", store).caption


# --- what is drawn ----------------------------------------------------------------------------------

SHOWN = (
    measured(-0.1, 0.3, module="conv1"),
    measured(2, 4, module="layer1.0.conv1", constrained=False),
    measured(None, 1, module="layer4.1.conv2"),
    measured(0.5, 0.7, module="linear"),
)
BARS = CriticalityBars("figure3", "title", "model", (0, 1), (), SHOWN)


def test_equal_numbers_give_equal_bytes_whatever_the_settings(store):
    """PNG and SVG hold neither a date nor a random name, and obey no matplotlibrc."""
    import matplotlib

    write_curves(store)
    picture = picture_of("figure1", store)
    once = picture.files()
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None, "axes.grid": True}):
        assert picture.files() == once
        assert matplotlib.rcParams["font.size"] == 20
    assert set(once) == {"png", "svg", "csv"}
    assert once["png"].startswith(b"\x89PNG")
    assert b"<dc:date>" not in once["svg"]
    assert once["csv"] == picture.csv().encode()


@pytest.mark.parametrize("kind", ["bars", "damage"])
def test_every_kind_of_picture_can_be_drawn_twice_alike(kind):
    """Bars and dots with negative, diverged and unconstrained modules come out, and alike."""
    ordered = ranked(BARS.modules)
    modules = [DamagedModule(i, m, (0.01, -0.02), (0.0, 0.1)) for i, m in enumerate(ordered, 1)]
    damage = Damage("figure-damage", "title", "model", (0, 1), (), tuple(modules), 5)
    picture = BARS if kind == "bars" else damage
    assert draw(picture) == draw(picture)


@pytest.mark.parametrize("count", [21, 34])
def test_no_name_is_cut_off(count):
    """Names of modules, the highlighted one in bold among them, lie inside the picture as saved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = [f"layer{place}.0.shortcut.0" for place in range(10, 10 + count)]
    modules = [measured(1.0 + place, 2.0, module=name) for place, name in enumerate(names)]
    figure = laid_out(replace(BARS, modules=tuple(modules)))
    renderer = FigureCanvasAgg(figure).get_renderer()
    labels = figure.axes[1].get_xticklabels()
    assert [label.get_text() for label in labels] == names
    assert {label.get_weight() for label in labels} == {"bold", "normal"}
    assert all(label.get_window_extent(renderer).y0 >= 0 for label in labels)


def test_no_mark_stands_in_the_title():
    """The mark of an ascent that failed in the first module stands below the name of the model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = laid_out(BARS)
    renderer, upper = FigureCanvasAgg(figure).get_renderer(), figure.axes[0]
    (title,) = upper.findobj(lambda each: getattr(each, "get_text", str)() == BARS.model)
    marks = [line for line in upper.get_lines() if line.get_marker() in ("x", "v")]
    assert len(marks) == 2
    end = title.get_window_extent(renderer).y0
    assert all(mark.get_window_extent(renderer).y1 < end for mark in marks)


def test_bars_are_the_means_and_flags_are_seen():
    """A bar is as high as its mean; hatched if unconstrained, a cross instead of it if diverged, a
    triangle above it if failed."""
    upper, lower = BARS.figure().axes
    assert [bar.get_height() for bar in upper.patches] == pytest.approx([0.1, 3, 0.6])
    assert [bar.get_height() for bar in lower.patches] == pytest.approx([1, 30, 6])
    assert [bool(bar.get_hatch()) for bar in upper.patches] == [False, True, False]
    assert [bar.get_x() + bar.get_width() / 2 for bar in upper.patches] == pytest.approx([0, 1, 3])
    assert upper.get_yscale() == "symlog"
    marks = [line for line in upper.get_lines() + upper.artists if line.get_marker() in ("x", "v")]
    assert [(mark.get_marker(), *mark.get_xdata()) for mark in marks] == [("v", 0), ("x", 2)]
    labels = lower.get_xticklabels()
    assert [label.get_text() for label in labels] == list(MODULES)
    assert [label.get_color() for label in labels] == ["black", MOST, "black", LEAST]


def test_curves_are_drawn_where_they_are(store):
    """In one panel, in percent, the mean of each tuning as a line; the constraint is dashed, and what
    leaves the panel says in the legend where it ends."""
    write_curves(store)
    figure = picture_of("figure1", store).figure()
    (axes,) = figure.axes
    assert axes.get_lines()[0].get_ydata() == pytest.approx([48.9, 48.9])
    drawn = [line for line in axes.get_lines() if len(line.get_xdata()) == 3]
    assert len(drawn) == len(TUNINGS)
    assert drawn[0].get_xdata() == pytest.approx([82, 82.2, 82.4])
    assert drawn[0].get_ydata() == pytest.approx([49, 49.2, 48.2])
    rings = [line for line in axes.get_lines() if line.get_markerfacecolor() == "none"]
    assert [(*ring.get_xdata(), *ring.get_ydata()) for ring in rings] == [
        pytest.approx((82.2, 49.2)),
        pytest.approx((82.2, 49.2)),
    ]
    assert {text.get_text() for text in axes.texts} <= {"0.25", "0.5", "0.75", "1"}
    assert axes.texts
    (legend,) = figure.legends
    assert "all layers, to (84.0, 45.0)" in [text.get_text() for text in legend.get_texts()]


def test_all_layers_do_not_widen_the_panel(store):
    """Nor does their interval over seeds: single modules say how far it reaches."""
    write_curves(store, TUNINGS[:-1])
    for seed, lost in enumerate((150, 200)):
        points = curve((400, 420, 440), (250, 200, 250 - lost))
        write_making(store, cell_at("all-layers-curve", seed), curve=points)
    picture = picture_of("figure1", store)
    assert picture.tunings[-1].whole_network
    (axes,) = picture.figure().axes
    assert axes.get_ylim()[0] > 40


def test_one_seed_has_the_interval_of_at_over_images(store):
    """A cross of Wilson's intervals for 400 and 250 of 500, all of it inside the panel; in the CSV they
    stand beside every point."""
    write_curves(store)
    one = replace(TWO, seeds=(0,))
    (axes,) = picture_of("figure1", store, one).figure().axes
    std, adv = wilson(400, 500), wilson(250, 500)
    across, up = (line for line in axes.get_lines() if len(line.get_xdata()) == 2 and line.get_alpha())
    assert across.get_xdata() == pytest.approx((100 * std.low, 100 * std.high))
    assert up.get_ydata() == pytest.approx((100 * adv.low, 100 * adv.high))
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert left < 100 * std.low < 100 * std.high < right
    assert low < 100 * adv.low < 100 * adv.high < high
    row = rows_of("figure1", store, one)[0]
    assert float(row["robust_low"]) == pytest.approx(adv.low)


def test_intervals_over_seeds_are_of_the_change(store):
    """At alpha 1 the seeds gain 1 and 3 points; where they agree exactly there is no interval."""
    for seed, change in enumerate((5, 15)):
        points = curve((400, 400, 400 + change), (250, 250, 250))
        write_making(store, cell_at("rift-curve", seed), curve=points)
    last = only(rows_of("figure1", store), tuning="rift", seed="mean", alpha="1.0")[0]
    half = 12.7062047 * 0.01  # the t quantile of one degree of freedom, and the standard error
    ends = float(last["clean_low"]), float(last["clean_high"])
    assert ends == pytest.approx((0.82 - half, 0.82 + half))
    assert last["robust_low"] == ""


# --- training and audit -----------------------------------------------------------------------------


def test_epochs_of_training_and_fine_tuning(store):
    """The CSV has every epoch of both; what was not judged is blank, and has no dot."""
    base, judged = cell_at(), Count(k=40, n=50)
    for seed in TWO.seeds:
        log = [
            EpochLog(epoch=e, loss=3.0 - e, lr=0.1 * e, selection=judged if e == 2 else None)
            for e in (1, 2)
        ]
        write_making(store, replace(base, seed=seed), log=log)
    picture = picture_of("figure-training", store)
    assert [(row["stage"], row["epoch"], row["loss"], row["value"]) for row in picture.rows()] == [
        ("AT", 1, 2.0, None),
        ("AT", 2, 1.0, 0.8),
    ] * 2
    assert picture.notes[-1].startswith("left out, because cells are missing or stale: by-hand/")
    one = picture_of("figure-training", store, replace(TWO, seeds=TWO.seeds[:1]))
    for shown, bars in ((picture, 0), (one, 1)):
        assert sum(note.startswith("bars: 95 %") for note in shown.notes) == bars
    for seed in TWO.seeds:
        write_making(store, cell_at("rift", seed))
    picture = picture_of("figure-training", store)
    panels = picture.figure().axes
    assert [axes.get_ylabel() for axes in panels] == [
        *("loss", "loss", "robust accuracy (%)", "clean accuracy (%)"),
        *("learning rate", "learning rate"),
    ]
    assert panels[2].get_lines()[-1].get_xydata().tolist() == [[2, 80]]
    assert draw(picture) == draw(picture)


def test_weights_of_a_checkpoint_have_no_epochs(store):
    """Their training is not shown, and is not called missing."""
    scale = starting_from(SCALES["narrow"], ["narrow-cifar10-resnet18-w16-pgd-at-seed0"])
    (name,) = scale.key_names
    write_making(store, Cell(name, "cifar10", "resnet18-w16", "pgd-at", "rift", 0), scale=scale)
    notes = picture_of("figure-training", store, scale).notes
    assert any(
        each.endswith("weights of a checkpoint, whose epochs are not on record") for each in notes
    )
    assert not any("missing or stale" in each for each in notes)


def test_gains_are_those_of_the_audit(store):
    """A dot for each fine-tuning and evaluation at the audit's difference, filled where no interval
    contains zero; what has no record is left out by name."""
    write_audit(store)
    picture = picture_of("figure-audit", store, AUDIT_BY_HAND)
    table = audit(View(store, AUDIT_BY_HAND))
    rows = {(row["fine-tuning"], row["column"]): row for row in picture.rows()}
    for row in table.rows:
        for column, number in zip(table.columns, row.numbers, strict=True):
            found = rows.get((row.labels[0], column))
            if found and row.labels[-1] == "difference":
                assert isinstance(number, Estimate)
                assert found["difference"] == number.mean
            if found and row.labels[-1] in ("95 % images", "95 % seeds"):
                over = row.labels[-1].removeprefix("95 % ")
                ends = found[f"{over}_low"], found[f"{over}_high"]
                assert ends == (
                    (number.low, number.high) if isinstance(number, Interval) else (None,) * 2
                )
    assert len(rows) == len(AUDITED) * len(table.columns)
    panel = picture.figure().axes[0]
    dots = {line.get_ydata()[0]: line for line in panel.get_lines() if line.get_marker() in ("o", "s")}
    filled = [AUDITED[place] for place, dot in dots.items() if dot.get_markerfacecolor() != "white"]
    assert filled == ["rift", "bn-only", "random-layer", "all-layers"]
    for seed in AUDIT_BY_HAND.seeds:
        for name in AUDIT_BY_HAND.evaluations:
            store.record_path(cell_at("bn-only", seed, scale=AUDIT_BY_HAND), name).unlink()
    fewer = picture_of("figure-audit", store, AUDIT_BY_HAND)
    assert "bn-only" not in {row["fine-tuning"] for row in fewer.rows()}
    assert "bn-only/seed0" in fewer.notes[-1]
    assert draw(fewer) == draw(fewer)
