"""What was found at one scale: what RiFT gains, beside controls and rivals, and how claims stand."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from tabulate import tabulate

from baselines import adversarial
from benchmark.algorithm.tunings import ALPHA_1
from benchmark.data import dataset_info
from benchmark.models import arch
from benchmark.plans.scales import Scale
from benchmark.records.records import Making, Provenance, Record, Training
from benchmark.records.store import Store
from benchmark.report.check.case import RIFT, RIFT_1
from benchmark.report.check.claims import claim_findings
from benchmark.report.check.published_schema import Published
from benchmark.report.check.verdicts import worst_first
from benchmark.report.findings.by_seed import (
    DEFINITIONS,
    agreement,
    by_seed,
    definitions,
    modules_alone,
)
from benchmark.report.findings.comparisons import Comparisons
from benchmark.report.findings.wording import base, changes_table, gains_and_losses, in_a_line
from benchmark.report.markup import markdown
from benchmark.report.tables.audit import AUDITED, SIMPLER, audit_cells
from benchmark.report.tables.posthoc import RIVALS, rival_cells
from benchmark.report.view import View

INSTEAD = ("bn-only", "random-layer", "last-layer", "robust-critical", "all-layers")
"""What could be fine-tuned instead of the least critical module."""

CONTROLS = {"random-layer": "a random module", "bn-only": "batch-norm statistics alone"}
"""Those of `INSTEAD` that the page begins with: no choice of a module, and no training."""

BY_THE_RULE = tuple(dict.fromkeys((*AUDITED, *DEFINITIONS, *INSTEAD, *SIMPLER)))
"""What is shown where a rule has chosen how much of it is kept."""

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
    audited: Comparisons
    tuned: Comparisons
    instead: Comparisons
    among: Comparisons

    @classmethod
    def of(cls, store: Store, name: str, scale: Scale) -> Self:
        """What `store` has of the first model of `scale`, which stands as `name` in keys."""
        audited, posthoc = replace(scale, evaluations=scale.for_audit), scale.for_posthoc
        return cls(
            name,
            View(store, scale),
            Comparisons.of(store, audited, audit_cells(scale, BY_THE_RULE)),
            Comparisons.of(store, audited, audit_cells(scale, FINE_TUNED)),
            Comparisons.of(store, audited, audit_cells(scale, (*INSTEAD, *FINE_TUNED, RIFT)), PAIRS),
            Comparisons.of(store, posthoc, rival_cells(posthoc, RIVALS)),
        )

    def in_short(self) -> Iterator[str]:
        """What RiFT gains, over its base model and over its simplest controls, in a line each."""
        lines = [("RiFT", self.audited if RIFT in self.audited.gains else self.among, RIFT)]
        lines.append(("RiFT as fine-tuned", self.tuned, RIFT_1))
        for control, what in CONTROLS.items():
            for tuned, how in (("", ""), (ALPHA_1, ", as fine-tuned,")):
                lines.append((f"RiFT minus {what}{how}", self.instead, _minus(control, tuned)))
        for what, found, label in lines:
            if label in found.gains:
                yield f"- {what} at `{self.name}`{self._one_seed(found)}{in_a_line(found, label)}."

    def _one_seed(self, found: Comparisons) -> str:
        """Which seed `found` is of, where it is of post-training methods and the scale has several."""
        several = found is self.among and len(self.full.seeds(self.full.first)) > 1
        return f", seed {found.view.scale.seeds[0]}" if several else ""

    def sections(self, published: Published) -> Iterator[str]:
        """The paragraphs and tables about the scale; none where no fine-tuning is on record."""
        scale, audited = self.full.scale, self.audited
        known = [each for each in (audited, self.tuned, self.instead, self.among) if each.gains]
        if not known:
            return
        first = f"{arch(scale.archs[0]).label} on {dataset_info(scale.datasets[0]).label}"
        yield f"## `{self.name}`: {markdown(first)}"
        yield f"{markdown(scale.summary)}. {_made(self.full.store, self.name)}"
        if alone := base(known[0], published, self._one_seed(known[0])):
            yield alone
        if audited.gains:
            yield gains_and_losses(audited)
            yield "Gain over adversarial training, in points:"
            yield changes_table(audited, "alpha")
        if self.tuned.gains:
            yield "The same as fine-tuned, before the rule chooses:"
            yield changes_table(self.tuned, "alpha")
        if self.instead.gains:
            yield "RiFT minus what could be fine-tuned instead of its module, in points:"
            yield changes_table(self.instead, "alpha of RiFT")
        if each := by_seed(audited.view):
            yield "Seed by seed, with intervals over images (AT: accuracy; below it changes in points):"
            yield each
        if alike := agreement(self.full):
            yield alike
        yield from definitions(self.full)
        yield from modules_alone(self.full)
        further = self.among.gains.keys() - audited.gains.keys()
        if further or self.among.evaluations - audited.evaluations:
            what = "Post-training methods ([how](../docs/posthoc.md)), in points, on the same weights"
            yield f"{what}{self._one_seed(self.among)}:"
            yield changes_table(self.among, "numbers")
        gains = (gain for each in known for gain in each.gains.values())
        if warned := dict.fromkeys(text for gain in gains for text in gain.warnings):
            yield "What records behind these numbers warn of:"
            yield "\n".join(f"- {markdown(text)}." for text in warned)
        if claims := _claims(self.full, published):
            yield "Claims of the papers (`check` prints each case, and those without any record):"
            yield tabulate(claims, ("claim", "verdict", "cases", "claimed"), "pipe")


def _claims(view: View, published: Published) -> list[tuple[str, ...]]:
    """Id, verdict, cases and statement of the claims that records say anything of, worst first."""
    found = [each for each in claim_findings(view, published) if each.is_summary]
    shown = [each for each in worst_first(found) if each.behind]
    return [
        (each.id, each.verdict.value, each.why.partition(";")[0], markdown(each.what)) for each in shown
    ]


def _made(store: Store, name: str) -> str:
    """How many models and records there are at the scale `name`, made on what and in what time."""
    cells = [cell for cell in store.cells_on_disk() if cell.scale == name]
    files = [file for cell in cells for file in store.of(cell)]
    records = sum(isinstance(file, Record) for file in files)
    trained = [
        file
        for file in files
        if isinstance(file, Making)
        and isinstance(file.details, Training)
        and adversarial(file.cell.method)  # not the clean network of a mix
    ]
    hours = sum(file.provenance.seconds for file in trained) / 3600
    places = sorted({_place(file.provenance) for file in files})
    models = len({replace(cell, seed=0) for cell in cells})  # seeds are no further models
    trainings = f", {len(trained)} adversarial training{'s' * (len(trained) > 1)} in {hours:.1f} hours"
    made = f"{models} models with {records} records{trainings if trained else ''}"
    return f"{made}; made on {', '.join(places)}."


def _place(made: Provenance) -> str:
    torch = made.versions.get("torch", "")
    return markdown(made.device + (f" with torch {torch.partition('+')[0]}" if torch else ""))
