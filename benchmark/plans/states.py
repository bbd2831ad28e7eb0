"""Which cells are done, missing, stale or running (no torch)."""

from enum import StrEnum

from filelock import Timeout

from benchmark.plans.plan import Plan
from benchmark.records.records import Making
from benchmark.records.specs import spec_hash
from benchmark.records.store import MAKING, Store


class State(StrEnum):
    """State of a cell or of one of its records; `ABSENT`: the dataset has no data for it."""

    DONE = "done"
    MISSING = "missing"
    STALE = "stale"
    RUNNING = "running"
    ABSENT = "absent"


def record_state(store: Store, plan: Plan, evaluation: str) -> State:
    """State of one record against today's plan. Refuses a broken file."""
    spec = plan.evaluation_spec(evaluation)
    if spec is None:
        return State.ABSENT
    record = store.record(plan.cell, evaluation)
    if record is None:
        return State.MISSING
    return State.DONE if record.spec_hash == spec_hash(spec) else State.STALE


def is_fresh(store: Store, plan: Plan, evaluation: str) -> bool:
    """Whether the record is on disk and what the code would make today."""
    return record_state(store, plan, evaluation) is State.DONE


def is_of(making: Making, plan: Plan) -> bool:
    """Whether `making` is of weights that the code would make today."""
    return making.spec_hash == spec_hash(plan.spec)


def cell_state(store: Store, plan: Plan, evaluations: tuple[str, ...]) -> State:
    """State of a cell: stale if any record or its making is, done if all its records are.

    A cell that is neither and whose base model is locked by a process is running.
    """
    states = {record_state(store, plan, name) for name in evaluations} - {State.ABSENT}
    making = store.making(plan.cell)
    if State.STALE in states or (making is not None and not is_of(making, plan)):
        return State.STALE
    if State.MISSING not in states:
        return State.DONE
    return State.RUNNING if is_locked(store, plan) else State.MISSING


def is_locked(store: Store, plan: Plan) -> bool:
    """Whether a process works on the base model of `plan` now."""
    if not (store.work(plan.cell.base) / "lock").exists():
        return False
    lock = store.lock(plan.cell)
    try:
        with lock.acquire(timeout=0):
            return False
    except (Timeout, PermissionError):  # held, or another user's: not ours to work on
        return True


def supersede_stale(store: Store, plan: Plan, evaluations: tuple[str, ...]) -> None:
    """Move the stale records and making of a cell to `results/superseded/`."""
    for name in evaluations:
        record = store.record(plan.cell, name)
        if record is not None and record_state(store, plan, name) is State.STALE:
            store.supersede(plan.cell, name, record.spec_hash)
    making = store.making(plan.cell)
    if making is not None and not is_of(making, plan):
        store.supersede(plan.cell, MAKING, making.spec_hash)
