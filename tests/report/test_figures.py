"""Figures from makings and records written by hand: numbers, captions, and what is drawn of them."""

import csv
import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.plans.named import SCALES
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell
from benchmark.records.records import (
    CellName,
    Count,
    CurvePoint,
    EpochLog,
    Finetuning,
    Making,
    ModuleCriticality,
    hashed,
)
from benchmark.records.store import Store
from benchmark.report.figures.figures import FIGURES, FigureSpec, figure_spec
from benchmark.report.figures.pictures import (
    Bars,
    Curves,
    Damage,
    DamagedModule,
    MeasuredModule,
    axis_of_mrc,
    ranked,
    spearman,
)
from benchmark.report.view import View
from handmade import BY_HAND, PROVENANCE, cell_at, write_record

TWO = replace(BY_HAND, archs=("resnet18-w8",), seeds=(0, 1), criticality={"images": 64})
TUNINGS = ("rift", "robust-critical", "last-layer", "random-layer", "all-layers")
MODULES = ("conv1", "layer1.0.conv1", "layer4.1.conv2", "linear")
MRC = {0: (0.5, 0.02, 2.0, 0.3), 1: (0.7, 0.04, 1.0, 0.5)}


def write_making(store: Store, cell: Cell, scale: Scale = TWO, **details: object) -> None:
    """Put a fresh fine-tuning with chosen criticality, curve, alpha or modules into `store`."""
    best = Count(k=400, n=500)
    filled = {"criticality": None, "modules": ["linear"], "alpha": 0.5, "curve": [], **details}
    made = Finetuning.model_validate(
        {
            "epochs": [EpochLog(epoch=1, loss=0.5, lr=0.1, selection=best)],
            "best_epoch": 1,
            "best": best,
            "reference": best,
            **filled,
        }
    )
    spec = hashed(Plan.of(cell, scale).spec)
    store.write_making(Making(cell=CellName.of(cell), provenance=PROVENANCE, details=made, **spec))


def curve(clean: Sequence[int], robust: Sequence[int | None]) -> list[CurvePoint]:
    """Points of a grid of three, from counts of 500."""
    return [
        CurvePoint(
            alpha=alpha,
            clean=Count(k=right, n=500),
            robust=None if held is None else Count(k=held, n=500),
        )
        for alpha, right, held in zip((0.0, 0.5, 1.0), clean, robust, strict=True)
    ]


def criticality(
    mrc: Sequence[float | None], constrained: Sequence[bool] = (True,) * 4
) -> list[ModuleCriticality]:
    """Of `MODULES`; the drop of accuracy is a tenth of MRC."""
    return [
        ModuleCriticality(
            module=module,
            mrc=value,
            accuracy_drop=None if value is None else value / 10,
            norm_ratio=None if value is None else 0.1,
            epochs=2,
            constrained=active,
        )
        for module, value, active in zip(MODULES, mrc, constrained, strict=True)
    ]


def write_curves(store: Store, tunings: Sequence[str] = TUNINGS) -> None:
    """Both seeds start at (400, 250) and (420, 240); each tuning gains and loses more than the last."""
    for step, tuning in enumerate(tunings, start=1):
        for seed, (clean, robust) in enumerate(((400, 250), (420, 240))):
            points = curve(
                (clean, clean + step, clean + 2 * step), (robust, robust + 1, robust - 4 * step)
            )
            cell = cell_at(f"{tuning}-curve", seed, scale=TWO)
            write_making(store, cell, curve=points, alpha=0.5, modules=[MODULES[seed]])


def write_criticality(store: Store, name: str = "rift") -> None:
    """Criticality of both seeds as in `MRC`."""
    for seed, mrc in MRC.items():
        write_making(store, cell_at(name, seed, scale=TWO), criticality=criticality(mrc))


def write_damage(store: Store, modules: Sequence[str] = MODULES) -> None:
    """Module i of `MODULES` loses i (seed 0) or 3i (seed 1) and gains 10 images of 1000."""
    write_criticality(store)
    for seed in TWO.seeds:
        cell = cell_at("none", seed, scale=TWO)
        write_record(store, cell, "clean", 900, scale=TWO)
        write_record(store, cell, "pgd10x3", 500, scale=TWO)
        for module in modules:
            cell = cell_at(f"module-{module}-alpha-1", seed, scale=TWO)
            lost = MODULES.index(module) * (1 + 2 * seed)
            write_record(store, cell, "clean", 910, scale=TWO)
            write_record(store, cell, "pgd10x3", 500 - lost, scale=TWO)


