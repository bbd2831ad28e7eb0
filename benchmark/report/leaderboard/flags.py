"""What a reader of a leaderboard's entry should be warned of."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from math import isclose

from benchmark.engine.recipes import pixel_units
from benchmark.evaluation import evaluation, sanity
from benchmark.evaluation.first import First
from benchmark.records.records import Finetuning, flagged, not_valid
from benchmark.report.leaderboard.models import Model
from benchmark.report.leaderboard.schema import Flag, Number


def flags(
    model: Model,
    others: Iterable[Model],
    numbers: Mapping[str, Number],
    elsewhere: Collection[str],
) -> tuple[Flag, ...]:
    """The flags of an entry, gravest first.

    `others` are models of the same base model; `elsewhere` names evaluations that were of other images
    than those of most of its board.
    """
    found = [
        *_warnings(model),
        *_other_images(elsewhere),
        *_few_seeds(model, numbers),
        *_checkouts(model),
        *_made_elsewhere(model),
        *_chosen_on(model),
        *_criticality(model),
        *_same_weights(model, others),
        *_zero_gradients(model),
        *_subsets(numbers),
    ]
    return tuple(dict.fromkeys(found))


def _warnings(model: Model) -> Iterator[Flag]:
    for name in sorted(model.records):
        for record in model.of(name):
            for warning in record.warnings:
                yield Flag(kind="warning", text=f"{name}, seed {record.cell.seed}: {warning}")


def _other_images(elsewhere: Collection[str]) -> Iterator[Flag]:
    if elsewhere:
        text = f"judged on other images than the rest and not ranked: {', '.join(sorted(elsewhere))}"
        yield Flag(kind="other-images", text=text)


def _few_seeds(model: Model, numbers: Mapping[str, Number]) -> Iterator[Flag]:
    wanted = model.scale_seeds
    short: dict[tuple[int, ...], list[str]] = {}
    for name, number in numbers.items():
        if missing := tuple(seed for seed in wanted if seed not in number.seeds):
            short.setdefault(missing, []).append(name)
    for missing, names in short.items():
        seeds = ", ".join(str(seed) for seed in missing)
        text = f"{len(wanted) - len(missing)} of the scale's {len(wanted)} seeds"
        yield Flag(kind="seeds", text=f"{text} (without {seeds}): {', '.join(names)}")


def _checkouts(model: Model) -> Iterator[Flag]:
    files = [(record.evaluation, record.provenance) for record in model.every_record]
    files += [("making", making.provenance) for making in model.makings.values()]
    remarks = {
        "made in a checkout with changes that were not committed": {
            name for name, made in files if made.dirty
        },
        "made outside a git checkout, of an unknown version": {
            name for name, made in files if made.commit is None
        },
    }
    for text, names in remarks.items():
        if names:
            yield Flag(kind="changed-checkout", text=f"{text}: {', '.join(sorted(names))}")


def _made_elsewhere(model: Model) -> Iterator[Flag]:
    known, name = model.checkpoint, model.cell.method if model.own else model.cell.checkpoint
    if name is None:
        return
    what = "is" if model.own else "starts from"
    if known is None:
        text = f"{what} '{name}', which is not in the registry of checkpoints: its training is unknown"
        yield Flag(kind="made-elsewhere", text=text)
        return
    if not model.own:
        yield Flag(kind="made-elsewhere", text=f"starts from '{name}': {known.what}")
    if known.extra_data:
        yield Flag(kind="extra-data", text=f"'{name}' was trained with data beside the training set")
    if not isclose(known.eps_value, model.info.threat.eps):
        ours = pixel_units(model.info.threat.eps)
        text = f"'{name}' was trained at eps {known.eps} and is evaluated at {ours}"
        yield Flag(kind="other-eps", text=text)
    if known.dataset != model.cell.dataset:
        text = f"'{name}' was trained on {known.dataset} and is evaluated on {model.cell.dataset}"
        yield Flag(kind="other-dataset", text=text)


def _chosen_on(model: Model) -> Iterator[Flag]:
    if model.chosen_on == "test":
        text = "epochs and alpha* were chosen on test images, which favours what was chosen"
        yield Flag(kind="chosen-on-test", text=text)


def _criticality(model: Model) -> Iterator[Flag]:
    for seed, making in sorted(model.makings.items()):
        details = making.details
        if not isinstance(details, Finetuning) or not details.criticality:
            continue
        modules = f"of {len(details.criticality)} modules"
        if lost := not_valid(details.criticality):
            why = "whose ascent diverged or ended lower than it began"
            text = f"seed {seed}: no valid MRC for {len(lost)} {modules}, {why}"
            yield Flag(kind="ascent", text=text)
        if loose := flagged(details.criticality):
            why = "whose ascent never met its constraint"
            text = f"seed {seed}: MRC is a lower estimate for {len(loose)} {modules}, {why}"
            yield Flag(kind="constraint", text=text)


def _same_weights(model: Model, others: Iterable[Model]) -> Iterator[Flag]:
    """Of a fine-tuned model only; the base model is named before others of the same weights."""
    if model.tuning is None:
        return
    ordered = sorted(others, key=lambda other: (other.tuning is not None, other.id))
    for seed, weights in sorted(model.weights.items()):
        if same := [other.id for other in ordered if other.weights.get(seed) == weights]:
            text = f"has the very weights of {same[0]}/seed{seed}, and so its results"
            yield Flag(kind="same-weights", text=text)


def _zero_gradients(model: Model) -> Iterator[Flag]:
    for text in sanity.zeros(model.every_record, at_least=1):
        yield Flag(kind="zero-gradients", text=text)


def _subsets(numbers: Mapping[str, Number]) -> Iterator[Flag]:
    for name in numbers:
        known = evaluation(name)
        if isinstance(known, First):
            text = f"{known.label} is of the first {known.images:,} test images only"
            yield Flag(kind="subset", text=text)
