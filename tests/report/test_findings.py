"""The findings: what they say of records with chosen bits."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import handmade
from benchmark.records.cells import Cell
from benchmark.records.store import Store
from benchmark.report.check.published import published
from benchmark.report.findings.page import findings
from handmade import ADV, BY_HAND, CLEAN, cell_at, measured, write_making, write_record

ONE_SEED = replace(BY_HAND, seeds=(0,), evaluations=(CLEAN, ADV), audit=(CLEAN, ADV))
N = 1000


def page(store: Store, adv: str = ADV, **right: tuple[int, int]) -> str:
    """The page on fine-tunings of which so many images of 1,000 are right, clean and under `adv`."""
    for name, counts in right.items():
        cell = cell_at(name.replace("_", "-"))
        for evaluation, count in zip((CLEAN, adv), counts, strict=True):
            bits = {evaluation.partition("-first")[0]: np.arange(N) < count}
            write_record(store, cell, evaluation, count, scale=ONE_SEED, bits=bits)
        write_making(store, cell, alpha=0.6, scale=ONE_SEED)
    return findings(store, {"by-hand": ONE_SEED}, published())


@pytest.mark.parametrize(
    ("clean", "robust", "said"),
    [
        (800, 500, "lose: nothing whose interval excludes 0"),
        (850, 501, "gain: `rift` Std +5.00 ["),
        (850, 450, "lose: `rift` Adv -5.00 ["),
    ],
)
def test_words_follow_the_intervals(store: Store, clean: int, robust: int, said: str) -> None:
    """A gain or a loss is told where its interval, which each has, excludes 0, and nowhere else."""
    shown = page(store, none=(800, 500), rift=(clean, robust))
    assert said in shown
    row = next(line for line in shown.splitlines() if line.startswith("| rift "))
    assert row.count("[") == row.count("]") == 2
    assert [("**" in each) for each in row.split("|")[3:5]] == [clean > 800, robust < 500]


def test_controls_stand_beside(store: Store) -> None:
    """Every fine-tuning on record has a row with its alpha*; without any there is no section."""
    shown = page(store, none=(800, 500), rift=(802, 500), bn_only=(801, 499))
    rows = [line.split("|")[1:3] for line in shown.splitlines() if line.count("|") == 5]
    assert {("rift", "0.60"), ("bn-only", "0.60")} <= {(a.strip(), b.strip()) for a, b in rows}
    assert "3 models with 6 records, 1 adversarial training in 0.0 hours; made on" in shown
    assert "## " not in findings(store, {"other": replace(ONE_SEED, name="other")}, published())


def test_a_clean_training_is_no_adversarial_one(store: Store) -> None:
    """The second network of a mix is a model, and not trained adversarially."""
    write_making(store, cell_at(method="standard"), scale=ONE_SEED)
    shown = page(store, none=(800, 500), rift=(802, 500))
    assert "3 models with 4 records, 1 adversarial training in 0.0 hours; made on" in shown


def test_fewer_images_stand_where_all_are_missing(store: Store) -> None:
    """The most of the first images that are on record, named so; and no column without a number."""
    few = f"{ADV}-first-900"
    assert "Adv" not in page(store, few.replace("900", "90"), none=(800, 500)).partition("## ")[2]
    page(store, few.replace("900", "90"), rift=(820, 480))
    shown = page(store, few, none=(800, 500), rift=(820, 480))
    assert "| Adv (first 900) |" in " ".join(shown.split()) and "first 90)" not in shown
    assert "Adv (first 900) **-2.00 [" in next(line for line in shown.splitlines() if "RiFT at" in line)
    shown = page(store, none=(800, 500), rift=(820, 490))
    assert "first 900" not in shown and "Adv **-1.00 [" in shown


def test_all_images_stand_where_the_audit_asks_for_few(store: Store) -> None:
    """What `table1` made of the whole test set is not left out for what only the audit names."""
    few = replace(ONE_SEED, audit=(CLEAN, f"{ADV}-first-900"))
    page(store, none=(800, 500), rift=(800, 490), bn_only=(800, 500))
    shown = findings(store, {"by-hand": few}, published())
    assert "AT alone: Std 80.00 [" in shown and ", Adv 50.00 [" in shown
    assert "RiFT at `by-hand`: Std +0.00 [+0.00, +0.00], Adv **-1.00 [" in shown
    page(store, f"{ADV}-first-900", none=(800, 500), random_layer=(800, 450))
    shown = findings(store, {"by-hand": few}, published())
    rows = {line.split("|")[1].strip(): line for line in shown.splitlines() if line.startswith("| r")}
    assert "**-1.00 [" in rows["rift"] and "first 900" in shown
    assert "-5.00 [" in rows["random-layer"]


def test_a_loss_stays_where_the_base_alone_has_more(store: Store) -> None:
    """Of a base model on all images and a fine-tuning on fewer, those of both are compared."""
    few = f"{ADV}-first-900"
    page(store, few, none=(800, 500), rift_alpha_1=(820, 400))
    shown = page(store, none=(800, 500), rift=(800, 500))
    row = next(line for line in shown.splitlines() if line.startswith("| rift-alpha-1 "))
    assert "+2.00 [" in row and "-10.00 [" in row
    both = page(store, few, none=(800, 500), bn_only=(801, 450))
    rows = [line for line in both.splitlines() if line.startswith(("| rift ", "| bn-only "))]
    assert "Adv (first 900)" in both and "-5.00 [" in rows[1] and "—" in rows[0]


def test_seeds_that_are_there_are_counted(store: Store) -> None:
    """A row of one seed of two says so, and a claim about both stays open."""
    two = replace(ONE_SEED, seeds=(0, 1))
    page(store, none=(800, 500), rift=(850, 501))
    shown = findings(store, {"by-hand": two}, published())
    row = next(line for line in shown.splitlines() if line.startswith("| rift "))
    assert "| only 0 |" in " ".join(row.split()) and "**+5.00 [" in row
    assert "RiFT at `by-hand` (seed 0 of 2): Std **+5.00 [" in shown
    assert "`rift` (seed 0 of 2) Std +5.00 [" in shown


def test_seeds_are_those_of_each_evaluation(store: Store) -> None:
    """A column that one seed has takes none from the others, and says of how many it is."""
    two = replace(ONE_SEED, seeds=(0, 1))
    page(store, none=(800, 500), rift=(850, 501))
    for name, right in (("none", 800), ("rift", 852)):
        write_record(store, cell_at(name, seed=1), CLEAN, right, scale=two)
    shown = findings(store, {"by-hand": two}, published())
    row = next(line for line in shown.splitlines() if line.startswith("| rift "))
    assert "+5.10 [" in row and "+0.10 [" in row and row.count("(seed 0 of 2)") == 1
    assert "RiFT at `by-hand`: Std **+5.10 [" in shown
    assert "2 models with 6 records" in shown
    page(store, bn_only=(850, 400))
    write_record(store, cell_at("bn-only", seed=1), CLEAN, 852, scale=two)
    words = findings(store, {"by-hand": two}, published()).splitlines()
    line = next(each for each in words if "lose: `bn-only` Adv -10.00 [" in each)
    assert line.endswith("] (seed 0 of 2).")


def test_the_base_of_one_seed_says_so(store: Store) -> None:
    """Post-training methods are of the first seed, and the base model beside nothing else is, too."""
    two = replace(ONE_SEED, seeds=(0, 1))
    page(store, none=(800, 500), continued_at=(810, 500))
    write_record(store, cell_at(seed=1), CLEAN, 700, scale=two)
    assert "AT alone, seed 0: Std 80.00 [" in findings(store, {"by-hand": two}, published())
    page(store, rift=(800, 500))
    assert "AT alone: Std 75.00 ± 7.07" in findings(store, {"by-hand": two}, published())


def test_the_base_without_the_hold_out_stands_beside(store: Store) -> None:
    """What chooses on a hold-out gains over another training, named with its own accuracy."""
    shown = page(store, none_held_out=(700, 400), rift_held_out=(730, 400))
    assert "AT alone" not in shown and "\n\nAT without the hold-out: Std 70.00 [" in shown
    assert "AT alone: Std 80.00 [" in page(store, none=(800, 500))


def test_an_unknown_record_is_left_out(store: Store) -> None:
    """An evaluation that no version knows changes nothing; the leaderboard lists it."""
    shown = page(store, none=(800, 500), rift=(850, 501))
    for name in ("none", "rift"):
        path = store.record_path(cell_at(name), ADV)
        none = path.read_text().replace(f'"evaluation": "{ADV}"', f'"evaluation": "{ADV}-first-0"')
        path.with_name(f"{ADV}-first-0.json").write_text(none)
    again = findings(store, {"by-hand": ONE_SEED}, published())
    assert again.replace("with 6 records", "with 4 records") == shown


def test_what_a_record_warns_of_is_told(store: Store) -> None:
    """A gain that masked gradients may feign stands beside the warning, which is told once."""
    assert "warn of" not in page(store, none=(800, 500), rift=(800, 550), bn_only=(800, 500))
    path = store.record_path(cell_at("rift"), ADV)
    path.write_text(path.read_text().replace('"remarks": []', '"remarks": ["warning: masked"]'))
    shown = findings(store, {"by-hand": ONE_SEED}, published())
    assert shown.count("- rift, seed 0: masked.") == 1


def test_controls_that_were_not_run_are_not_judged(store: Store) -> None:
    """Without a control on record nothing is said of them."""
    assert "Controls" not in page(store, none=(800, 500), rift=(802, 500))
    assert "Controls and simpler methods lose: nothing" in page(store, bn_only=(800, 500))


def test_markup_in_a_record_means_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device of a record that came from elsewhere is no tag and no link."""
    foreign = handmade.PROVENANCE.model_copy(update={"device": "cpu, <img src=x> [a](http://b)"})
    monkeypatch.setattr(handmade, "PROVENANCE", foreign)
    shown = page(store, none=(800, 500), rift=(802, 500))
    assert "<img" not in shown and "[a](" not in shown and "&lt;img" in shown


