"""Scales: the built-in ones are whole, those from files are checked before anything is trained."""

import dataclasses
import math
from pathlib import Path

import pytest

from benchmark.cli.scope import Scope
from benchmark.engine.recipes import (
    FINETUNE_RECIPE,
    CriticalitySettings,
    Recipe,
    ScaleFreeCriticality,
    shortened,
)
from benchmark.errors import UserError
from benchmark.plans.named import SCALES, filed, scale
from benchmark.plans.plan import Plan
from benchmark.plans.start import without_held_out
from benchmark.records.cells import BASE, Cell
from benchmark.records.specs import spec_hash
from benchmark.report.tables import REPORTS
from benchmark.report.tables.notes import seeds_by_setting
from invoking import MINE, TINY, refused

QUICK = SCALES["quick"]


@pytest.fixture
def read(tmp_path):
    """A function that reads the scale out of a file of this text, or these bytes."""

    def of(content):
        path = tmp_path / "mine.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return scale(str(path))

    return of


def cells_of(table, known):
    """The cells of a table as it is by default."""
    return REPORTS[table].cells(known, without_held_out(REPORTS[table].defaults, known))


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("table", REPORTS)
def test_every_cell_of_a_built_in_scale_has_a_plan(name, table):
    """Every cell of every table can be made, has a key that reads back, and specs to hash; none is
    asked for twice, and each comes with its base model and for all seeds."""
    known = scale(name)
    cells = cells_of(table, known)
    assert cells or (known.checkpoints and table == "table2")
    assert len(set(cells)) == len(cells)
    assert {cell.base for cell in cells} <= set(cells)
    for (dataset, arch, method), seeds in seeds_by_setting(cells).items():
        assert seeds == known.seeds_of(dataset, arch, method)
    for cell in cells:
        plan = Plan.of(cell, known)
        assert Cell.parse(cell.key) == cell
        assert cell.scale in known.key_names
        hashes = {spec_hash(plan.spec)}
        for evaluation in known.evaluations:
            spec = plan.evaluation_spec(evaluation)
            hashes |= {spec_hash(spec)} if spec else set()
        assert len(hashes) > 1


@pytest.mark.parametrize("name", SCALES)
def test_built_in_scales_are_found_by_their_own_names(name):
    """A scale is listed under the name that its keys carry, and says what it costs."""
    assert scale(name) is SCALES[name] or SCALES[name].checkpoints
    assert scale(name).name == SCALES[name].name == name
    assert SCALES[name].summary


@pytest.mark.parametrize("name", ["narrow", "short", "paper"])
def test_scales_of_real_images_have_the_nine_blocks_of_the_paper(name):
    """Table 1 is three datasets by three networks, Table 2 four further methods on both CIFARs."""
    blocks = {(cell.dataset, cell.arch) for cell in cells_of("table1", SCALES[name])}
    assert len(blocks) == 9
    assert {dataset for dataset, _ in blocks} == {"cifar10", "cifar100", "tiny-imagenet"}
    others = {(cell.dataset, cell.method) for cell in cells_of("table2", SCALES[name])}
    assert others == {
        (dataset, method)
        for dataset in ("cifar10", "cifar100")
        for method in ("trades", "mart", "awp", "score")
    }


def test_a_network_and_a_method_override_training(read):
    """What is said of a network goes before what is said of all, and what of a method before both."""
    overrides = """
[training]
lr = 0.2
epochs = 3
[networks.resnet18-w8]
lr = 0.3
[recipes.mart]
lr = 0.4
"""
    mine = read(MINE.replace('"resnet18-w8"', '"resnet18-w8", "wrn-34-1"') + overrides)
    first, other = mine.archs
    for arch, method, lr in (first, "mart", 0.4), (first, "trades", 0.3), (other, "trades", 0.2):
        recipe = Plan.of(Cell("mine", "digits", arch, method, "none", 0), mine).base.recipe
        assert (recipe.lr, recipe.epochs) == (lr, 3)