def rows_of(spec: FigureSpec, store: Store, scale: Scale = TWO) -> list[dict[str, str]]:
    """The CSV of a figure, read back."""
    text = spec.build(View(store, scale)).csv()
    return list(csv.DictReader(io.StringIO(text)))


def only(rows: list[dict[str, str]], **wanted: str) -> list[dict[str, str]]:
    """The rows that hold `wanted`."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


# --- curves -----------------------------------------------------------------------------------------


def test_curves_by_hand(store: Store) -> None:
    """The CSV holds each seed's accuracies along alpha, their mean, and which alpha was chosen."""
    write_curves(store)
    rows = rows_of(FIGURES["figure1"], store)
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


def test_one_seed_has_no_mean(store: Store) -> None:
    """With one seed the picture and its CSV are that seed."""
    write_curves(store)
    one = replace(TWO, seeds=(1,))
    assert {row["seed"] for row in rows_of(FIGURES["figure1"], store, one)} == {"1"}
    assert "seed 1: one seed, no spread" in FIGURES["figure1"].build(View(store, one)).caption


def test_a_figure_is_of_the_seeds_of_its_network(store: Store) -> None:
    """Seeds that a scale names for a network are those of the picture and its note."""
    write_curves(store)
    own = replace(TWO, seeds=(7,), networks={"resnet18-w8": {"seeds": (1, 0)}})
    picture = FIGURES["figure1"].build(View(store, own))
    assert picture.seeds == (1, 0)
    assert "seeds 1, 0: dots their mean" in picture.caption


def test_seeds_are_moved_as_a_whole(store: Store) -> None:
    """Every moved line starts at the mean AT point and keeps its shape, and their mean is the mean."""
    write_curves(store)
    picture = FIGURES["figure1"].build(View(store, TWO))
    assert isinstance(picture, Curves)
    assert picture.floor == pytest.approx(picture.base[1] - 0.001)
    for tuning in picture.tunings:
        moved = tuning.aligned()
        for was, now in zip(tuning.seeds, moved, strict=True):
            assert (now.clean[0], now.robust[0]) == pytest.approx(picture.base)
            assert np.diff(now.clean) == pytest.approx(np.diff(was.clean))
            assert np.diff(now.robust) == pytest.approx(np.diff(was.robust))
        assert np.mean([line.clean for line in moved], 0) == pytest.approx(tuning.mean.clean)
        assert np.mean([line.robust for line in moved], 0) == pytest.approx(tuning.mean.robust)


def test_a_tuning_of_some_seeds_is_left_out_by_name(store: Store) -> None:
    """A missing seed or a curve with a gap leaves a tuning out; the caption names the cells."""
    write_curves(store, ("rift", "last-layer"))
    write_making(store, cell_at("all-layers-curve", 0, scale=TWO), curve=curve((1, 2, 3), (1, 2, 3)))
    for seed, gap in enumerate((None, 200)):
        cell = cell_at("robust-critical-curve", seed, scale=TWO)
        write_making(store, cell, curve=curve((1, 2, 3), (1, gap, 3)))
    spec = FIGURES["figure1"]
    assert {row["tuning"] for row in rows_of(spec, store)} == {"rift", "last-layer"}
    (note,) = [line for line in spec.build(View(store, TWO)).caption.splitlines() if "left out" in line]
    place = "by-hand/digits/resnet18-w8/pgd-at"
    assert note == (
        f"  left out, because cells are missing or stale: {place}/robust-critical-curve/seed0, "
        f"{place}/random-layer-curve/seed0, {place}/random-layer-curve/seed1 and 1 more"
    )


def test_stale_makings_are_left_out(store: Store) -> None:
    """A curve of other settings is not drawn."""
    write_curves(store)
    changed = replace(TWO, finetuning={"lr": 0.5})
    with pytest.raises(UserError, match="missing or stale"):
        FIGURES["figure1"].build(View(store, changed))


