"""What was found, scale by scale, in Markdown: all numbers from records, all with an interval."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from tabulate import tabulate

from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.tunings import ALPHA_1
from benchmark.data import dataset_info
from benchmark.evaluation import evaluation
from benchmark.models import arch
from benchmark.plans.named import unknown_names
from benchmark.plans.scales import Scale
from benchmark.plans.states import State
from benchmark.records.cells import BASE, Cell
from benchmark.records.records import Making, Provenance, Record, Training
from benchmark.records.store import Store
from benchmark.report.changes import Changes, Gained
from benchmark.report.check.case import RIFT, RIFT_1
from benchmark.report.check.claims import claim_findings
from benchmark.report.check.published_schema import Published
from benchmark.report.check.verdicts import worst_first
from benchmark.report.estimates import Estimate
from benchmark.report.markup import markdown
from benchmark.report.tables.audit import AUDITED, SIMPLER, audit_cells
from benchmark.report.tables.layout import average, columns
from benchmark.report.tables.posthoc import RIVALS, rival_cells
from benchmark.report.tables.render import MISSING, brackets, number_and_interval
from benchmark.report.view import Setting, View

HEAD = """---
license: mit
pretty_name: RiFT benchmark results
task_categories: [image-classification]
tags: [adversarial-robustness, benchmark]
configs:
  - config_name: leaderboard
    data_files: leaderboard.csv
---

# Results: what was found