OWN_SEEDS = """
name = "mine"
summary = "my own"
datasets = ["digits", "cifar10"]
archs = ["resnet18-w8", "wrn-34-1"]
seeds = [0]
[networks.resnet18-w8]
seeds = [3, 1]
epochs = 7
[recipes.trades]
seeds = [0, 5]
"""


def test_a_network_and_a_method_have_seeds_of_their_own(read, tmp_path):
    """A network's are of the first method, a method's go before them, both of the first dataset; they
    are no part of a recipe, and `--seeds` goes before all."""
    mine = read(OWN_SEEDS)
    models = {
        ("digits", "resnet18-w8", "pgd-at"): (3, 1),
        ("digits", "wrn-34-1", "pgd-at"): (0,),
        ("cifar10", "resnet18-w8", "pgd-at"): (0,),
        ("digits", "resnet18-w8", "trades"): (0, 5),
        ("digits", "resnet18-w8", "mart"): (0,),
        ("cifar10", "resnet18-w8", "trades"): (0,),
    }
    assert {model: mine.seeds_of(*model) for model in models} == models
    asked_for = Scope(str(tmp_path / "mine.toml"), seeds="4,2").chosen()
    assert {asked_for.seeds_of(*model) for model in models} == {(4, 2)}
    for known in (mine, asked_for):
        plan = Plan.of(Cell("mine", "digits", "resnet18-w8", "pgd-at", "none", 3), known)
        assert plan.base.recipe == dataclasses.replace(Recipe(), epochs=7)
    nine = read(OWN_SEEDS + "[recipes.pgd-at]\nseeds = [9]\n")
    for network in nine.archs:
        assert nine.seeds_of("digits", network, "pgd-at") == (9,)


def test_the_scale_small_has_five_seeds_of_one_model():
    """Five seeds of ResNet18 under PGD-AT on CIFAR-10 and of all its tunings, one of all else."""
    small = SCALES["small"]
    for table, spec in REPORTS.items():
        found = seeds_by_setting(spec.cells(small, spec.defaults))
        for (dataset, arch, method), seeds in found.items():
            many = (dataset, arch, method) == ("cifar10", "resnet18-w16", "pgd-at")
            assert seeds == ((0, 1, 2, 3, 4) if many else (0,)), table
    cells = REPORTS["table1"].cells(small, ["rift"])
    assert len(cells) == 2 * (5 + 1 + 1 + 3)
    assert {cell.dataset for cell in cells} == {"cifar10", "cifar100"}


@pytest.mark.parametrize(
    ("method", "lr"), [("pgd-at", 0.2), ("trades", 0.2), ("mart", 0.05), ("score", 0.1)]
)
def test_recipes_of_the_scale_small(method, lr):
    """30 one-cycle epochs on two-step examples, 3 of fine-tuning, judged on all test images but for
    epochs of adversarial training."""
    small = SCALES["small"]
    plan = Plan.of(Cell("small", "cifar10", "resnet18-w16", method, "rift-held-out", 0), small)
    base = plan.base.recipe
    assert (base.epochs, base.schedule, base.lr) == (30, "one-cycle", lr)
    assert (base.attack_steps, base.attack_path) == (2, 1.5)
    assert (base.select_last, base.select_images) == (2, 2000)
    tuning = dataclasses.replace(FINETUNE_RECIPE, epochs=3, milestones=(2,))
    assert (plan.recipe, plan.recipe.select_images) == (tuning, None)
    assert plan.criticality.images == 2000
    first = [name for name in (*small.evaluations, *small.for_audit) if "-first-" in name]
    assert first == ["autoattack-first-1000"]


