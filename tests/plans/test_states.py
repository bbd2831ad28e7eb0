"""States of cells and records: missing, done, stale, running, absent."""

import dataclasses

import pytest

from benchmark.errors import UserError
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import (
    State,
    cell_state,
    is_locked,
    record_state,
    remarks,
    supersede_stale,
)
from benchmark.records.store import Store
from handmade import BY_HAND, cell_at, store_in, write_making, write_record, write_records
from killing import holding

EVALUATIONS = BY_HAND.evaluations
COUNTS = dict.fromkeys(EVALUATIONS, 500)
RETUNED = dataclasses.replace(BY_HAND, finetuning={"lr": 0.01})
RETRAINED = dataclasses.replace(BY_HAND, training={"lr": 0.01})
REMEASURED = dataclasses.replace(BY_HAND, criticality={"steps": 5})


def states(store: Store, scale: Scale, *finetunes: str) -> list[State]:
    """States of seed 0's cells of these fine-tunings."""
    plans = [Plan.of(cell_at(name), scale) for name in finetunes]
    return [cell_state(store, plan, EVALUATIONS) for plan in plans]


def test_a_cell_is_missing_until_its_last_record(store):
    """A cell with some of its records is missing, with all of them done."""
    plan = Plan.of(cell_at("rift"), BY_HAND)
    assert cell_state(store, plan, EVALUATIONS) is State.MISSING
    write_making(store, plan.cell)
    for evaluation in EVALUATIONS:
        assert record_state(store, plan, evaluation) is State.MISSING
        assert cell_state(store, plan, EVALUATIONS) is State.MISSING
        write_record(store, plan.cell, evaluation, 5, 10)
        assert record_state(store, plan, evaluation) is State.DONE
    assert cell_state(store, plan, EVALUATIONS) is State.DONE


@pytest.mark.parametrize(
    ("scale", "stale"),
    [
        (RETUNED, {"last-layer", "rift", "rift-alpha-1"}),
        (REMEASURED, {"rift", "rift-alpha-1"}),
        (RETRAINED, {"none", "last-layer", "rift", "rift-alpha-1"}),
        (dataclasses.replace(BY_HAND, seeds=(0,), summary="other", threads=2), set()),
    ],
)
def test_a_changed_setting_makes_stale_what_depends_on_it(store, scale, stale):
    """Fine-tuning concerns the fine-tuned, criticality those chosen by it, training everything."""
    names = ("none", "last-layer", "rift", "rift-alpha-1")
    for name in names:
        write_records(store, cell_at(name), COUNTS)
        write_making(store, cell_at(name))
    assert states(store, BY_HAND, *names) == [State.DONE] * 4
    expected = [State.STALE if name in stale else State.DONE for name in names]
    assert states(store, scale, *names) == expected


def test_one_stale_record_makes_a_cell_stale(store):
    """A cell with one record of an older version is stale, whatever else it has or lacks."""
    write_record(store, cell_at("rift"), "clean", 5, 10, scale=RETUNED)
    assert states(store, BY_HAND, "rift") == [State.STALE]
    write_record(store, cell_at("rift"), "pgd10x3", 5, 10)
    assert states(store, BY_HAND, "rift") == [State.STALE]


def test_a_stale_making_makes_a_cell_stale(store):
    """A cell whose weights were made by an older version is stale before it has any record."""
    write_making(store, cell_at("rift"), scale=RETUNED)
    assert states(store, BY_HAND, "rift") == [State.STALE]


def test_a_dataset_without_corruptions_has_no_such_record(store):
    """No corrupted digits were published: that record is absent, and cells are done without it."""
    official = ("clean", "corruptions-15", "pgd10x3")
    plan = Plan.of(cell_at(), BY_HAND)
    assert record_state(store, plan, "corruptions-15") is State.ABSENT
    for evaluation in ("clean", "pgd10x3"):
        assert cell_state(store, plan, official) is State.MISSING
        write_record(store, plan.cell, evaluation, 5, 10)
    assert cell_state(store, plan, official) is State.DONE


