"""The entry of a model on a board: its names, numbers, cost and flags."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from baselines import METHODS
from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.tunings import AND, TUNINGS, Finetune
from benchmark.errors import UserError
from benchmark.models import arch
from benchmark.posthoc import forward_method
from benchmark.records.records import Applied, Finetuning, Provenance, Training
from benchmark.report.leaderboard.flags import Twins, flags
from benchmark.report.leaderboard.models import Model
from benchmark.report.leaderboard.schema import (
    BoardEntry,
    CheckpointLink,
    Cost,
    EntryProtocol,
    Flag,
    Number,
    Paper,
)

RIFT = ("Zhu et al., 2023", "https://arxiv.org/abs/2308.02533")


def entry_of(
    model: Model,
    base: Model | None,
    twins: Twins,
    numbers: Mapping[str, Number],
    elsewhere: Collection[str],
    results: Path,
) -> BoardEntry:
    """The entry of `model`, made from `base`, whose records are in the tree `results`.

    `elsewhere` names evaluations that were of other images than usual.
    """
    made = {seed: making.details for seed, making in sorted(model.makings.items())}
    tuned = {seed: each for seed, each in made.items() if isinstance(each, Finetuning)}
    provenance = [
        *(record.provenance for record in model.every_record),
        *(making.provenance for making in model.makings.values()),
    ]
    flagged = dict.fromkeys(flags(model, twins, numbers, elsewhere))
    return BoardEntry(
        id=model.id,
        label=_label(model),
        dataset=model.cell.dataset,
        arch=model.cell.arch,
        arch_label=_arch_label(model.cell.arch),
        method=_method(model),
        method_label=_method_label(model),
        finetune=model.cell.finetune,
        protocol=_protocol(model),
        papers=_papers(model),
        extra_data=_extra_data(model),
        scale_seeds=model.scale_seeds,
        alphas={seed: each.alpha for seed, each in tuned.items()},
        modules={seed: tuple(each.modules) for seed, each in tuned.items()},
        numbers=dict(numbers),
        cost=_cost(model, base),
        commits=tuple(sorted({each.commit for each in provenance if each.commit})),
        flags=tuple(Flag(kind=kind, text=text) for kind, text in flagged),
        records=f"records/{model.id}",
        checkpoint=_checkpoint(model, results),
    )


def _method(model: Model) -> str | None:
    if not model.own:
        return model.cell.method
    return model.checkpoint.method if model.checkpoint else None


def _method_label(model: Model) -> str:
    return METHODS[name].label if (name := _method(model)) in METHODS else "other"


def _papers(model: Model) -> tuple[Paper, ...]:
    """Papers of the training, or of its registered checkpoint, and of what was done to it."""
    known, trained = model.checkpoint, METHODS.get(_method(model) or "")
    found = [trained.paper] if trained and trained.paper else []
    if known and known.link:
        found = [(known.name, known.link)]
    if model.tuning is not None:
        found += _of_tuning(model.tuning)
    return tuple(Paper(authors=authors, link=link) for authors, link in found)


def _of_tuning(tuned: Finetune) -> list[tuple[str, str]]:
    """Its own paper, else RiFT's, whose controls have none; both for a module on RiFT's weights."""
    _, name = tuned.entry
    if tuned.forward is None:
        return [(name in TUNINGS and TUNINGS[name].paper) or RIFT]
    own = forward_method(tuned.forward).paper
    return ([RIFT] if AND in tuned.tuning else []) + ([own] if own else [])


def _extra_data(model: Model) -> bool | None:
    if not model.own and model.cell.checkpoint is None:
        return False
    return model.checkpoint.extra_data if model.checkpoint else None


def _label(model: Model) -> str:
    if model.own:
        return model.cell.method
    return " + ".join([_method_label(model), *([model.tuning.name] if model.tuning else [])])


def _arch_label(name: str) -> str:
    try:
        return arch(name).label
    except UserError:  # a network of RobustBench's zoo
        return name


def _protocol(model: Model) -> EntryProtocol:
    if model.tuning is not None:
        used = model.tuning.protocol
        name = next(name for name, known in PROTOCOLS.items() if known is used)
        summary = used.summary
    elif model.own or model.cell.checkpoint:
        name = "elsewhere"
        summary = "trained elsewhere; what is known is in the registry of checkpoints"
    else:
        data = {"test": "test images", "hold-out": "a tenth of the training images, never trained on,"}
        name, summary = "base", f"adversarial training; {data[model.chosen_on]} chose the epoch"
    return EntryProtocol(name=name, summary=summary, chosen_on=model.chosen_on)


def _cost(model: Model, base: Model | None) -> Cost:
    trained = _made(base, Training)
    tuned = _made(model, Finetuning, Applied)
    used = {
        f"{each.device}, {each.threads} thread{'s' * (each.threads > 1)}" for each in trained + tuned
    }
    return Cost(base_seconds=_mean(trained), finetune_seconds=_mean(tuned), devices=tuple(sorted(used)))


def _made(model: Model | None, *kinds: type) -> list[Provenance]:
    makings = model.makings.values() if model else ()
    return [making.provenance for making in makings if isinstance(making.details, kinds)]


def _mean(made: Sequence[Provenance]) -> float | None:
    return round(statistics.fmean(each.seconds for each in made), 1) if made else None


def _checkpoint(model: Model, results: Path) -> CheckpointLink | None:
    known = model.kept or model.checkpoint
    if known is None:
        return None
    # A link from the leaderboard's folder leads to the file only where the registry lies beside it.
    beside = known.kind == "path" and known.root == results.resolve().parent
    place = f"../{known.source}" if beside else next(iter(known.urls), known.link)
    starts_from = model.kept is None and not model.own
    return CheckpointLink(name=known.name, what=known.what, link=place, starts_from=starts_from)