def test_fine_tuned_weights_have_a_table(store: Store) -> None:
    """What the rule chooses from stands below what it chose, in numbers of its own."""
    shown = page(store, none=(800, 500), rift=(800, 500), rift_alpha_1=(820, 400))
    chosen, _, tuned = shown.partition("as fine-tuned")
    assert "| rift-alpha-1 " not in chosen and "-10.00 [" not in chosen
    row = next(line for line in tuned.splitlines() if line.startswith("| rift-alpha-1 "))
    assert "+2.00 [" in row and "-10.00 [" in row


def test_the_base_stands_beside_the_papers(store: Store) -> None:
    """The accuracies of AT have their intervals; the paper's stand there for its own network only."""
    shown = page(store, none=(800, 500), rift=(802, 500))
    assert "AT alone: Std 80.00 [77.4" in shown and "In the paper" not in shown
    cifar = replace(ONE_SEED, datasets=("cifar10",), archs=("resnet18",))
    for name in ("none", "rift"):
        cell = Cell("by-hand", "cifar10", "resnet18", "pgd-at", name, 0)
        write_record(store, cell, CLEAN, 800, scale=cifar)
        write_making(store, cell, alpha=0.6, scale=cifar)
    shown = findings(store, {"by-hand": cifar}, published())
    assert "In the paper: AT Std 81.46, OOD 73.56, Adv 53.63; AT+RiFT Std 83.44," in shown
    assert "Top 2" not in shown


