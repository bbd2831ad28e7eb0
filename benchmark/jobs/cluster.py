"""Base models as jobs of a Slurm cluster: submitted together, each once, and requeued at time limits.

A job's name is its lock: Slurm starts no second one of its user (`--dependency=singleton`). File locks
are not taken, since many shared file systems do not hold them between nodes. Slurm requeues a job whose
node fails or is preempted; a job that nears its limit requeues itself (`benchmark.jobs.node`).
"""

import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data.info import TINY_IMAGENET
from benchmark.engine.takeover import Takeover
from benchmark.errors import UserError, installing
from benchmark.jobs.node import NodeWork, Show, measure, train
from benchmark.jobs.queue import Parts, Queued, folder, mark, queue
from benchmark.jobs.tasks import Options, Task
from benchmark.plans.plan import Plan
from benchmark.plans.scales import Scale
from benchmark.records.files import at_home, read_toml, write_atomically
from benchmark.records.store import Store

if TYPE_CHECKING:
    from benchmark.plans.running import Run

_OF_A_KIND: tuple[tuple[str, type, str], ...] = (
    ("time", int, "say minutes, such as time=1440"),
    ("timeout_min", int, "say minutes, such as timeout_min=1440"),
    ("signal_delay_s", int, "say seconds, such as signal_delay_s=120"),
    ("cpus_per_task", int, "say a number, such as cpus_per_task=8"),
    ("cpus_per_gpu", int, "say a number, such as cpus_per_gpu=8"),
    ("additional_parameters", dict, "that is a table of a TOML file"),
)
"""What submitit counts with, of which kind, and what to say."""
FOREVER = 10**6
"""Time limits that a job may reach."""
_OURS = (
    "array",
    "dependency",
    "job_name",
    "name",
    "nodes",
    "ntasks",
    "ntasks_per_node",
    "stderr_to_stdout",  # `status` reads what is on standard error
    "tasks_per_node",
    "use_srun",
)
_IN_FULL = {"timeout_min": "time", "mem_gb": "mem"}
_INSTEAD = {
    "gpus_per_node": ("gres", "gpus_per_task", "num_gpus"),
    "cpus_per_task": ("cpus_per_gpu",),
    "mem": ("mem_per_cpu", "mem_per_gpu"),
}
"""Alternatives to a default parameter, which Slurm refuses together with it."""


@dataclass(frozen=True)
class Cluster:
    """What the user asks of Slurm: parameters of submitit's executor, and how work is cut into jobs.

    `split`: measurements of criticality and fine-tunings are jobs of their own. At most `limit` jobs
    run at once (None: as many as Slurm lets).
    """

    parameters: Mapping[str, Any]
    split: bool = False
    limit: int | None = None

    @classmethod
    def of(cls, settings: Sequence[str], *, split: bool, limit: int | None) -> "Cluster":
        """Read `settings`: NAME=VALUE, or a TOML file of them. Raises `UserError` for other text."""
        read: dict[str, Any] = {}
        for text in settings:
            name, is_set, value = text.partition("=")
            if is_set:  # 0123 is the name of an account
                is_number = value.isdecimal() and str(int(value)) == value
                read[name] = int(value) if is_number else value
            else:
                read |= read_toml(at_home(Path(text)), "file or NAME=VALUE of --slurm")
        for name, kind, like in _OF_A_KIND:
            if not isinstance(read.get(name, kind()), kind):
                raise UserError(f"--slurm {name}={read[name]}: {like}")
        more = {name.replace("-", "_") for name in read.get("additional_parameters", {})}
        if fixed := sorted((read.keys() | more) & set(_OURS)):
            raise UserError(f"--slurm {fixed[0]}: the suite sets that itself; leave it out")
        for name in {"setup", "teardown"} & read.keys():
            read[name] = [read[name]] if isinstance(read[name], str) else read[name]
        return cls({_IN_FULL.get(name, name): value for name, value in read.items()}, split, limit)

    def of_job(self, task: Task, device: str) -> dict[str, Any]:
        """The parameters of the job of `task`: the user's, else what its dataset and `device` need."""
        large = task.base.dataset == TINY_IMAGENET.name
        own = {"time": 24 * 60, "cpus_per_task": 8, "mem": 24 if large else 8, "wckey": None}
        own |= {} if device == "cpu" else {"gpus_per_node": 1}
        for name, others in _INSTEAD.items():
            if self.parameters.keys() & set(others):
                own.pop(name, None)
        whole: dict[str, Any] = own | dict(self.parameters)
        if isinstance(whole.get("mem"), int | float):
            whole["mem"] = f"{int(1024 * whole['mem'])}M"
        if "cpus_per_task" in whole:  # srun does not take it over from sbatch
            given = f"--cpus-per-task={whole['cpus_per_task']}"
            more = whole.get("srun_args", ())
            whole["srun_args"] = [given, *(shlex.split(more) if isinstance(more, str) else more)]
        ours = {"requeue": True, "kill-on-invalid-dep": "yes"}
        return whole | {"additional_parameters": ours | whole.get("additional_parameters", {})}


@dataclass(frozen=True)
class Step:
    """The work of one job: cells of a base model, after the steps called `needs`."""

    name: str
    task: Task
    make: Callable[["Run"], None] | None = None
    needs: tuple[str, ...] = ()

    def parts(self, scale: Scale) -> Parts:
        """The records that it makes; none if it makes what others begin with."""
        cells = () if self.make else self.task.cells
        return {cell.key: list(scale.evaluations) for cell in cells}

    def is_in(self, jobs: Sequence[Queued], scale: Scale) -> bool:
        """Whether `jobs` make all that it makes."""
        if self.make:
            return self.name in {job.name for job in jobs}
        there = {(key, name) for job in jobs for key, names in job.parts.items() for name in names}
        return there >= {(key, name) for key, names in self.parts(scale).items() for name in names}

    def shares_base_with(self, job: Queued) -> bool:
        """Whether `job`, another one, works on the same base model."""
        base = self.task.base.key
        keys = {cell.key for cell in self.task.cells}
        return job.name != self.name and (job.base == base or bool(keys & job.parts.keys()))