def test_superseding_moves_what_is_stale_and_nothing_else(store):
    """Stale records and makings go to `superseded`, fresh ones stay, and the cell is missing."""
    old = write_record(store, cell_at("rift"), "clean", 5, 10, scale=RETUNED)
    fresh = write_record(store, cell_at("rift"), "pgd10x3", 5, 10)
    making = write_making(store, cell_at("rift"), scale=RETUNED)
    plan = Plan.of(cell_at("rift"), BY_HAND)
    supersede_stale(store, plan, EVALUATIONS)
    assert cell_state(store, plan, EVALUATIONS) is State.MISSING
    assert store.record(plan.cell, "clean") is None
    assert store.making(plan.cell) is None
    assert store.record(plan.cell, "pgd10x3") == fresh
    kept = store.results / "superseded"
    bits = f"clean.{old.bits_sha256[:12]}.npz"
    for content, name in ((old, "clean.json"), (old, bits), (making, "making.json")):
        assert (kept / content.spec_hash[:12] / plan.cell.key / name).exists()
    assert len(list(kept.rglob("*.*"))) == 3


def test_superseding_moves_what_a_module_is_made_of(store):
    """The weights before `+`, and the second network of a mix, with them."""
    second = cell_at(method="standard")
    write_making(store, second, scale=RETRAINED)
    write_making(store, cell_at("rift"), scale=RETUNED)
    for name in ("rift+mean-sparse", "output-mix"):
        supersede_stale(store, Plan.of(cell_at(name), BY_HAND), EVALUATIONS)
    assert store.making(second) is store.making(cell_at("rift")) is None


@pytest.mark.parametrize(
    ("name", "part"),
    [("rift+mean-sparse", cell_at("rift")), ("output-mix", cell_at(method="standard"))],
)
def test_what_a_module_is_made_of_is_remarked(store, name, part):
    """What was different when the weights before `+`, or a mix's second network, were trained."""
    made = write_making(store_in(store.results.parent / "other"), part)
    begun = made.provenance.model_copy(update={"begun": ["on another device"]})
    store.write_making(made.model_copy(update={"provenance": begun}))
    assert remarks(store, Plan.of(cell_at(name), BY_HAND)) == ["on another device"]


def test_a_broken_file_has_no_state(store):
    """A file that cannot be read is an error, not a missing record."""
    path = store.record_path(cell_at("rift"), "clean")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(UserError, match="is not a record of schema 1"):
        states(store, BY_HAND, "rift")


def test_cells_of_a_base_that_is_worked_on_are_running(store, tmp_path):
    """While another process holds a base model, its missing cells are running; done ones are done."""
    write_records(store, cell_at("none"), COUNTS)
    other = Plan.of(cell_at("rift", seed=1), BY_HAND)
    assert states(store, BY_HAND, "rift") == [State.MISSING]
    with holding(tmp_path, cell_at("rift").key):
        running = [State.DONE, State.RUNNING, State.RUNNING]
        assert states(store, BY_HAND, "none", "rift", "top-2") == running
        assert cell_state(store, other, EVALUATIONS) is State.MISSING
    assert states(store, BY_HAND, "rift") == [State.MISSING]


def test_a_cell_that_is_made_alone_is_running(store):
    """Its own lock is enough; other cells of its base model are not running."""
    plan = Plan.of(cell_at("rift"), BY_HAND)
    with store.lock(plan.cell, alone=True):
        assert is_locked(store, plan)
        assert not is_locked(store, Plan.of(cell_at("top-2"), BY_HAND))


def test_asking_for_a_lock_leaves_no_trace(store):
    """Looking at a store that nobody works on makes no lock files and no folders."""
    assert not is_locked(store, Plan.of(cell_at("rift"), BY_HAND))
    assert not store.artifacts.exists()