def test_rift_is_held_against_what_could_be_tuned_instead(store: Store) -> None:
    """RiFT minus a control is paired over images, by the rule and as fine-tuned, each with its like."""
    shown = page(store, none=(800, 500), rift=(810, 500), random_layer=(815, 490))
    assert "RiFT minus a random module at `by-hand`: Std **-0.50 [" in shown
    page(store, rift_alpha_1=(830, 400), random_layer_alpha_1=(830, 500), bn_only_alpha_1=(800, 500))
    shown = page(store)
    rows = {
        line.split("|")[1].strip(): line for line in shown.splitlines() if line.startswith("| rift")
    }
    assert "**+1.00 [" in rows["rift - random-layer"]
    assert "**-10.00 [" in rows["rift-alpha-1 - random-layer-alpha-1"]
    assert "**+3.00 [" in rows["rift-alpha-1 - bn-only-alpha-1"] and "rift - bn-only" not in rows
    assert "module, as fine-tuned, at `by-hand`: Std +0.00 [+0.00, +0.00], Adv **-10.00 [" in shown


def test_seeds_that_differ_between_evaluations_are_named(store: Store) -> None:
    """A column of other seeds than its row says which; fewer images stand for seeds without all."""
    three = replace(ONE_SEED, seeds=(0, 1, 2))
    few = f"{ADV}-first-900"
    for seed in (0, 1, 2):
        for name, right in (("none", 500), ("rift", 400)):
            for each in (CLEAN,) if seed == 0 else (few,) if seed == 1 else (CLEAN, ADV):
                bits = {each.partition("-first")[0]: np.arange(N) < right + seed}
                write_record(
                    store, cell_at(name, seed=seed), each, right + seed, scale=three, bits=bits
                )
    shown = findings(store, {"by-hand": three}, published())
    row = next(line for line in shown.splitlines() if line.startswith("| rift "))
    assert [row.count(each) for each in ("only 0, 2", "(seed 2 of 3)", "(seed 1 of 3)")] == [1, 1, 1]


