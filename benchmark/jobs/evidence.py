"""The evidence of a scale on disk: which seeds are there, measuring another and filing it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import UserError
from benchmark.plans.scales import Scale
from benchmark.plans.states import stale_evidence
from benchmark.records.cells import Cell
from benchmark.records.evidence import Evidence, SeedEvidence, evidence, evidence_path
from benchmark.records.files import inside, locked, write_atomically
from benchmark.records.store import Store

if TYPE_CHECKING:
    from benchmark.plans.running import Run


@dataclass(frozen=True)
class EvidenceFile:
    """The evidence on disk of `scale`, which has all its seeds; which may be stale if `replaceable`."""

    store: Store
    scale: Scale
    replaceable: bool

    @property
    def path(self) -> Path:
        return evidence_path(self.store.results, self.scale.stem)

    def read(self) -> tuple[Evidence | None, dict[int, str]]:
        """Return what is on disk, and why seeds in it are stale."""
        found = evidence(self.store.results, self.scale.stem)
        return found, {} if found is None else stale_evidence(found, self.store, self.scale)

    def fresh(self) -> list[SeedEvidence]:
        """Return the seeds on disk that fit today's models. Raises `UserError` for stale ones."""
        found, stale = self.read()
        if stale and not self.replaceable:
            raise UserError(
                f"'{self.path}' is stale: {next(iter(stale.values()))}; --redo-stale moves it to "
                "results/superseded and measures again"
            )
        return [] if found is None else [each for each in found.seeds if each.seed not in stale]

    def has(self, cell: Cell) -> bool:
        return cell.key in {each.key for each in self.fresh()}

    def measure(self, run: "Run") -> None:
        """Measure and file the evidence of the fine-tuned cell of `run`, unless it is there."""
        from benchmark.jobs import theorems

        if not self.has(run.plan.cell):
            self._add(theorems.measure(run))

    def _add(self, each: SeedEvidence) -> None:
        """File one more seed. A file with stale evidence is superseded, not lost."""
        with locked(inside(self.store.artifacts / "evidence.lock", self.store.artifacts)):
            seeds = {one.seed: one for one in self.fresh()} | {each.seed: each}
            found, stale = self.read()
            for old in found.seeds if found else ():
                if old.seed in stale:
                    folder = self.store.results / "superseded" / old.spec_hash[:12] / "evidence"
                    old_file = folder / self.path.name
                    write_atomically(old_file, self.path.read_bytes(), self.store.results)
            cell = Cell.parse(each.key)
            whole = Evidence(
                scale=self.scale.stem,
                dataset=cell.dataset,
                arch=cell.arch,
                method=cell.method,
                seeds=tuple(seeds[seed] for seed in sorted(seeds)),
            )
            content = (whole.model_dump_json(indent=1) + "\n").encode()
            write_atomically(self.path, content, self.store.results)