@pytest.mark.parametrize(
    ("table", "tunings"),
    [
        ("table3", {"all-layers", "last-layer", "robust-critical", "rift"}),
        ("table4", {"rift", "top-2", "top-3", "top-5"}),
    ],
)
def test_ablations_have_both_ends_of_every_tuning(table, tunings):
    """Tables 3 and 4 show each tuning at alpha 1 and at its own alpha*, on the first network."""
    known = SCALES["narrow"]
    cells = cells_of(table, known)
    assert {c.finetune for c in cells} == {BASE} | tunings | {f"{name}-alpha-1" for name in tunings}
    assert {(c.dataset, c.arch) for c in cells} == {(known.datasets[0], known.archs[0])}


def test_a_scale_is_read_from_a_file():
    """The scale of these tests is read with its defaults, and its overrides reach the plan."""
    tiny = scale(str(TINY))
    assert tiny.name == "tiny"
    assert tiny.seeds == (0, 1)
    assert tiny.methods == ("pgd-at", "trades", "mart", "awp", "score")
    plan = Plan.of(Cell("tiny", "digits", "resnet18-w8", "pgd-at", "rift", 0), tiny)
    assert plan.base.recipe == dataclasses.replace(
        Recipe(),
        epochs=2,
        lr=0.2,
        schedule="one-cycle",
        attack_steps=1,
        select_last=1,
        select_images=100,
    )
    assert plan.recipe == dataclasses.replace(
        FINETUNE_RECIPE, epochs=1, lr=0.02, select_last=1, select_images=100
    )
    assert plan.criticality == dataclasses.replace(CriticalitySettings(), images=128, steps=2)


def test_a_scale_without_overrides_is_the_paper(read):
    """What a file leaves out is as published."""
    plan = Plan.of(Cell("mine", "digits", "resnet18-w8", "pgd-at", "rift", 0), read(MINE))
    assert plan.base.recipe == Recipe()
    assert plan.recipe == FINETUNE_RECIPE
    assert plan.criticality == CriticalitySettings()


def test_a_whole_number_is_as_good_as_a_float(read):
    """`lr = 1` and `lr = 1.0` are the same settings and give the same hash."""
    cell = Cell("mine", "digits", "resnet18-w8", "pgd-at", "none", 0)
    one, same = (Plan.of(cell, read(f"{MINE}[training]\nlr = {lr}")) for lr in ("1", "1.0"))
    assert spec_hash(one.spec) == spec_hash(same.spec)


