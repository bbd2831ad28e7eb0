"""The notes under a table: what its numbers and intervals are, and how its models were made."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from baselines import method
from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.tunings import finetune
from benchmark.data import dataset_info
from benchmark.evaluation import evaluation, sanity
from benchmark.models import arch
from benchmark.plans.scales import Scale, of_recipe
from benchmark.plans.states import State
from benchmark.records.cells import Cell
from benchmark.records.plugins import not_loaded
from benchmark.records.records import WARNING, flagged, not_valid
from benchmark.report.intervals import RESAMPLES
from benchmark.report.view import Setting, View

_BETTER = "bold, in text *: the better of two rows whose difference has a 95 % interval that excludes 0"
SeedsBySetting = Mapping[Setting, tuple[int, ...]]


def seeds_by_setting(cells: Iterable[Cell]) -> SeedsBySetting:
    """The seeds of each dataset, network and method among `cells`."""
    found: dict[Setting, dict[int, None]] = {}
    for cell in cells:
        found.setdefault(Setting(cell.dataset, cell.arch, cell.method), {})[cell.seed] = None
    return {setting: tuple(seeds) for setting, seeds in found.items()}


def notes(
    view: View, cells: Sequence[Cell], *, differences: bool = False, bold: str = _BETTER
) -> list[str]:
    """What a reader of a table of `cells` has to know; `differences`: it has rows of them, and `bold`
    entries."""
    scale, seeds = view.scale, seeds_by_setting(cells)
    several = {len(own) > 1 for own in seeds.values()}
    stale = Counter(not_loaded(record.spec) for record in view.on_disk(cells, State.STALE))
    lines = []
    if count := stale.pop(None, 0):
        lines.append(f"stale records left out: {count}; `--dry-run` lists them")
    lines += [f"records left out: {count}, {why}" for why, count in stale.items()]
    remarks = _remarks(view, cells)
    lines += [remark for remark in remarks if remark.startswith(WARNING)]
    lines += _begun(view, cells)
    lines += [
        f"scale {scale.name}: {scale.summary}",
        f"accuracy in percent; {_seeds(seeds)}",
        *([bold] if differences else []),
        *_readings(cells),
        *_shortened(scale, {cell.method for cell in cells}),
        *_brackets(several),
        *([_paired(several)] if differences else []),
    ]
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        info = dataset_info(dataset)
        specs = {name: evaluation(name).spec(info) for name in scale.evaluations}
        known = (evaluation(name).note(info) for name in specs if specs[name] is not None)
        if parts := [note for note in known if note]:
            lines.append(f"{info.label}: {'; '.join(parts)}")
        if missing := [name for name in specs if specs[name] is None]:
            lines.append(f"{info.label} has no {', '.join(missing)}")
    if zeros := sanity.zeros(view.on_disk(cells, State.DONE)):
        lines.append("; ".join(zeros))
    return [*lines, *(remark for remark in remarks if not remark.startswith(WARNING))]


def _begun(view: View, cells: Sequence[Cell]) -> Iterator[str]:
    """Which seeds are on record where others are missing, so that no number of all is shown.

    Of fine-tunings, where the table has any: a base model alone shows no more.
    """
    tuned = [cell for cell in cells if not cell.is_base] or cells
    there = seeds_by_setting(cell for cell in tuned if any(view.on_disk([cell], State.DONE)))
    for setting, asked in seeds_by_setting(cells).items():
        known = there.get(setting, asked)
        if len(known) < len(asked):
            some = ",".join(map(str, sorted(known)))
            yield (
                f"{_model(setting)}: on record are seeds {some} of {', '.join(map(str, asked))}; "
                f"--seeds {some} shows what is there of all of these"
            )


def _model(setting: Setting) -> str:
    dataset, network, used = setting
    return f"{method(used).label}, {arch(network).label} on {dataset_info(dataset).label}"


def _seeds(seeds: SeedsBySetting) -> str:
    """Of which seeds numbers are, and where these differ, which models have them."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for setting, own in seeds.items():
        by_seeds.setdefault(own, []).append(_model(setting))
    *few, most = sorted(by_seeds, key=lambda own: len(by_seeds[own]))
    parts = [f"{_spread(own)} ({'; '.join(by_seeds[own])})" for own in few]
    return "; ".join([*parts, _spread(most) + (" (all others)" if few else "")])


def _spread(seeds: Sequence[int]) -> str:
    how = (
        "mean ± standard deviation over seeds"
        if len(seeds) > 1
        else "one seed, with its 95 % interval over test images"
    )
    return f"seeds {', '.join(str(seed) for seed in seeds)}: {how}"


def _brackets(several: Collection[bool]) -> list[str]:
    """What the intervals of accuracies are over, and what they do not say; `several`: of several seeds,
    of one, or of both kinds."""
    words = {
        True: "in the CSV: 95 % t interval of the mean over seeds (ddof = 1, cut at 0 and 100): what "
        "training again changes, on the same test images; none where all seeds agree exactly",
        False: "in brackets: 95 % interval over test images (Wilson's where an image is right or "
        f"wrong, else a percentile bootstrap, {RESAMPLES:,} resamples) for the weights as they are: "
        "what training again changes is not in it",
    }
    where = {True: "several seeds, ", False: "one seed, "} if len(several) > 1 else {}
    return [f"{where.get(each, '')}{words[each]}" for each in words if each in several]


