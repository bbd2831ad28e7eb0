"""The flags of Slurm, and what commands do with them instead of working here."""

import dataclasses
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from benchmark.cli.options import say
from benchmark.cli.progress import display
from benchmark.errors import UserError
from benchmark.jobs.cluster import Cluster, submit
from benchmark.jobs.queue import cancel
from benchmark.jobs.tasks import Options, Task
from benchmark.plans.cost import costs
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.records.store import Store

ON = "On a cluster"


class JobOf(StrEnum):
    """What one job makes."""

    BASE = "base"
    TUNING = "tuning"


@dataclasses.dataclass(frozen=True)
class OnSlurm:
    """The flags that hand cells to Slurm; without `slurm`, work is done here."""

    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            rich_help_panel=ON,
            help="Submit what is missing to Slurm, one job per base model, and exit. Takes any "
            "parameter of submitit's SlurmExecutor, such as partition=gpu, timeout_min=1440, "
            "constraint=h100, or a TOML file of them; repeatable (docs/cluster.md).",
        ),
    ] = None
    slurm_split: Annotated[
        JobOf,
        typer.Option(rich_help_panel=ON, help="A job per base model, or per fine-tuning as well."),
    ] = JobOf.BASE
    slurm_limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, rich_help_panel=ON, help="At most N jobs at once.")
    ] = None
    slurm_cancel: Annotated[
        bool,
        typer.Option(
            "--slurm-cancel",
            rich_help_panel=ON,
            help="Cancel the jobs that make these cells, and do nothing else.",
        ),
    ] = False

    def __post_init__(self) -> None:
        """Raise `UserError` for flags of jobs where none are submitted."""
        if not self.on_slurm and (self.slurm_limit is not None or self.slurm_split is not JobOf.BASE):
            raise UserError(
                "--slurm-limit and --slurm-split are of jobs; submit them by --slurm, such as --slurm "
                "partition=gpu"
            )

    @property
    def on_slurm(self) -> bool:
        """Whether nothing is to be made by this process."""
        return self.slurm is not None or self.slurm_cancel

    def hand_over(self, tasks: Sequence[Task], scale: Scale, options: Options) -> None:
        cluster = Cluster.of(
            self.slurm or (), split=self.slurm_split is JobOf.TUNING, limit=self.slurm_limit
        )
        if options.device not in ("cpu", "cuda"):
            raise UserError(f"--device {options.device}: a job has a GPU of its own; say cpu or cuda")
        needed = costs(([cell for task in tasks for cell in task.cells], scale))
        options.store.check_writable(sum(cost.size for cost in needed) // 10**6)
        submitted, there = submit(tasks, scale, options, cluster, display)
        say(
            f"jobs submitted: {submitted}, already in the queue: {there}; `status` shows them, "
            "--slurm-cancel cancels them, running this command again adds what is missing"
        )

    def end(self, plans: Sequence[Plan], store: Store) -> None:
        begins = {part.cell.key for plan in plans for part in plan.made_of if part.cell.is_base}
        say(f"jobs cancelled: {cancel(store, {plan.cell.key for plan in plans}, begins)}")
        raise typer.Exit