`python -m benchmark leaderboard` writes this page from the records in this folder; nobody edits it.
Intervals are 95 %: over seeds where there are several, else over test images, and then they do not say
what training again would change. Nothing corrects for multiple comparisons: where nothing differs, 1
in 20 excludes 0. Bold: the interval excludes 0, gain or loss. [docs/findings.md](../docs/findings.md)
discusses it, and [docs/records.md](../docs/records.md) says what each file is, and `croissant.json`
describes the columns of `leaderboard.csv` to machines. Images are not in here: a record holds which of
them a model gets right."""


def findings(store: Store, scales: Mapping[str, Scale | None], published: Published) -> str:
    """The page `results/README.md`: at each of `scales` what RiFT gains, beside controls and rivals,
    and how the papers' claims stand.

    Raises `UserError` for broken records.
    """
    short, parts = list[str](), list[str]()
    for name, scale in scales.items():
        if scale is not None and not unknown_names(vars(scale)):  # else of plug-ins, not loaded
            found = AtScale.of(store, name, scale)
            short += found.in_short()
            parts += found.sections(published)
    return "\n\n".join([HEAD, "\n".join(short), *parts]) + "\n"


INSTEAD = ("bn-only", "random-layer", "last-layer", "robust-critical", "all-layers")
"""What could be fine-tuned instead of the least critical module."""

FINE_TUNED = tuple(name + ALPHA_1 for name in (RIFT, "rift-bn-frozen", *INSTEAD))
"""What is shown as fine-tuned, before a rule has chosen how much of it is kept."""


def _minus(name: str, tuned: str = "") -> str:
    """How a row is called that compares RiFT with `name`, both with the ending `tuned`."""
    return f"{RIFT}{tuned} - {name}{tuned}"


PAIRS = {
    _minus(name, tuned): (RIFT + tuned, name + tuned) for tuned in ("", ALPHA_1) for name in INSTEAD
}


@dataclass(frozen=True)
class AtScale:
    """What is on record at one scale, of which `full` is the view: by the rule of RiFT, as fine-tuned,
    RiFT minus what could be fine-tuned instead, and among post-hoc methods."""

    name: str
    full: View
    audited: Changes
    tuned: Changes
    instead: Changes
    among: Changes

    @classmethod
    def of(cls, store: Store, name: str, scale: Scale) -> Self:
        """What `store` has of the first model of `scale`, which stands as `name` in keys."""
        audited, posthoc = replace(scale, evaluations=scale.for_audit), scale.for_posthoc
        return cls(
            name,
            View(store, scale),
            Changes.of(store, audited, audit_cells(scale, (*AUDITED, *SIMPLER))),
            Changes.of(store, audited, audit_cells(scale, FINE_TUNED)),
            Changes.of(store, audited, audit_cells(scale, (*INSTEAD, *FINE_TUNED, RIFT)), PAIRS),
            Changes.of(store, posthoc, rival_cells(posthoc, RIVALS)),
        )

    def in_short(self) -> Iterator[str]:
        """What RiFT gains, over its base model and over a random module, in a line each."""
        for what, found, label in (
            ("RiFT", self.audited if RIFT in self.audited.gains else self.among, RIFT),
            ("RiFT as fine-tuned", self.tuned, RIFT_1),
            ("RiFT minus a random module", self.instead, _minus("random-layer")),
            (
                "RiFT minus a random module, as fine-tuned,",
                self.instead,
                _minus("random-layer", ALPHA_1),
            ),
        ):
            if gain := found.gains.get(label):
                shown = zip(columns(found.view.scale), _changes(gain), strict=True)
                gains = ", ".join(f"{head} {text}" for head, text in shown if text != MISSING)
                yield f"- {what} at `{self.name}`{_of_seeds(gain)}: {gains}."

    def sections(self, published: Published) -> Iterator[str]:
        """The paragraphs and tables about the scale; none where no fine-tuning is on record."""
        scale, audited = self.full.scale, self.audited
        if not (audited.gains or self.tuned.gains or self.among.gains):
            return
        first = f"{arch(scale.archs[0]).label} on {dataset_info(scale.datasets[0]).label}"
        yield f"## `{self.name}`: {markdown(first)}"
        yield f"{markdown(scale.summary)}. {_made(self.full.store, self.name)}"
        yield _base(audited if audited.gains else self.tuned, published)
        if audited.gains:
            yield _in_words(audited)
            yield "Gain over adversarial training, in points:"
            yield _table(audited, "alpha")
        if self.tuned.gains:
            yield "The same as fine-tuned, before the rule chooses:"
            yield _table(self.tuned, "alpha")
        if self.instead.gains:
            yield "RiFT minus what could be fine-tuned instead of its module, in points:"
            yield _table(self.instead, "alpha of RiFT")
        if self.among.gains.keys() - audited.gains.keys():
            seeds = scale.seeds_of(scale.datasets[0], scale.archs[0], scale.methods[0])
            one = f", seed {self.among.view.scale.seeds[0]}" if len(seeds) > 1 else ""
            what = f"Post-training methods on the same weights{one}"
            yield f"{what} ([how](../docs/posthoc.md)), in points:"
            yield _table(self.among, "numbers")
        if claims := _claims(self.full, published):
            yield "Claims of the papers (`check` prints each case, and those without any record):"
            yield tabulate(claims, ("claim", "verdict", "cases", "claimed"), "pipe")


def _base(found: Changes, published: Published) -> str:
    """Accuracies of the base model, and those of the paper where it has the same network."""
    view, scale = found.view, found.view.scale
    place = Setting(scale.datasets[0], scale.archs[0], scale.methods[0])
    cells = view.cells(place, BASE)
    ours, papers = list[str](), list[str]()
    for name, head in zip(scale.evaluations, columns(scale), strict=True):
        done = [cell for cell in cells if view.state(cell, name) is State.DONE]
        if known := average(view, [done], name):
            seeds = f" ({len(done)} of {len(cells)} seeds)" if len(done) < len(cells) else ""
            ours.append(f"{head} {number_and_interval(known)}{seeds}")
    for row in published.rows:
        of_rift = (row.source, row.where) == ("rift", "Table 1")
        if of_rift and Setting(row.dataset, row.arch, row.method) == place:
            accuracies = {str(evaluation(name).role): value for name, value in row.values.items()}
            values = (f"{role} {100 * value:.2f}" for role, value in accuracies.items())
            papers.append(f"{row.label} {', '.join(values)}")
    printed = f" In the paper: {'; '.join(papers)}." if papers else ""
    return f"AT alone: {', '.join(ours)}.{printed}"


def _of_seeds(gain: Gained) -> str:
    return "" if gain.seeds == MISSING else f" ({gain.seeds} seeds)"


def _changes(gain: Gained) -> Iterator[str]:
    """The changes in points; what fewer seeds have says how many."""
    most = max(len(change.values) for change in gain.moved if change)
    for change in gain.moved:
        fewer = change and len(change.values) < most and f" ({len(change.values)} of {most} seeds)"
        yield _shown(change) + (fewer or "")


def _shown(change: Estimate | None) -> str:
    if change is None:
        return MISSING
    value = f"{100 * change.mean:+z.2f}"
    if change.interval is None:
        return f"{value} (no interval)"
    shown = f"{value} {brackets(change.interval, signed=True)}"
    return f"**{shown}**" if change.sign else shown


def _table(found: Changes, numbered: str) -> str:
    """The changes by fine-tuning; what none has anything of is left out."""
    texts = [
        (name, markdown(gain.numbers), gain.seeds, *_changes(gain))
        for name, gain in found.gains.items()
    ]
    heads = ("method", numbered, "seeds", *columns(found.view.scale))
    kept = [column for column in zip(heads, *texts, strict=True) if {*column[1:]} != {MISSING}]
    shown, *rows = zip(*kept, strict=True)
    align = ["left", "left"] + ["right"] * (len(kept) - 2)
    return tabulate(rows, shown, "pipe", colalign=align, disable_numparse=True)


def _in_words(found: Changes) -> str:
    """Where RiFT in its readings, and what else was fine-tuned, moves an accuracy beyond 0."""
    heads, lines = columns(found.view.scale), []
    for kind, own in (("Readings of RiFT", True), ("Controls and simpler methods", False)):
        gains = {name: gain for name, gain in found.gains.items() if (name in PROTOCOLS) == own}
        for side, word in ((-1, "lose"), (1, "gain")) if gains else ():
            parts = [
                f"`{name}`{_of_seeds(gain)} {head} {shown.replace('*', '')}"
                for name, gain in gains.items()
                for head, change, shown in zip(heads, gain.moved, _changes(gain), strict=True)
                if change and change.sign == side
            ]
            said = "; ".join(parts) or "nothing whose interval excludes 0"
            lines.append(f"- {kind} {word}: {said}.")
    return "\n".join(lines)


def _claims(view: View, published: Published) -> list[tuple[str, ...]]:
    """Id, verdict, cases and statement of the claims that records say anything of, worst first."""
    found = [each for each in claim_findings(view, published) if each.is_summary]
    shown = [each for each in worst_first(found) if each.behind]
    return [
        (each.id, each.verdict.value, each.why.partition(";")[0], markdown(each.what)) for each in shown
    ]


def _made(store: Store, name: str) -> str:
    """How many models and records there are at the scale `name`, made on what and in what time."""
    cells = [Cell.parse(key) for key in store.keys_on_disk() if key.partition("/")[0] == name]
    files = [file for cell in cells for file in store.of(cell)]
    records = sum(isinstance(file, Record) for file in files)
    trained = [
        file for file in files if isinstance(file, Making) and isinstance(file.details, Training)
    ]
    hours = sum(file.provenance.seconds for file in trained) / 3600
    places = sorted({_place(file.provenance) for file in files})
    models = len({replace(cell, seed=0) for cell in cells})  # seeds are no further models
    return (
        f"{models} models with {records} records, {len(trained)} trained adversarially in {hours:.1f} "
        f"hours; made on {', '.join(places)}."
    )


def _place(made: Provenance) -> str:
    torch = made.versions.get("torch", "")
    return markdown(made.device + (f" with torch {torch.partition('+')[0]}" if torch else ""))
