"""What was found, scale by scale, in Markdown: all numbers from records, all with an interval."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from tabulate import tabulate

from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.data import dataset_info
from benchmark.evaluation import evaluation
from benchmark.evaluation.first import FIRST, first_images
from benchmark.models import arch
from benchmark.plans.named import unknown_names
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell, base_name
from benchmark.records.records import Making, Provenance, Record, Training
from benchmark.records.store import Store
from benchmark.report.check.case import RIFT
from benchmark.report.check.claims import claim_findings
from benchmark.report.check.published_schema import Published
from benchmark.report.check.verdicts import worst_first
from benchmark.report.estimates import Estimate
from benchmark.report.markup import markdown
from benchmark.report.tables.audit import AUDITED, SIMPLER, audit_cells
from benchmark.report.tables.layout import average_change, columns, mean_alpha
from benchmark.report.tables.posthoc import RIVALS, numbers, rival_cells
from benchmark.report.tables.render import MISSING, brackets
from benchmark.report.view import View

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
what training again would change. Nothing corrects for multiple comparisons: where nothing differs, 1 in
20 excludes 0. [docs/findings.md](../docs/findings.md) discusses it, and
[docs/records.md](../docs/records.md) says what each file is, and `croissant.json` describes the columns
of `leaderboard.csv` to machines. Images are not in here: a record holds which of them a model gets
right."""
Changes = dict[str, tuple[str, list[Estimate | None]]]
"""By fine-tuning: its numbers, such as alpha*, and the change of each accuracy (fraction)."""


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


FINE_TUNED = (
    "rift-alpha-1",
    "bn-only-alpha-1",
    "rift-bn-frozen-alpha-1",
    "random-layer-alpha-1",
    "last-layer-alpha-1",
    "robust-critical-alpha-1",
    "all-layers-alpha-1",
)
"""What is shown as fine-tuned, before a rule has chosen how much of it is kept."""


@dataclass(frozen=True)
class AtScale:
    """What is on record at one scale: under the evaluations of the audit, and of post-hoc methods.

    An evaluation that no model has a record of gives way to the same on fewer images, if there is one.
    """

    name: str
    audited: View
    among: View
    gains: Changes
    tuned: Changes
    rivals: Changes

    @classmethod
    def of(cls, store: Store, name: str, scale: Scale) -> Self:
        """What `store` has of the first model of `scale`, which stands as `name` in keys."""
        cells = audit_cells(scale, (*AUDITED, *SIMPLER))
        tuned, rivals = audit_cells(scale, FINE_TUNED), rival_cells(scale.for_posthoc, RIVALS)
        audited = View(store, replace(scale, evaluations=_there(store, cells, scale.for_audit)))
        posthoc = scale.for_posthoc
        among = View(store, replace(posthoc, evaluations=_there(store, rivals, posthoc.evaluations)))
        found = changes(audited, cells), changes(audited, tuned), changes(among, rivals)
        return cls(name, audited, among, *found)

    def in_short(self) -> Iterator[str]:
        """What RiFT gains, in a line."""
        for view, found in ((self.audited, self.gains), (self.among, self.rivals)):
            if found.get(RIFT):
                shown = zip(columns(view.scale), map(_shown, found[RIFT][1]), strict=True)
                gains = ", ".join(f"{head} {text}" for head, text in shown if text != MISSING)
                yield f"- RiFT at `{self.name}`: {gains}."
                return

    def sections(self, published: Published) -> Iterator[str]:
        """The paragraphs and tables about the scale; none where no fine-tuning is on record."""
        view = self.audited
        if not (self.gains or self.tuned or self.rivals):
            return
        first = f"{arch(view.scale.archs[0]).label} on {dataset_info(view.scale.datasets[0]).label}"
        yield f"## `{self.name}`: {markdown(first)}"
        yield f"{markdown(view.scale.summary)}. {_made(view.store, self.name)}"
        if self.gains:
            yield _in_words(view, self.gains)
            yield "Gain over adversarial training, in points:"
            yield _table(view, self.gains, "alpha*")
        if self.tuned:
            yield "The same as fine-tuned, before the rule chooses:"
            yield _table(view, self.tuned, "alpha")
        if self.rivals.keys() - self.gains.keys():
            yield "Post-training methods on the same weights ([how](../docs/posthoc.md)), in points:"
            yield _table(self.among, self.rivals, "numbers")
        if claims := _claims(view, published):
            yield "Claims of the papers (`check` prints each case, and those without any record):"
            yield tabulate(claims, ("claim", "verdict", "cases", "claimed"), "pipe")


def _there(store: Store, cells: Sequence[Cell], wanted: Sequence[str]) -> tuple[str, ...]:
    """`wanted` evaluations, or those of the most of the first images that `cells` have instead."""
    there = {name for cell in cells for name in store.names(cell)}

    def found(name: str) -> str:
        whole = name.partition(FIRST)[0]
        fewer = [each for each in there if each.startswith(whole + FIRST)]
        most = max(fewer, key=lambda each: first_images(evaluation(each)) or 0, default=name)
        return name if name in there else most

    return tuple(dict.fromkeys(map(found, wanted)))


def changes(view: View, cells: Sequence[Cell]) -> Changes:
    """Each fine-tuning of `cells` minus its base model, of those with a record of both."""
    found: Changes = {}
    for name in dict.fromkeys(cell.finetune for cell in cells):
        own, base = ([c for c in cells if c.finetune == each] for each in (name, base_name(name)))
        pairs = [(view.records(own, each), view.records(base, each)) for each in view.scale.evaluations]
        moved = [average_change(view.store, [one], [two]) for one, two in pairs]
        if name != base_name(name) and any(moved):
            found[name] = mean_alpha(view, own) or numbers(view, own), moved
    return found


def _shown(change: Estimate | None) -> str:
    if change is None:
        return MISSING
    value = f"{100 * change.mean:+z.2f}"
    if change.interval is None:
        return f"{value} (no interval)"
    shown = f"{value} {brackets(change.interval, signed=True)}"
    return f"**{shown}**" if change.interval.sign else shown


def _table(view: View, gains: Changes, numbered: str) -> str:
    """The changes by fine-tuning; an accuracy that none has a record of is left out."""
    texts = [(name, how, *map(_shown, moved)) for name, (how, moved) in gains.items()]
    heads = ("method", numbered, *columns(view.scale))
    kept = [column for column in zip(heads, *texts, strict=True) if {*column[1:]} != {MISSING}]
    shown, *rows = zip(*kept, strict=True)
    align = ["left", "left"] + ["right"] * (len(kept) - 2)
    return tabulate(rows, shown, "pipe", colalign=align, disable_numparse=True)


def _in_words(view: View, gains: Changes) -> str:
    """Where RiFT in its readings, and what else was fine-tuned, moves an accuracy beyond 0."""
    heads, lines = columns(view.scale), []
    for kind, own in (("Readings of RiFT", True), ("Controls", False)):
        for side, word in ((-1, "lose"), (1, "gain")):
            parts = [
                f"`{name}` {head} {_shown(change).strip('*')}"
                for name, (_, moved) in gains.items()
                for head, change in zip(heads, moved, strict=True)
                if (name in PROTOCOLS) == own and change and change.interval
                if change.interval.sign == side
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
    return (
        f"{len(cells)} models with {records} records, {len(trained)} trained adversarially in "
        f"{hours:.1f} hours; made on {', '.join(places)}."
    )


def _place(made: Provenance) -> str:
    torch = made.versions.get("torch", "")
    return made.device + (f" with torch {torch.partition('+')[0]}" if torch else "")