@pytest.mark.parametrize("name", ["quickest", "narrow.json", "", "mine/toml"])
def test_an_unknown_scale_lists_the_known_ones(name):
    """A name that is neither built in nor a TOML file is refused with what there is."""
    line = refused(lambda: scale(name))
    near = {"quickest": "close to it: quick; ", "narrow.json": "close to it: narrow; "}.get(name, "")
    known = ", ".join(SCALES)
    assert line == f"unknown scale '{name}'; {near}known: {known}, or a .toml file"


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    """A scale file that is not there, or is a folder, is named with the reason."""
    path = tmp_path / "none.toml"
    refused(lambda: scale(str(path)), f"cannot read the scale file '{path}': .*No such file")
    path.mkdir()
    refused(lambda: scale(str(path)), f"cannot read the scale file '{path}'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name = ", "is not TOML: "),
        ("no toml at all", "is not TOML: "),
        (b"\xff\xfe", "cannot read the scale file"),
        ("", "is not a scale: name: "),
        (MINE.replace('name = "mine"', ""), "is not a scale: name: "),
        (MINE + 'colour = "red"', "is not a scale: colour: "),
        (MINE + 'threads = "two"', "is not a scale: threads: "),
        (MINE.replace("[0]", "0"), "is not a scale: seeds: "),
        (MINE.replace("[0]", '["zero"]'), "is not a scale: seeds.0: "),
        (MINE.replace("[0]", "[0.5]"), "is not a scale: seeds.0: "),
        (MINE.replace('["digits"]', '"digits"'), "is not a scale: datasets: "),
        (MINE + 'precision = "fp16"', "is not a scale: precision: "),
        (MINE + "precision = 32", "is not a scale: precision: "),
        (MINE + "training = 3", "is not a scale: training: "),
        # A misspelt name there would silently be without effect.
        (MINE + "[networks.resnet18-w9]\nlr = 0.1", "'resnet18-w9', which is not one of archs"),
        (MINE + "[recipes.fgsm]\nlr = 0.4", "recipes names 'fgsm', which is not one of methods"),
        (MINE + "[networks.resnet18-w8]\nseeds = 3", "scale: networks.resnet18-w8: seeds: "),
        (MINE + "[recipes.mart]\nseeds = [0, 0]", "recipes.mart: seeds: nothing may be named twice"),
        (MINE.replace("[0]", "[true]"), "is not a scale: seeds.0: "),
        (MINE.replace("[0]", f"[{10**40}]"), "is not a scale: seeds.0: "),
        (MINE.replace("[0]", f"[{'9' * 5000}]"), "is not TOML: "),
        (MINE.replace("[0]", "[" * 5000), "is not TOML: "),
        (MINE.replace('"mine"', f'"{"a" * 300}"'), "is not a scale: name: "),
        (MINE.replace("resnet18-w8", "resnet18-w99999999"), "archs: 'resnet18-w99999999' is too wide"),
        (MINE + "threads = 100000000000", "is not a scale: threads: "),
        (MINE + "[training]\nepoch = 3", ", training: unknown field 'epoch'; close to it: epochs; "),
        (MINE + "[finetuning]\nspeed = 3", "', finetuning: unknown field 'speed'; known: "),
        (MINE + "[criticality]\neps = 3", "', criticality: unknown field 'eps'; "),
        (MINE + '[training]\nepochs = "many"', "', training: epochs: "),
        (MINE + '[training]\nschedule = "cosine"', "', training: schedule: "),
        (MINE + '[criticality]\nsplit = "elsewhere"', "', criticality: split: "),
        (MINE + "[training]\nlr = nan", "', training: lr: "),
        (MINE + "[training]\nepochs = 3\nselect_last = 4", "', training: select_last: "),
        (MINE + "[criticality]\nradius = inf", "', criticality: radius: "),
        (MINE + "[networks.resnet18-w8]\nlr = -1", "', networks.resnet18-w8: lr: "),
        (MINE + "[recipes.mart]\nseeds = [0.5]", "is not a scale: recipes.mart: seeds.0: "),
        (MINE.replace("[0]", "[]"), "is not a scale: "),
        (MINE.replace("[0]", "[-1]"), "is not a scale: "),
        (MINE.replace("[0]", "[0, 0]"), "is not a scale: "),
        (MINE.replace('["resnet18-w8"]', "[]"), "is not a scale: "),
        (MINE.replace('["digits"]', "[]"), "is not a scale: "),
        (MINE.replace('"mine"', '"My scale"'), "is not a scale: "),
        (MINE.replace('"mine"', '"../mine"'), "is not a scale: "),
        (MINE.replace('"mine"', '""'), "is not a scale: "),
        (MINE.replace("seeds", "threads = -1\nseeds"), "is not a scale: "),
        (MINE.replace("seeds", "methods = []\nseeds"), "is not a scale: "),
        (MINE.replace("seeds", "evaluations = []\nseeds"), "is not a scale: "),
        (MINE.replace("mine", "narrow"), "calls itself 'narrow', which is taken"),
        # So are the names of cells in another precision or from a checkpoint.
        (MINE.replace('"mine"', '"mine-in-bf16"'), "'-in-' stands before a precision in keys"),
        (MINE.replace('"mine"', '"mine-from-one"'), "stands before the checkpoint"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(read, tmp_path, content, message):
    """The error is one line with the file, the field and the reason."""
    with pytest.raises(UserError) as got:
        read(content)
    assert f"'{tmp_path / 'mine.toml'}'" in str(got.value)
    assert message in str(got.value)
    assert "\n" not in str(got.value)


def test_what_a_limit_makes_alike_is_one_column() -> None:
    """`--limit` may give an evaluation the name of another that is asked for: it is shown once."""
    chosen = Scope("quick").chosen("pgd10x3,pgd10x3-first-100,clean", 100)
    assert chosen.evaluations == ("pgd10x3-first-100", "clean-first-100")


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Fields, names and overrides of one file, each once; names that are known but for a letter come
    with what is close. Names alone are refused, too."""
    path = tmp_path / "mine.toml"
    names = MINE.replace('["digits"]', '["digitz"]') + 'methods = ["pgd-at", "trade"]\n'
    wrong = names.replace("[0]", "[]") + 'colour = "red"\n[training]\nepoch = 3\n'
    path.write_text(wrong + "[recipes]\ntrade = { lr = -1 }\n")
    with pytest.raises(UserError) as everything:
        scale(str(path))
    path.write_text(names)
    with pytest.raises(UserError) as unknown_names:
        Scope(str(path)).chosen()
    for said in ("dataset 'digitz'; close to it: digits", "'trade'; close to it: trades"):
        assert said in str(everything.value)
        assert said in str(unknown_names.value)
    for said in ("seeds: ", "colour: ", "training: unknown field 'epoch'", "recipes.trade: lr: "):
        assert str(everything.value).count(said) == 1


def test_a_rate_of_the_scale_free_ascent(read):
    """It is of those protocols only; base models, which they start from, have none to fit."""
    mine = read(MINE + "[criticality]\nrate = 0.25\n")
    base = Cell("mine", "digits", "resnet18-w8", "pgd-at", "none", 0)
    assert Plan.of(base, mine).spec == Plan.of(base, read(MINE)).spec
    tuned = Plan.of(dataclasses.replace(base, finetune="rift-scale-free"), mine)
    assert tuned.criticality == ScaleFreeCriticality(rate=0.25)


@pytest.mark.parametrize(
    "overrides",
    [
        *({"epochs": 0}, {"batch_size": 0}, {"select_last": 0}, {"attack_steps": 0}),
        *({"epochs": 10**31}, {"batch_size": 10**20}, {"select_last": 111}, {"epochs": True}),
        *({"lr": value} for value in (math.nan, math.inf, -1.0, "0.1", False)),
        *({"momentum": math.nan}, {"weight_decay": -1e9}, {"attack_path": -1}, {"milestones": (-1,)}),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(overrides):
    """Numbers outside of their ranges, and of another kind, are refused before any training."""
    refused(lambda: shortened(Recipe(), overrides, "mine"), rf"mine: {next(iter(overrides))}[.:]")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "mnist"}, "unknown dataset 'mnist'; known: digits, cifar10"),
        ({"arch": "vgg16"}, "unknown architecture 'vgg16'; known: resnet10"),
        ({"arch": "resnet50"}, "unknown architecture 'resnet50'"),
        ({"method": "fgsm"}, "unknown AT method 'fgsm'; known: pgd-at, trades, mart, awp, score"),
        ({"finetune": "lora"}, "unknown fine-tuning 'lora'; known: none (the base model), rift, "),
    ],
)
def test_an_unknown_name_in_a_cell_lists_the_known_ones(changes, message):
    """Each part of a key is looked up in its registry, and the error says what there is."""
    cell = Cell("narrow", "cifar10", "resnet18-w16", "pgd-at", "none", 0)
    line = refused(lambda: Plan.of(dataclasses.replace(cell, **changes), SCALES["narrow"]))
    assert line.startswith(message)


def test_a_filed_scale_is_found_by_its_name(tmp_path):
    """`results/scales/NAME.toml` is NAME where that tree is given, and has to call itself so."""
    file = filed("mine", tmp_path)
    file.parent.mkdir()
    file.write_text(MINE)
    assert scale("mine", tmp_path) == scale(str(file))
    assert scale("quick", tmp_path) is QUICK
    refused(lambda: scale("mine"), "unknown scale 'mine'")
    refused(lambda: scale("other", tmp_path), r"other\.toml")
    file.rename(filed("other", tmp_path))
    refused(lambda: scale("other", tmp_path), "calls itself 'mine'")
