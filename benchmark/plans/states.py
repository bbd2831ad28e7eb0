"""Which cells are done, missing, stale or running."""

from contextlib import suppress
from enum import StrEnum

from filelock import Timeout

from benchmark.errors import UserError
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.start import caveats
from benchmark.records.cells import Cell
from benchmark.records.evidence import FACTORS, TUNED, Evidence
from benchmark.records.files import read_if_there
from benchmark.records.plugins import PLUGINS, not_loaded
from benchmark.records.records import CurvePoint, Making
from benchmark.records.specs import Spec, spec_hash
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


def is_of(making: Making, plan: Plan) -> bool:
    """Whether `making` describes weights that the code would make today."""
    return making.spec_hash == spec_hash(plan.spec)


def curve_on_record(store: Store, plan: Plan) -> list[CurvePoint]:
    """The points that chose alpha* of a fine-tuning whose making is on record; else empty.

    Where its weights are lost, they are read instead of counted again.
    """
    making = store.making(plan.cell)
    if making is None or not is_of(making, plan) or making.details.kind != "fine-tuning":
        return []
    return making.details.curve


def remarks(store: Store, plan: Plan) -> list[str]:
    """Remarks that every record of the cell of `plan` carries: on its checkpoint, and on trainings, of
    all that it is made of, that were continued in other circumstances."""
    found = caveats(plan.base.checkpoint) if plan.base.checkpoint is not None else []
    makings = (store.making(part.cell) for part in plan.made_of)
    return found + [line for making in makings if making for line in making.provenance.begun]


def cell_state(store: Store, plan: Plan, evaluations: tuple[str, ...]) -> State:
    """State of a cell: stale if any record or its making is, done if all its records are.

    A cell that is neither, or whose making can be restored, is missing; running where a process has
    locked its base model.
    """
    return cell_states(store, plan, evaluations)[0]


def cell_states(
    store: Store, plan: Plan, evaluations: tuple[str, ...]
) -> tuple[State, dict[str, State]]:
    """`cell_state`, and that of each record."""
    records = {name: record_state(store, plan, name) for name in evaluations}
    states = set(records.values()) - {State.ABSENT}
    making = store.making(plan.cell)
    if State.STALE in states or (making is not None and not is_of(making, plan)):
        return State.STALE, records
    if State.MISSING not in states and not store.lost_making(plan.cell):
        return State.DONE, records
    return State.RUNNING if is_locked(store, plan) else State.MISSING, records


def is_locked(store: Store, plan: Plan) -> bool:
    """Whether a process works on the base model of `plan` now, or on its cell alone."""
    try:
        for cell in dict.fromkeys((plan.cell.base, plan.cell)):
            if (store.work(cell) / "lock").exists():
                with store.lock(cell, timeout=0, alone=True):
                    pass
    except (Timeout, PermissionError):
        return True
    except UserError as error:  # another user's is not ours to work on; others fail when it is tried
        return isinstance(error.__cause__, PermissionError)
    return False


def without_plugins(store: Store, key: str, evaluation: str | None = None) -> str | None:
    """The remark on results at `key` that were made with plug-ins which are not loaded; else None.

    It covers all of them, or the record of `evaluation`. Broken files are refused elsewhere; most files
    name no plug-in at all.
    """
    with suppress(UserError):
        cell, named = Cell.parse(key), f'"{PLUGINS}"'.encode()
        files = store.record_path(cell, MAKING).parent.glob("*.json")
        if not any(named in (read_if_there(path) or b"") for path in files):
            return None
        for file in store.of(cell):
            asked = evaluation is None or getattr(file, "evaluation", None) == evaluation
            if asked and (text := not_loaded(file.spec)):
                return text
    return None


def supersede_stale(store: Store, plan: Plan, evaluations: tuple[str, ...]) -> None:
    """Move the stale records and makings of a cell, and of what it is made of, to
    `results/superseded/`."""
    for part in plan.made_of:
        for name in evaluations:
            record = store.record(part.cell, name)
            if record is not None and record_state(store, part, name) is State.STALE:
                store.supersede(part.cell, name, record.spec_hash)
        making = store.making(part.cell)
        if making is not None and not is_of(making, part):
            store.supersede(part.cell, MAKING, making.spec_hash)


def evidence_cells(scale: Scale) -> list[Cell]:
    """The fine-tuned cells of the first dataset, network and method of `scale`, all seeds."""
    return scale.cells(scale.datasets[:1], scale.archs[:1], (TUNED,))


def evidence_spec(plan: Plan) -> Spec:
    """What the evidence of the fine-tuned cell of `plan` depends on."""
    return {
        "type": "evidence",
        "version": 1,
        "key": plan.cell.key,
        "model": plan.spec,
        "factors": list(FACTORS),
    }


def stale_evidence(found: Evidence, store: Store, scale: Scale) -> dict[int, str]:
    """Why the evidence of a seed is not of today's models, by seed; empty if all is as it should be.

    It is stale if the code would measure other settings today, and if the makings in `store` describe
    other weights.
    """
    today = {cell.seed: cell for cell in evidence_cells(scale)}
    reasons = {}
    for each in found.seeds:
        cell = today.get(each.seed)
        if cell is None:
            reasons[each.seed] = f"scale '{scale.name}' has no seed {each.seed}"
        elif each.spec_hash != spec_hash(evidence_spec(Plan.of(cell, scale))):
            reasons[each.seed] = f"{each.key} was measured with other settings than today's"
        elif _others(store, cell.base, each.provenance.weights_sha256) or _others(
            store, cell, each.tuned_sha256
        ):
            reasons[each.seed] = f"{each.key} was measured on other weights than those on record"
    return reasons


def _others(store: Store, cell: Cell, sha256: str) -> bool:
    making = store.making(cell)
    return making is not None and making.provenance.weights_sha256 != sha256
