"""A model card: what a checkpoint is and scores, how it was made, how to load it, what it is not."""

from collections.abc import Mapping, Sequence
from typing import Any

from baselines import method
from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.data import dataset_info
from benchmark.evaluation import evaluation
from benchmark.models import arch
from benchmark.records.cells import Cell
from benchmark.records.records import Checkpoint, Finetuning, Making, Record, Training
from benchmark.records.store import Store
from benchmark.report.estimates import accuracy
from benchmark.report.tables.render import brackets, percent

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
    assert entry.cell is not None
    cell, info = Cell.parse(entry.cell), dataset_info(entry.dataset)
    made = making.provenance
    facts = {
        "file": f"`{entry.file}`, safetensors, {entry.size:,} bytes",
        "sha256": f"`{entry.sha256}`",
        "cell": f"`{entry.cell}`",
        "dataset": f"{info.label}, {info.classes} classes, {info.side}x{info.side} pixels",
        "network": f"{arch(entry.arch).label} (`{entry.arch}`), normalises pixels itself",
        "adversarial training": f"{method(cell.method).label}, Linf, eps {entry.eps}",
        "chosen": CHOICE[entry.selects_on],
        "extra data": "yes" if entry.extra_data else "none",
        "made": f"{made.started[:10]}, commit {(made.commit or 'unknown')[:10]}, {made.device}, "
        f"{made.threads} threads, {made.precision}, torch {made.versions.get('torch', 'unknown')}",
        "licence": entry.licence,
    }
    numbers = (f"| {_label(r)} | {_accuracy(store, r)} | {r.k:,} of {r.n:,} |" for r in records)
    parts = [
        f"# {entry.name}",
        entry.what,
        _table(("", ""), (f"| {name} | {text} |" for name, text in facts.items())),
        "## Numbers",
        "Accuracy in percent with its 95 % interval over test images, the weights taken as given.",
        _table(("evaluation", "accuracy", "right"), numbers),
        "## How it was made",
        "\n".join(f"- {line}" for line in how_made(making)),
        "## Load it",
        "\n".join(["```python", *_loading(entry), "```"]),
        f"Or evaluate it: `python -m benchmark evaluate --checkpoint {entry.name}` where it is "
        f"registered, else `python -m benchmark evaluate --weights {entry.file} --arch {entry.arch} "
        f"--dataset {entry.dataset}"
        + ("" if entry.normalization == "dataset" else f" --normalization {entry.normalization}")
        + "`.",
        "## What it is not",
        "\n".join(f"- {line}" for line in _limits(entry, cell, records)),
    ]
    return "\n\n".join(parts) + "\n"


def how_made(making: Making) -> list[str]:
    """The making of a cell in lines: epochs, selection, modules, alpha, and the recipe's values."""
    details, base = making.details, base_spec(making.spec)
    lines = []
    if isinstance(details, Checkpoint):
        lines.append(f"weights of the checkpoint {details.name}: {details.what}")
        lines += details.notes
    elif isinstance(details, Finetuning):
        modules = ", ".join(f"`{module}`" for module in details.modules) or "no module"
        lines.append(f"fine-tuned from its adversarially trained base: {modules}")
        lines.append(f"interpolated to alpha {details.alpha:g} (0: the base, 1: as fine-tuned)")
    else:
        lines.append(_training(details))
    if recipe := base.get("recipe"):
        values = (f"{name} {_value(value)}" for name, value in recipe.items() if _is_plain(name))
        lines.append(f"recipe of the adversarial training: {', '.join(values)}")
    lines.append(f"spec hash `{making.spec_hash}`, weights hash `{making.provenance.weights_sha256}`")
    return lines


def base_spec(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The spec of the adversarially trained base in the spec of any cell."""
    found: Mapping[str, Any] = spec["tuning"]["base"] if spec["type"] == "finetune" else spec
    return found


def _training(details: Training) -> str:
    best = details.best
    return (
        f"trained for {len(details.epochs)} epochs; epoch {details.best_epoch} was kept, by {best.k} "
        f"of {best.n} images right under PGD-10"
    )


def _is_plain(name: str) -> bool:
    return name not in ("type", "version")


def _value(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


def _accuracy(store: Store, record: Record) -> str:
    shown = accuracy(store, [record])
    between = "" if shown.interval is None else f" {brackets(shown.interval, signed=False)}"
    return f"{percent(shown, signed=False)}{between}"


def _label(record: Record) -> str:
    return f"{evaluation(record.evaluation).label} (`{record.evaluation}`)"


def _table(heads: Sequence[str], rows: Any) -> str:
    return "\n".join([f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *rows])


def _loading(entry: CheckpointEntry) -> list[str]:
    info = f'dataset_info("{entry.dataset}")'
    imports = ["from benchmark.data import dataset_info"]
    if entry.normalization != "dataset":
        imports.append("from benchmark.checkpoints.networks import normalised")
        info = f'normalised({info}, "{entry.normalization}")'
    return [
        "from safetensors.torch import load_file",
        *imports,
        "from benchmark.models import build",
        "",
        f'model = build("{entry.arch}", {info}).eval()  # takes pixels in [0, 1]',
        f'model.load_state_dict(load_file("{entry.file}"))',
    ]


def _limits(entry: CheckpointEntry, cell: Cell, records: Sequence[Record]) -> list[str]:
    lines = [
        f"No defence beyond Linf perturbations of {entry.eps}, and certified against none of them.",
        "A subject of experiments about robustness, not a classifier for use.",
    ]
    if cell.scale != "paper":
        lines.insert(
            0,
            f"No network of the RiFT paper: the scale `{cell.scale}` is not its setting, and these "
            "numbers are not to be held against its own.",
        )
    names = [record.evaluation for record in records]
    if any("gen-v2" in name for name in names):
        lines.append(
            "`gen-v2` corruptions are this suite's own, not the published CIFAR-10-C and its like."
        )
    if any("-first-" in name for name in names):
        lines.append(
            "`-first-N` is of the first N test images only; its interval says how little that is."
        )
    if "autoattack" not in names:
        lines.append(
            "Not evaluated by AutoAttack on the whole test set; PGD-10 overestimates robustness."
        )
    return lines