def test_the_caption_of_curves(store: Store) -> None:
    """It says which scale, seeds and images, what the marks are, and which modules were fine-tuned."""
    write_curves(store)
    lines = FIGURES["figure1"].build(View(store, TWO)).caption.splitlines()
    assert lines[0].startswith("Figure 1: ")
    assert lines[0].endswith("ResNet18 (width 8) on Digits")
    assert "  scale by-hand: numbers written by hand" in lines
    assert any(line.startswith("  seeds 0, 1: ") for line in lines)
    assert any(line.startswith("  accuracies of all 500 test images") for line in lines)
    assert "  ring: alpha* of non-robust-critical (RiFT), by seed 0.50, 0.50" in lines
    assert "  robust-critical: conv1 (1 of 2 seeds); layer1.0.conv1 (1 of 2 seeds)" in lines
    assert not [line for line in lines if line.startswith("  all layers:") or "left out" in line]


def test_the_caption_names_a_part_of_the_test_images(store: Store) -> None:
    """Where alpha is chosen on a part of the test images, the curves are of that part."""
    scale = replace(TWO, seeds=(0,), finetuning={"select_images": 500})
    cell = cell_at("rift-curve", scale=scale)
    write_making(store, cell, scale, curve=curve((1, 2, 3), (1, 2, 3)))
    assert (
        "accuracies of the first 500 test images"
        in FIGURES["figure1"].build(View(store, scale)).caption
    )


# --- criticality ------------------------------------------------------------------------------------


def test_criticality_by_hand(store: Store) -> None:
    """The CSV holds MRC and drop of every module by seed, input first, and their means."""
    write_criticality(store)
    rows = rows_of(FIGURES["figure3"], store)
    assert [row["module"] for row in only(rows, seed="0")] == list(MODULES)
    assert [float(row["mrc"]) for row in only(rows, seed="1")] == list(MRC[1])
    assert [float(row["mrc"]) for row in only(rows, seed="mean")] == [0.6, 0.03, 1.5, 0.4]
    assert [float(row["accuracy_drop"]) for row in only(rows, seed="mean")] == [0.06, 0.003, 0.15, 0.04]
    caption = FIGURES["figure3"].build(View(store, TWO)).caption
    assert "least critical: layer1.0.conv1; most critical: layer4.1.conv2" in caption
    assert "fine-tuned by rift: linear (2 of 2 seeds)" in caption
    assert "on the first 64 training images" in caption
    assert "the axis of MRC is logarithmic" in caption


def test_criticality_needs_every_seed(store: Store) -> None:
    """Bars are of all seeds; of the seeds that are there if these alone are asked for."""
    write_making(store, cell_at("rift", 0, scale=TWO), criticality=criticality(MRC[0]))
    with pytest.raises(UserError, match=r"rift/seed1; `.* figure3 --scale FILE\.toml` makes"):
        FIGURES["figure3"].build(View(store, TWO))
    assert len(rows_of(FIGURES["figure3"], store, replace(TWO, seeds=(0,)))) == 4


def test_unconstrained_and_diverged_modules_are_named(store: Store) -> None:
    """A module whose constraint was never active or whose ascent diverged is told in the caption."""
    active = ((True, False, True, True), (True, True, True, False))
    for seed, mrc in enumerate(((0.5, 0.02, None, 0.3), (0.7, 0.04, 1.0, 0.5))):
        entries = criticality(mrc, active[seed])
        write_making(store, cell_at("rift", seed, scale=TWO), criticality=entries)
    caption = FIGURES["figure3"].build(View(store, TWO)).caption
    assert "most critical: conv1" in caption
    assert "the ascent diverged in some seed, not ranked: layer4.1.conv2\n" in caption
    assert "under-estimated (hatched): layer1.0.conv1, linear\n" in caption
    (mean,) = only(rows_of(FIGURES["figure3"], store), module="layer4.1.conv2", seed="mean")
    assert (mean["mrc"], mean["accuracy_drop"]) == ("", "")


@pytest.mark.parametrize(
    ("figure", "tuning", "least", "how"),
    [
        ("figure3", "rift", "linear", "not ranked"),
        ("figure3-official", "rift-official-code", "conv1", "ranked as the released code does"),
    ],
)
def test_a_failed_ascent_is_ranked_by_the_released_code_only(
    store: Store, figure: str, tuning: str, least: str, how: str
) -> None:
    """A negative MRC in one seed takes the module out of the ranking, and the caption names it."""
    for seed, mrc in enumerate(((-0.5, 0.5, 1.0, 0.3), (0.1, 0.5, 1.0, 0.3))):
        write_making(store, cell_at(tuning, seed, scale=TWO), criticality=criticality(mrc))
    caption = FIGURES[figure].build(View(store, TWO)).caption
    assert f"least critical: {least}; most critical: layer4.1.conv2" in caption
    assert f"the ascent ended lower than it began in some seed, {how}: conv1\n" in caption


