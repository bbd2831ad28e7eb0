"""A model card: what a checkpoint is and scores, how it was made, how to load it, what it is not.

Its text is `model_card.md.j2` beside this file.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from baselines import adversarial, method
from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.data import dataset_info
from benchmark.evaluation import evaluation
from benchmark.evaluation.first import FIRST
from benchmark.models import arch
from benchmark.records.applied import Applied
from benchmark.records.cells import Cell
from benchmark.records.records import Checkpoint, Finetuning, Making, Record
from benchmark.records.store import Store
from benchmark.report.estimates import accuracy
from benchmark.report.markup import markdown
from benchmark.report.tables.render import number_and_interval

CHOICE = {
    "test": "on test images, as in the RiFT paper, so that its numbers flatter it a little",
    "hold-out": "on training images that were held out; no test image chose anything",
    "unknown": "in a way that is not known",
}


def model_card(entry: CheckpointEntry, making: Making, records: Sequence[Record], store: Store) -> str:
    """Markdown about the network of `entry`, a cell of this suite made by `making`.

    Numbers are those of `records`, with their 95 % intervals. Raises `UserError` for records whose bits
    are not theirs.
    """
    from jinja2 import Environment, StrictUndefined

    assert entry.cell is not None
    cell = Cell.parse(entry.cell)
    environment = Environment(  # noqa: S701 - Markdown for a repository, of its own records
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: markdown(value, marks=True) if isinstance(value, str) else value,
    )
    return environment.from_string(Path(__file__).with_suffix(".md.j2").read_text()).render(
        entry=entry,
        info=dataset_info(entry.dataset),
        arch=arch(entry.arch).label,
        method=method(cell.method).label,
        attacked=adversarial(cell.method),
        choice=CHOICE[entry.selects_on],
        made=making.provenance,
        is_module=isinstance(making.details, Applied),
        numbers=[
            (
                f"{evaluation(record.evaluation).label} (`{record.evaluation}`)",
                number_and_interval(accuracy(store, [record])),
                f"{record.k:,} of {record.n:,}",
            )
            for record in records
        ],
        how_made=list(how_made(making)),
        normalised=entry.normalization != "dataset",
        limits=list(_limits(entry, cell, records)),
    )


def how_made(making: Making) -> Iterator[str]:
    """Epochs, selection, modules and alpha, and the recipe's values."""
    details = making.details
    if isinstance(details, Checkpoint):
        yield f"weights of the checkpoint {details.name}: {details.what}"
        yield from details.notes
    elif isinstance(details, Finetuning):
        modules = ", ".join(f"`{module}`" for module in details.modules) or "no module"
        yield f"fine-tuned from its adversarially trained base: {modules}"
        yield f"interpolated to alpha {details.alpha:g} (0: the base, 1: as fine-tuned)"
    elif isinstance(details, Applied):
        chosen = ", ".join(f"{name} {value:g}" for name, value in details.numbers.items())
        yield f"a module of {details.module['forward']['type']}: {chosen or 'no number'}"
        yield from details.remarks
    else:
        yield (
            f"trained for {len(details.epochs)} epochs; epoch {details.best_epoch} was kept, by "
            f"{details.best.k} of {details.best.n} images right"
            f"{' under PGD-10' if adversarial(making.cell.method) else ''}"
        )
    if recipe := base_spec(making.spec).get("recipe"):
        values = {name: value for name, value in recipe.items() if name not in ("type", "version")}
        parts = (
            f"{name} {'/'.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in values.items()
        )
        kind = "adversarial training" if adversarial(making.cell.method) else "training"
        yield f"recipe of the {kind}: {', '.join(parts)}"
    yield f"spec hash `{making.spec_hash}`, weights hash `{making.provenance.weights_sha256}`"


def base_spec(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The spec of the adversarially trained base in the spec of any cell."""
    if spec["type"] == "module":
        return base_spec(spec["on"])
    found: Mapping[str, Any] = spec["tuning"]["base"] if spec["type"] == "finetune" else spec
    return found


def _limits(entry: CheckpointEntry, cell: Cell, records: Sequence[Record]) -> Iterator[str]:
    names = [record.evaluation for record in records]
    if cell.scale != "paper":
        yield (
            f"No network of the RiFT paper: the scale `{cell.scale}` is not its setting, and these "
            "numbers are not to be held against its own."
        )
    yield (
        f"No defence beyond Linf perturbations of {entry.eps}, and certified against none of them."
        if adversarial(cell.method)
        else "No defence against perturbations: trained on clean images only."
    )
    yield "A subject of experiments about robustness, not a classifier for use."
    if any("gen-v2" in name for name in names):
        yield "`gen-v2` corruptions are this suite's own, not the published CIFAR-10-C and its like."
    if any("-first-" in name for name in names):
        yield "`-first-N` is of the first N test images only; its interval says how little that is."
    whole = [evaluation(name).family or "" for name in names if FIRST not in name]
    if not any(family.startswith("AutoAttack") for family in whole):  # alone, or with more to it
        yield "Not evaluated by AutoAttack on the whole test set; PGD-10 overestimates robustness."