def test_a_folder_of_no_cell_is_left_out(store: Store) -> None:
    """A copy of a seed's folder changes nothing that is found."""
    shown = page(store, none=(800, 500), rift=(850, 501))
    folder = store.record_path(cell_at("rift"), ADV).parent
    shutil.copytree(folder, folder.with_name("seed0-old"))
    assert findings(store, {"by-hand": ONE_SEED}, published()) == shown


def test_seeds_stand_apart(store: Store) -> None:
    """Two seeds have a table of their own, each against its own base over images; one has none."""
    assert "Seed by seed" not in page(store, none=(800, 500), rift=(850, 500))
    two = replace(ONE_SEED, seeds=(0, 1))
    found = [measured("layer4.1.conv2", 0.3), measured("linear", 0.1)]
    write_making(store, cell_at("rift-alpha-1"), alpha=1, scale=two, criticality=found)
    write_record(store, cell_at("rift-alpha-1"), ADV, 500, scale=two)
    assert "Least critical module" not in findings(store, {"by-hand": two}, published())
    for name, right in (("none", 700), ("rift", 690)):
        cell = cell_at(name, seed=1)
        write_record(store, cell, CLEAN, right, scale=two)
        write_making(store, cell, alpha=0.3, scale=two)
    shown = findings(store, {"by-hand": two}, published()).partition("Seed by seed")[2]
    rows = [[each.strip() for each in line.split("|")[1:-1]] for line in shown.splitlines()]
    rows = [row for row in rows if len(row) == 7]
    assert [row[0] for row in rows[2:]] == ["0", "", "", "1", ""]
    assert rows[2][1] == "AT" and rows[2][5].startswith("80.00 [")
    assert rows[3][1:5] == ["rift", "layer4.1.conv2", "2", "0.60"]
    assert rows[3][5].startswith("**+5.00 [") and rows[4][6].startswith("+0.00 [")
    assert rows[6][3:5] == ["", "0.30"]
    assert rows[6][5].startswith("**-1.00 [") and rows[6][6] == "—"


def test_columns_stand_alike_whichever_seed_lacks_one(store: Store) -> None:
    """Std comes first, also where the first seed has it on fewer images only."""
    two = replace(ONE_SEED, seeds=(0, 1))
    for seed, evaluations in ((0, (f"{CLEAN}-first-900", ADV)), (1, (CLEAN, ADV))):
        for name in ("none", "rift"):
            for each in evaluations:
                write_record(store, cell_at(name, seed=seed), each, 500 + len(name), scale=two)
    shown = findings(store, {"by-hand": two}, published()).partition("Seed by seed")[2]
    heads = next(line for line in shown.splitlines() if line.startswith("| seed"))
    assert [each.strip() for each in heads.split("|")[-4:-1]] == ["Std", "Std (first 900)", "Adv"]