def _paired(several: Collection[bool]) -> str:
    """How the intervals of differences are taken, and what they are for."""
    words = {True: "seed by seed", False: "image by image, by a bootstrap over images"}
    how = ", or of one seed ".join(words[each] for each in words if each in several)
    return (
        f"intervals of differences are paired, {how}: compare two rows by their difference, not by "
        "whether their own intervals overlap"
    )


def _remarks(view: View, cells: Sequence[Cell]) -> list[str]:
    """Remarks of records; of those that differ in numbers only the first stands for all."""
    alike: dict[str, list[tuple[str, Cell]]] = {}
    for cell in cells:
        for record in view.on_disk([cell], State.DONE):
            for remark in record.remarks:
                alike.setdefault(re.sub(r"\d+", "#", remark), []).append((remark, cell))
    return [
        f"{found[0][0]} ({len({cell for _, cell in found})} of {len(cells)} models"
        + ("; numbers of the first)" if len({remark for remark, _ in found}) > 1 else ")")
        for found in alike.values()
    ]


def _readings(cells: Iterable[Cell]) -> list[str]:
    """Who chose what on which data, for each protocol among `cells`."""
    used = {finetune(cell.finetune).protocol.suffix for cell in cells if not cell.is_base}
    return [f"{name}: {p.summary}" for name, p in PROTOCOLS.items() if p.suffix in used]


def _shortened(scale: Scale, methods: Collection[str]) -> list[str]:
    """What the scale changes against the published recipes of `methods`."""
    parts = {
        "training": scale.training,
        "fine-tuning": scale.finetuning,
        "criticality": scale.criticality,
    }
    parts |= {f"training of {name}": of_recipe(own) for name, own in scale.networks.items()}
    own = {name: of_recipe(own) for name, own in scale.recipes.items() if name in methods}
    parts |= {f"training by {method(name).label}": overrides for name, overrides in own.items()}
    changes = [
        f"{part} {', '.join(f'{name} {value}' for name, value in overrides.items())}"
        for part, overrides in parts.items()
        if overrides
    ]
    return [f"unlike the paper: {'; '.join(changes)}"] if changes else []


def chosen(view: View, cells: Sequence[Cell], tuning: str, label: str) -> list[str]:
    """Which modules the row `label` fine-tuned, and its alpha* by seed, for each dataset and network.

    Also how many modules have no valid MRC, and in how many modules' ascent the constraint was never
    reached: their MRC is a lower estimate.
    """
    lines, several = [], len({cell.dataset for cell in cells}) > 1
    for dataset, name in dict.fromkeys((cell.dataset, cell.arch) for cell in cells):
        picked = [c for c in cells if (c.dataset, c.arch, c.finetune) == (dataset, name, tuning)]
        by_seed = {cell.seed: making for cell in picked if (making := view.finetuning(cell))}
        if not by_seed or finetune(tuning).selector.everything:
            continue
        makings, on = list(by_seed.values()), f" on {dataset_info(dataset).label}" if several else ""
        modules = Counter(_named(making.modules) for making in makings)
        which = "; ".join(f"{m} ({n} of {len(makings)} seeds)" for m, n in modules.most_common())
        alphas = ", ".join(f"{making.alpha:.2f}" for making in makings)
        some = f"of seeds {', '.join(map(str, by_seed))}:" if len(by_seed) < len(picked) else "by seed"
        lines.append(f"{label}, {arch(name).label}{on}: {which}; alpha* {some} {alphas}")
        released = finetune(tuning).protocol.released_order
        remarks = {
            "MRC a lower estimate for {} modules (constraint not reached)": flagged,
            "no valid MRC for {} modules (ascent diverged or ended lower than it began), "
            + ("ranked as the released code does" if released else "not ranked"): not_valid,
        }
        total = len(makings[0].criticality or [])
        for remark, of in remarks.items():
            found = [of(making.criticality or []) for making in makings]
            if any(found):
                counts = ", ".join(str(len(modules)) for modules in found)
                lines[-1] += "; " + remark.format(f"{counts} of {total}")
    return lines


def _named(modules: Sequence[str]) -> str:
    """The names of a few modules, the number of many."""
    if len(modules) > _FEW_MODULES:
        return f"{len(modules)} modules"
    return ", ".join(sorted(modules)) or "no module"


def chosen_on(scale: Scale, finetunes: Sequence[str]) -> str:
    """For a title: what sets `scale` apart, and which data chose epochs and alpha*."""
    data = {name: finetune(name).selects_on for name in finetunes}
    if len(set(data.values())) == 1:
        return f"{scale.apart} (epochs and alpha* chosen on {_SELECTS_ON[data[finetunes[0]]]})"
    parts = (
        f"on {label}: {', '.join(name for name in finetunes if data[name] == key)}"
        for key, label in _SELECTS_ON.items()
    )
    return f"{scale.apart} (epochs and alpha* chosen {'; '.join(parts)})"


_FEW_MODULES = 5
_SELECTS_ON = {"test": "test images", "hold-out": "a hold-out"}
