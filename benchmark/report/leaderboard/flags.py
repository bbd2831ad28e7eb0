"""What a reader of a leaderboard's entry should be warned of."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from benchmark.engine.recipes import pixel_units, same_radius
from benchmark.evaluation import evaluation, sanity
from benchmark.evaluation.first import first_images
from benchmark.records.records import Finetuning, flagged, not_valid
from benchmark.report.leaderboard.models import Model
from benchmark.report.leaderboard.schema import FlagKind, Number

Flags = Iterator[tuple[FlagKind, str]]
Twins = Mapping[tuple[str, int, str], Sequence[str]]
"""Ids of models with equal weights, by base model's id, seed and weights hash."""


def twins_of(models: Iterable[Model]) -> Twins:
    """Which of `models` have the same weights; a base model comes before what is fine-tuned."""
    found: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    for model in sorted(models, key=lambda each: (each.tuning is not None, each.id)):
        for seed, weights in model.weights.items():
            found[model.base_id, seed, weights].append(model.id)
    return found


def flags(
    model: Model, twins: Twins, numbers: Mapping[str, Number], elsewhere: Collection[str]
) -> Flags:
    """The flags of an entry, gravest first; the same one may come twice.

    `elsewhere` names evaluations that were of other images than those of most of its board.
    """
    for name in sorted(model.records):
        for record in model.of(name):
            for warning in record.warnings:
                yield "warning", f"{name}, seed {record.cell.seed}: {warning}"
    if elsewhere:
        names = ", ".join(sorted(elsewhere))
        yield "other-images", f"judged on other images than the rest and not ranked: {names}"
    yield from _few_seeds(model, numbers)
    yield from _checkouts(model)
    yield from _made_elsewhere(model)
    if model.chosen_on == "test":
        text = "epochs and alpha* were chosen on test images, which favours what was chosen"
        yield "chosen-on-test", text
    yield from _criticality(model)
    yield from _same_weights(model, twins)
    for text in sanity.zeros(model.every_record, at_least=1):
        yield "zero-gradients", text
    for known in map(evaluation, numbers):
        if (images := first_images(known)) is not None:
            yield "subset", f"{known.label} is of the first {images:,} test images only"


def _few_seeds(model: Model, numbers: Mapping[str, Number]) -> Flags:
    wanted = model.scale_seeds
    short: dict[tuple[int, ...], list[str]] = {}
    for name, number in numbers.items():
        if missing := tuple(seed for seed in wanted if seed not in number.seeds):
            short.setdefault(missing, []).append(name)
    for missing, names in short.items():
        seeds = ", ".join(str(seed) for seed in missing)
        text = f"{len(wanted) - len(missing)} of the scale's {len(wanted)} seeds"
        yield "seeds", f"{text} (without {seeds}): {', '.join(names)}"


def _checkouts(model: Model) -> Flags:
    files = [(record.evaluation, record.provenance) for record in model.every_record]
    files += [("making", making.provenance) for making in model.makings.values()]
    changed = {name for name, made in files if made.dirty}
    unknown = {name for name, made in files if made.commit is None}
    for text, names in (
        ("made in a checkout with changes that were not committed", changed),
        ("made outside a git checkout, of an unknown version", unknown),
    ):
        if names:
            yield "changed-checkout", f"{text}: {', '.join(sorted(names))}"


def _made_elsewhere(model: Model) -> Flags:
    known, name = model.checkpoint, model.cell.method if model.own else model.cell.checkpoint
    if name is None:
        return
    if known is None:
        what = "is" if model.own else "starts from"
        text = f"{what} '{name}', which is not in the registry of checkpoints: its training is unknown"
        yield "made-elsewhere", text
        return
    if not model.own:
        yield "made-elsewhere", f"starts from '{name}': {known.what}"
    if known.extra_data:
        yield "extra-data", f"'{name}' was trained with data beside the training set"
    if not same_radius(known.eps, model.info.threat.eps):
        ours = pixel_units(model.info.threat.eps)
        yield "other-eps", f"'{name}' was trained at eps {known.eps} and is evaluated at {ours}"
    if known.dataset != model.cell.dataset:
        text = f"'{name}' was trained on {known.dataset} and is evaluated on {model.cell.dataset}"
        yield "other-dataset", text


def _criticality(model: Model) -> Flags:
    for seed, making in sorted(model.makings.items()):
        details = making.details
        if not isinstance(details, Finetuning) or not details.criticality:
            continue
        modules = f"of {len(details.criticality)} modules, whose ascent"
        if lost := len(not_valid(details.criticality)):
            why = "diverged or ended lower than it began"
            yield "ascent", f"seed {seed}: no valid MRC for {lost} {modules} {why}"
        if loose := len(flagged(details.criticality)):
            why = "never met its constraint"
            yield "constraint", f"seed {seed}: MRC is a lower estimate for {loose} {modules} {why}"


def _same_weights(model: Model, twins: Twins) -> Flags:
    if model.tuning is None:
        return
    for seed, weights in sorted(model.weights.items()):
        first = next((name for name in twins[model.base_id, seed, weights] if name != model.id), None)
        if first is not None:
            yield "same-weights", f"has the very weights of {first}/seed{seed}, and so its results"