def test_official_criticality_is_a_figure_of_its_own(store: Store) -> None:
    """The released code's measure comes from its own cell and is called by its name."""
    write_criticality(store, "rift-official-code")
    with pytest.raises(UserError):
        FIGURES["figure3"].build(View(store, TWO))
    caption = FIGURES["figure3-official"].build(View(store, TWO)).caption
    assert caption.startswith("Figure 3: module robust criticality as the released code measures it, ")
    assert "projected epochs" in caption
    assert "on the first 64 test images" in caption


def measured(*mrc: float | None, constrained: bool = True) -> MeasuredModule:
    """A module of these MRC by seed."""
    known = tuple(None if value is None else value / 10 for value in mrc)
    return MeasuredModule("linear", mrc, known, known, (constrained,) * len(mrc))


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
def test_the_axis_shows_all_orders_of_magnitude(values: tuple[float | None, ...], kind: str) -> None:
    """Logarithmic from a factor of ten on, with room for zero and below where there is such an MRC."""
    assert axis_of_mrc([measured(value) for value in values]) == kind


def test_rank_is_by_mean_and_of_valid_values() -> None:
    """Ties keep the order; a negative or a diverged seed has no rank but in the released order."""
    high, tie, low, diverged = (measured(*mrc) for mrc in ((3, 1), (2, 2), (-1, 0), (None, 0)))
    zero = measured(0, 0)
    assert ranked([diverged, high, tie, low, zero]) == [zero, high, tie]
    every = [high, tie, low, zero, diverged]
    assert ranked(every, released_order=True) == [diverged, low, zero, high, tie]


# --- criticality against damage ---------------------------------------------------------------------


def test_damage_by_hand(store: Store) -> None:
    """Losses and gains are against the base model of the seed, modules from least to most critical."""
    write_damage(store)
    rows = rows_of(FIGURES["figure-damage"], store)
    means = only(rows, seed="mean")
    order = ["layer1.0.conv1", "linear", "conv1", "layer4.1.conv2"]
    assert [row["module"] for row in means] == order
    assert [row["rank"] for row in means] == ["1", "2", "3", "4"]
    assert [float(row["adv_loss"]) for row in means] == [0.002, 0.006, 0.0, 0.004]
    assert {row["std_gain"] for row in rows} == {"0.01"}
    assert [float(row["adv_loss"]) for row in only(rows, seed="1")] == [0.003, 0.009, 0.0, 0.006]
    caption = FIGURES["figure-damage"].build(View(store, TWO)).caption
    assert "over 4 modules: Adv lost rho = 0.00 (p = 1.000); Std gained not defined" in caption
    assert "within each seed: rho = " in caption
    assert "left out" not in caption


def test_modules_without_records_keep_their_rank_free(store: Store) -> None:
    """A module that is missing is named and leaves the rank of the others as it is."""
    write_damage(store, ("conv1", "layer4.1.conv2"))
    picture = FIGURES["figure-damage"].build(View(store, TWO))
    assert isinstance(picture, Damage)
    assert [(module.rank, module.measured.module) for module in picture.modules] == [
        (3, "conv1"),
        (4, "layer4.1.conv2"),
    ]
    assert picture.count == 4
    assert "module-layer1.0.conv1-alpha-1/seed0" in picture.caption


def test_damage_is_of_modules_that_are_ranked(store: Store) -> None:
    """A module with a failed or diverged ascent is named and left out of ranks and correlations."""
    write_damage(store)
    for seed, mrc in enumerate(((0.5, None, 1.0, -0.1), (0.5, 0.1, 1.0, 0.1))):
        store.record_path(cell_at("rift", seed, scale=TWO), "making").unlink()
        write_making(store, cell_at("rift", seed, scale=TWO), criticality=criticality(mrc))
    picture = FIGURES["figure-damage"].build(View(store, TWO))
    assert isinstance(picture, Damage)
    ranks = [(module.rank, module.measured.module) for module in picture.modules]
    assert (ranks, picture.count) == ([(1, "conv1"), (2, "layer4.1.conv2")], 2)
    assert "diverged in some seed, left out: layer1.0.conv1\n" in picture.caption
    assert "lower than it began in some seed, left out: linear\n" in picture.caption