def test_seeds_agree_on_what_is_critical(store: Store) -> None:
    """The least critical module is named by seed, and MRC is compared where it is valid in both."""
    two = replace(ONE_SEED, seeds=(0, 1, 2))
    for seed, values in enumerate(([0.1, 0.2, 0.3, None], [0.2, 0.3, 0.4, 0.1], [0.3, 0.2, 0.1, 0.4])):
        found = [measured(f"layer{i}", value) for i, value in enumerate(values)]
        for name in ("rift", "rift-alpha-1")[: seed or 1]:  # the latter of seed 2 alone
            write_making(store, cell_at(name, seed=seed), scale=two, criticality=found)
        for name in ("none", "rift"):
            write_record(store, cell_at(name, seed=seed), CLEAN, 800, scale=two)
    shown = findings(store, {"by-hand": two}, published())
    assert "Least critical module by seed: layer0 at 0; layer3 at 1; layer2 at 2." in shown
    # Seeds 0 and 1 order the three modules that are valid in both alike; 2 reverses either.
    assert "Spearman's rho of MRC between two seeds: -1.00 to 1.00." in shown


def test_definitions_of_mrc_are_compared(store: Store) -> None:
    """Where the released code's or the scale-free MRC is on record, with the text's on that seed."""
    values = {"rift": (0.1, 0.2, 0.3, 0.4), "rift-official-code": (0.4, 0.3, 0.2, None)}
    for name, found in values.items():
        entries = [measured(f"layer{i}", value) for i, value in enumerate(found)]
        write_making(store, cell_at(name), scale=ONE_SEED, criticality=entries)
    for name in ("none", "rift"):
        write_record(store, cell_at(name), CLEAN, 800, scale=ONE_SEED)
    shown = findings(store, {"by-hand": ONE_SEED}, published())
    assert "MRC as the released code measures it, seed 0: layer2 is least critical; over 3 mod" in shown
    assert "Spearman's rho = -1.00 (p = 0.333)." in shown and "no rescaling" not in shown


def test_every_module_alone(store: Store) -> None:
    """Where each ranked module has been fine-tuned alone, MRC stands against gain and loss."""
    found = [measured(f"layer{i}", value) for i, value in enumerate((0.3, 0.1, 0.2, 0.4, None))]
    write_making(store, cell_at("rift"), scale=ONE_SEED, criticality=found)
    counts = {
        f"module-layer{i}-alpha-1": (800 + lost, 500 - lost) for i, lost in enumerate((4, 2, 1, 3))
    }
    last = {name: counts.pop(name) for name in ("module-layer3-alpha-1",)}
    assert "fine-tuned alone" not in page(store, none=(800, 500), rift_alpha_1=(850, 500), **counts)
    shown = page(store, **last)
    assert "alone and kept as fine-tuned, seed 0. Spearman's rank correlation with MRC over 4" in shown
    assert "Adv lost rho = 0.60 [" in shown and "Std gained rho = 0.60 [" in shown
    assert "Of Adv lost with Std gained: rho = 1.00 (p = 0.083)" in shown
    assert (
        "layer1, the least critical of them, has rank 3 by Std gained (1 is the most) and 2 by" in shown
    )


def test_scales_of_several_seeds_come_first(store: Store) -> None:
    """What five trainings tell stands above what one does, whatever the names of the scales."""
    two = replace(ONE_SEED, name="z-two", seeds=(0, 1))
    for scale in (ONE_SEED, two):
        for seed in scale.seeds:
            for name in ("none", "rift", "bn-only"):
                cell = cell_at(name, seed, scale=scale)
                write_record(store, cell, CLEAN, 800 + len(name), scale=scale)
                if name != "none":
                    write_making(store, cell, scale=scale)
    lines = findings(store, {"by-hand": ONE_SEED, "z-two": two}, published()).splitlines()
    assert next(line for line in lines if line.startswith("## ")).startswith("## `z-two`")
    short = [line.partition(":")[0] for line in lines if line.startswith("- RiFT")]
    assert short == [
        f"- RiFT{what} at `{name}`"
        for name in ("z-two", "by-hand")
        for what in ("", " minus batch-norm statistics alone")
    ]