def steps(task: Task, scale: Scale, store: Store, *, split: bool) -> list[Step]:
    """The jobs of `task`: one, or, if `split`, one each for the base model, every measurement and every
    tuning; first, the second network of a mix, which several base models may share."""
    base = task.base
    plans = {cell: Plan.of(cell, scale) for cell in task.cells}
    found = {
        second.key: Step(second.key, Task(second, (second,)), train)
        for plan in plans.values()
        if plan.partner and not store.has_weights(second := plan.partner.cell)
    }
    if not split:
        return [*found.values(), Step(base.key, task, None, tuple(found))]
    if base in task.cells:
        found[base.key] = Step(base.key, Task(base, (base,)))
    elif not store.has_weights(base):
        found[base.key] = Step(base.key, Task(base, (base,)), train)
    # A job can wait for those before it: what is tuned comes before the modules that are made of it.
    for cell, plan in sorted(plans.items(), key=lambda pair: pair[1].forward is not None):
        needs = [base.key, *([plan.partner.cell.key] if plan.partner else [])]
        if plan.forward and plan.before.finetune:
            needs.append(replace(cell, finetune=plan.before.finetune.tuning).key)
        if (chosen := plan.finetune) is None:
            continue
        if chosen.selector.needs_criticality:
            name = f"{base.key}+{chosen.measured_in(plan.criticality.stage)}"
            found.setdefault(name, Step(name, Task(base, (cell,)), measure, tuple(needs)))
            needs.append(name)
        name = replace(cell, finetune=chosen.tuning).key
        others = found[name].task.cells if name in found else ()
        found[name] = Step(name, Task(base, (*others, cell)), None, tuple(needs))
    return list(found.values())


def submit(
    tasks: Sequence[Task], scale: Scale, options: Options, cluster: Cluster, show: Show
) -> tuple[int, int]:
    """Submit the jobs of `tasks` not yet queued; return how many those are and how many were queued.

    Everything that the jobs need is checked first. Raises `UserError` for what is missing here and
    for what Slurm refuses.
    """
    store = options.store
    there = sorted(queue(store), key=lambda job: int(job.id.partition("_")[0]))
    todo = [step for task in tasks for step in steps(task, scale, store, split=cluster.split)]
    todo = [step for step in todo if not step.is_in(there, scale)]
    if todo:
        from benchmark.jobs.worker import refuse_missing

        refuse_missing([step.task for step in todo], scale, options)
    once: dict[str, Step] = {}
    for step in todo:  # of two of a name the one that makes records, too
        if step.name not in once or once[step.name].make:
            once[step.name] = step
    ids, lanes = {job.name: job.id for job in there}, [job.id for job in there]
    for step in once.values():
        after = [f"afterok:{ids[name]}" for name in step.needs if name in ids]
        if step.task.base.key not in step.needs:
            after += [f"afterany:{job.id}" for job in there if step.shares_base_with(job)]
        if cluster.limit is not None and len(lanes) >= cluster.limit:
            after.append(f"afterany:{lanes[-cluster.limit]}")
        ids[step.name] = _submit(step, scale, options, cluster, show, ["singleton", *after])
        lanes.append(ids[step.name])
    return len(once), len(there)


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Hide what Slurm has told this process of the job that it may itself be in.

    sbatch hands its environment on: srun would bind the new job to the processors of this one, and
    submitit look for its work under the number of this one's array.
    """
    told = [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_CONF"]
    hidden = {name: os.environ.pop(name) for name in told} if "SLURM_JOB_ID" in told else {}
    try:
        yield
    finally:
        os.environ |= hidden


def _submit(
    step: Step, scale: Scale, options: Options, cluster: Cluster, show: Show, after: Sequence[str]
) -> str:
    try:
        import submitit
    except ImportError as error:
        raise UserError(f"--slurm needs submitit; {installing('slurm')}") from error
    from benchmark.engine.provenance import machine_versions

    store = Store(options.store.results.resolve(), options.store.artifacts.resolve())
    where, parameters = folder(store) / step.name, cluster.of_job(step.task, options.device)
    own = replace(
        options,
        store=store,
        data=options.data.resolve(),
        threads=options.threads or parameters.get("cpus_per_task", parameters.get("cpus_per_gpu", 1)),
        takeover=Takeover(True, options.takeover.redo_stale),  # on another kind of node
        make=step.make,
    )
    grace = max(1, int(parameters.get("signal_delay_s", 90)) - 30)
    work = NodeWork(step.task, scale, own, machine_versions(), show, grace)
    try:
        executor = submitit.SlurmExecutor(where, max_num_timeout=FOREVER)
        name = step.name + mark(store)
        executor.update_parameters(**parameters, job_name=name, dependency=",".join(after))
        with _outside_of_a_job():
            number = str(executor.submit(work).job_id)
    except (ValueError, TypeError, RuntimeError) as error:  # submitit's own are RuntimeErrors
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(f"Slurm or submitit refuses {step.name}: {' '.join(lines)[:300]}") from error
    write_atomically(where / f"{number}.json", json.dumps(step.parts(scale)).encode())
    return number