def test_damage_of_nothing_that_is_ranked_is_refused(store: Store) -> None:
    """Without a valid MRC in every seed there is no order to show modules in."""
    for seed in TWO.seeds:
        write_record(store, cell_at("none", seed, scale=TWO), "clean", 900, scale=TWO)
        write_record(store, cell_at("none", seed, scale=TWO), "pgd10x3", 500, scale=TWO)
        entries = criticality((-0.1,) * len(MODULES))
        write_making(store, cell_at("rift", seed, scale=TWO), criticality=entries)
    with pytest.raises(UserError, match="no module has a valid MRC in every seed"):
        FIGURES["figure-damage"].build(View(store, TWO))
    assert "no module is ranked" in FIGURES["figure3"].build(View(store, TWO)).caption


@pytest.mark.parametrize("missing", ["none", "rift", "modules"])
def test_damage_needs_base_criticality_and_a_module(store: Store, missing: str) -> None:
    """Without the base model, the criticality or any module there is nothing to compare."""
    write_damage(store, MODULES if missing != "modules" else ())
    if missing != "modules":
        path = store.record_path(cell_at(missing, 1, scale=TWO), "clean")
        (path.with_stem("making") if missing == "rift" else path).unlink()
    with pytest.raises(UserError, match="figure-damage has nothing complete to show"):
        FIGURES["figure-damage"].build(View(store, TWO))


def test_spearman_agrees_with_its_closed_form() -> None:
    """Without ties rho is 1 - 6 sum(d^2) / (n (n^2 - 1)), with p from Student's t."""
    from scipy.stats import t

    x, y = (0.1, 0.5, 3.0, 0.7, 9.0), (2.0, 1.0, 5.0, 4.0, 3.0)
    squares = sum((a - b) ** 2 for a, b in zip((1, 2, 4, 3, 5), (2, 1, 5, 4, 3), strict=True))
    rho = 1 - 6 * squares / (5 * 24)
    p = 2 * t.sf(rho * (3 / (1 - rho**2)) ** 0.5, 3)
    found = spearman(x, y)
    assert found is not None
    assert (found.rho, found.p) == pytest.approx((rho, p))
    assert found.text == "rho = 0.60 (p = 0.285)"


def test_spearman_of_nothing_to_rank_is_undefined() -> None:
    """Two pairs, or one side all equal, have no rank correlation."""
    assert spearman((1, 2), (1, 2)) is None
    assert spearman((1, 2, 3), (1, 1, 1)) is None
    assert spearman((2, 2, 2), (1, 2, 3)) is None


# --- all figures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_to_show_says_which_command_makes_it(store: Store, name: str) -> None:
    """An empty store is refused with the command that fills it, and nothing is written."""
    with pytest.raises(UserError, match=f"`python -m benchmark {name} --scale quick` makes"):
        FIGURES[name].build(View(store, SCALES["quick"]))
    assert not store.results.exists()


def test_figures_are_of_the_papers_datasets_and_networks() -> None:
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
    }
    paper = SCALES["paper"]
    for name, spec in FIGURES.items():
        cells = spec.cells(paper)
        assert {(cell.dataset, cell.arch) for cell in cells} == {places[name]}
        assert {cell.seed for cell in cells} == {0, 1, 2}
        assert all(Plan.of(cell, paper).cell == cell for cell in cells)
    assert len(FIGURES["figure1"].cells(paper)) == 5 * 3
    assert len(FIGURES["figure-damage"].cells(paper)) == (2 + 21) * 3


def test_a_smaller_scale_lends_its_last(store: Store) -> None:
    """Where a scale has no second dataset or third network the last stands in, and it says so."""
    write_criticality(store)
    caption = FIGURES["figure-c2"].build(View(store, TWO)).caption
    assert caption.startswith("Figure C.2: ")
    assert "the scale has no third dataset: Digits, its last, stands in" in caption
    assert "the scale has no third network: ResNet18 (width 8), its last, stands in" in caption
    assert "stands in" not in FIGURES["figure3"].build(View(store, TWO)).caption


def test_an_unknown_figure_lists_the_known_ones() -> None:
    """A figure that does not exist is refused with those that do."""
    with pytest.raises(UserError, match="'figure2'; known: figure1, figure3"):
        figure_spec("figure2")


