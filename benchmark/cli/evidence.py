"""`python -m benchmark evidence`: measures what `records.evidence` describes, files and shows it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout
from rich.console import Console

from benchmark.cli.figures import CHEAPEST
from benchmark.cli.options import (
    ArtifactsOption,
    CompileOption,
    DataOption,
    DeviceOption,
    MemoryOption,
    PrecisionOption,
    ResultsOption,
    ThreadsOption,
    guarded,
    say,
    write_result,
)
from benchmark.cli.progress import display
from benchmark.cli.work import (
    MEGABYTES,
    CollectOption,
    ContinueOption,
    DryRunOption,
    FromOption,
    JobsOption,
    RedoOption,
    ScaleOption,
    chosen_scale,
    finish,
    work_on,
    working_options,
)
from benchmark.engine.takeover import Takeover
from benchmark.errors import UserError
from benchmark.jobs.sweep import Failure, Options
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.plans.states import evidence_cells, stale_evidence
from benchmark.records import evidence as filed
from benchmark.records.cells import Cell
from benchmark.records.evidence import Evidence, SeedEvidence, evidence_path
from benchmark.records.store import Store
from benchmark.report.theorems import text

SeedsOption = Annotated[
    str | None,
    typer.Option("--seeds", metavar="LIST", help="Only these of the scale's seeds, e.g. 0,2."),
]


@guarded
def evidence(
    scale: ScaleOption = "quick",
    seeds: SeedsOption = None,
    from_checkpoint: FromOption = None,
    collect: CollectOption = False,
    dry_run: DryRunOption = False,
    redo_stale: RedoOption = False,
    continue_anyway: ContinueOption = False,
    jobs: JobsOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
    compiled: CompileOption = False,
    memory: MemoryOption = None,
    results: ResultsOption = Path("results"),
    artifacts: ArtifactsOption = Path("artifacts"),
    data_dir: DataOption = Path("data"),
) -> None:
    """Test two theorems on the first dataset, network and method of a scale: does the robust loss rise
    by at most MRC inside the ball (3.1), and does MRC stay when a layer is rescaled (A.4)?

    Makes the RiFT cells that are missing, measures seed by seed, prints what was measured and writes it
    to results/evidence/.
    """
    whole, chosen = (
        dataclasses.replace(
            chosen_scale(scale, which, from_checkpoint=from_checkpoint, precision=precision),
            evaluations=CHEAPEST,
        )
        for which in (None, seeds)
    )
    store, cells = Store(results, artifacts), evidence_cells(chosen)
    own = [cell.seed for cell in evidence_cells(whole)]
    if unknown := [cell.seed for cell in cells if cell.seed not in own]:
        known = ", ".join(map(str, own))
        raise UserError(f"scale '{whole.name}' has no seed {unknown[0]}; it has {known}")
    takeover = Takeover(continue_anyway, redo_stale)
    options = working_options(
        store, chosen, data_dir, device, threads, precision, compiled, memory, takeover
    )
    kept = _Kept(store, whole, redo_stale or dry_run or collect)
    kept.fresh()
    failures = work_on(cells, chosen, options, jobs=jobs, dry_run=dry_run, collect=collect)
    if failures is None:
        return
    if not collect:
        failed = {failure.key for failure in failures}
        able = [cell for cell in cells if not failed & {cell.key, cell.base.key}]
        failures += _measure(able, chosen, options, kept)
    kept.show()
    finish(failures)


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The evidence on disk of `scale`, which has all its seeds. Stale evidence is refused unless it is
    `replaceable`."""

    store: Store
    scale: Scale
    replaceable: bool

    @property
    def path(self) -> Path:
        return evidence_path(self.store.results, self.scale.stem)

    def fresh(self) -> list[SeedEvidence]:
        """The seeds on disk that are of today's models. Raises `UserError` for stale ones."""
        found = filed.evidence(self.store.results, self.scale.stem)
        if found is None:
            return []
        reasons = stale_evidence(found, self.store, self.scale)
        if reasons and not self.replaceable:
            raise UserError(
                f"'{self.path}' is stale: {next(iter(reasons.values()))}; --redo-stale moves it to "
                "results/superseded and measures again"
            )
        return [each for each in found.seeds if each.seed not in reasons]

    def add(self, each: SeedEvidence) -> None:
        """File the evidence of one more seed. A file with stale evidence is superseded, not lost."""
        self.store.artifacts.mkdir(parents=True, exist_ok=True)
        with FileLock(self.store.artifacts / "evidence.lock"):
            seeds = {one.seed: one for one in self.fresh()} | {each.seed: each}
            cell = Cell.parse(each.key)
            found = Evidence(
                scale=self.scale.stem,
                dataset=cell.dataset,
                arch=cell.arch,
                method=cell.method,
                seeds=tuple(seeds[seed] for seed in sorted(seeds)),
            )
            self._supersede()
            write_result(self.path, (found.model_dump_json(indent=1) + "\n").encode())

    def _supersede(self) -> None:
        found = filed.evidence(self.store.results, self.scale.stem)
        if found is None:
            return
        for seed in stale_evidence(found, self.store, self.scale):
            old = next(each.spec_hash for each in found.seeds if each.seed == seed)
            folder = self.store.results / "superseded" / old[:12] / "evidence"
            write_result(folder / self.path.name, self.path.read_bytes())

    def show(self) -> None:
        """Print what is on disk, and say what of it is stale or missing."""
        found = filed.evidence(self.store.results, self.scale.stem)
        if found is None:
            say(f"no evidence at scale '{self.scale.stem}'; leave out --collect to measure it")
            return
        typer.echo(text(found))
        for reason in stale_evidence(found, self.store, self.scale).values():
            say(f"stale: {reason}")
        measured = {each.seed for each in found.seeds}
        seeds = [cell.seed for cell in evidence_cells(self.scale)]
        if lacking := [str(seed) for seed in seeds if seed not in measured]:
            say(f"not measured: seed {', '.join(lacking)}")


def _measure(cells: Sequence[Cell], scale: Scale, options: Options, kept: _Kept) -> list[Failure]:
    """Measure and file the evidence of those of `cells` that have none; returns what failed."""
    done = {each.key for each in kept.fresh()}
    missing = [cell for cell in cells if cell.key not in done]
    if not missing:
        return []
    options.store.check_writable(MEGABYTES)
    from benchmark.jobs.theorems import measure
    from benchmark.jobs.worker import Worker, failure
    from benchmark.plans.running import Run

    failures: list[Failure] = []
    with display(Console(stderr=True), 1, len(missing)) as bars:
        worker = Worker(scale, options, lambda *event: bars.update(0, *event))
        for cell in missing:

            def progress(
                stage: str, done: int, total: int, note: str = "", key: str = cell.key
            ) -> None:
                bars.update(0, key, stage, done, total, note)

            lock = options.store.lock(cell)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                progress("waiting for another process", 0, 1)
                lock.acquire()
            try:
                if cell.key not in {each.key for each in kept.fresh()}:
                    data = worker.dataset(cell.dataset)
                    shared = options.store, progress, options.memory, options.takeover
                    run = Run(Plan.of(cell, scale), data, *shared)
                    kept.add(measure(run))
                bars.finish(0, cell.key, 1)
            except Exception as error:  # noqa: BLE001 - any failure is this seed's alone
                failures.append(failure(cell.key, error))
            finally:
                lock.release()
    return failures