def test_declarations_load_neither_torch_nor_matplotlib() -> None:
    """`status` and `list` stay quick: both libraries wait until a figure is drawn."""
    code = "import sys, benchmark.report.figures.figures"
    code += "; print({'torch', 'matplotlib', 'scipy'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"


# --- what is drawn ----------------------------------------------------------------------------------

BARS = Bars(
    "figure3",
    "title",
    "model",
    (0, 1),
    (),
    tuple(
        replace(module, module=name)
        for name, module in zip(
            MODULES,
            (
                measured(-0.1, 0.3),
                measured(2, 4, constrained=False),
                measured(None, 1),
                measured(0.5, 0.7),
            ),
            strict=True,
        )
    ),
)


def test_equal_numbers_give_equal_bytes_whatever_the_settings(store: Store) -> None:
    """PNG and SVG hold neither a date nor a random name, and obey no matplotlibrc."""
    import matplotlib

    write_curves(store)
    spec, reader = FIGURES["figure1"], View(store, TWO)
    once = spec.build(reader).files()
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None, "axes.grid": True}):
        again = spec.build(reader).files()
        assert matplotlib.rcParams["font.size"] == 20
    assert set(once) == {"png", "svg", "csv"}
    assert once == again
    assert once["png"].startswith(b"\x89PNG")
    assert b"<dc:date>" not in once["svg"]
    assert once["csv"] == spec.build(reader).csv().encode()


@pytest.mark.parametrize("kind", ["bars", "damage"])
def test_every_kind_of_picture_can_be_drawn_twice_alike(kind: str) -> None:
    """Bars and dots with negative, diverged and unconstrained modules come out, and alike."""
    from benchmark.report.figures.draw import draw

    ordered = ranked(BARS.modules)
    modules = [DamagedModule(i, m, (0.01, -0.02), (0.0, 0.1)) for i, m in enumerate(ordered, 1)]
    damage = Damage("figure-damage", "title", "model", (0, 1), (), tuple(modules), 5)
    picture = BARS if kind == "bars" else damage
    assert draw(picture) == draw(picture)


@pytest.mark.parametrize("count", [21, 34])
def test_no_name_is_cut_off(count: int) -> None:
    """Names of modules, the highlighted one in bold among them, lie inside the picture as saved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from benchmark.report.figures.draw import laid_out

    names = [f"layer{place}.0.shortcut.0" for place in range(10, 10 + count)]
    modules = [replace(measured(1.0 + place, 2.0), module=name) for place, name in enumerate(names)]
    figure = laid_out(replace(BARS, modules=tuple(modules)))
    renderer = FigureCanvasAgg(figure).get_renderer()
    labels = figure.axes[1].get_xticklabels()
    assert [label.get_text() for label in labels] == names
    assert {label.get_weight() for label in labels} == {"bold", "normal"}
    assert all(label.get_window_extent(renderer).y0 >= 0 for label in labels)


def test_bars_are_the_means_and_flags_are_seen() -> None:
    """A bar is as high as its mean; hatched if unconstrained, a cross instead of it if diverged, a
    triangle above it if failed."""
    from benchmark.report.figures.draw import LEAST, MOST, figure_of

    upper, lower = figure_of(BARS).axes
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


def test_curves_are_drawn_where_they_are(store: Store) -> None:
    """The mean of each tuning is a line with a dot per alpha, in percent; the constraint is dashed."""
    from benchmark.report.figures.draw import figure_of

    write_curves(store)
    picture = FIGURES["figure1"].build(View(store, TWO))
    whole, part = figure_of(picture).axes
    assert whole.get_lines()[0].get_ydata() == pytest.approx([48.9, 48.9])
    dotted = [line for line in whole.get_lines() if line.get_marker() in "os^Dv" and line.get_lw()]
    drawn = [line for line in dotted if len(line.get_xdata()) == 3]
    assert len(drawn) == len(TUNINGS)
    assert drawn[0].get_xdata() == pytest.approx([82, 82.2, 82.4])
    assert drawn[0].get_ydata() == pytest.approx([49, 49.2, 48.2])
    rings = [line for line in part.get_lines() if line.get_markerfacecolor() == "none"]
    assert [(*ring.get_xdata(), *ring.get_ydata()) for ring in rings] == [
        pytest.approx((82.2, 49.2)),
        pytest.approx((82.2, 49.2)),
    ]
