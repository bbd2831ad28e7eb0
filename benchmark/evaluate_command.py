"""`python -m benchmark evaluate`: a user's own checkpoint, evaluated like the suite's own models."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmark.console import (
    ArtifactsOption,
    CompileOption,
    DataOption,
    DeviceOption,
    LimitOption,
    PrecisionOption,
    ResultsOption,
    ThreadsOption,
    guarded,
    limited_evaluations,
    listed_evaluations,
    say,
)
from benchmark.data import CIFAR10, TINY_IMAGENET, DatasetInfo, dataset_info
from benchmark.display import display
from benchmark.errors import UserError
from benchmark.models import Arch, arch
from benchmark.precision import asked, use
from benchmark.robustbench_adapter import PREFIX, ZooArch, named_zoo_arch
from benchmark.store import Store
from benchmark.sweep import cores

NORMALISATIONS = {
    "none": ((0.0,), (1.0,)),
    "cifar10": (CIFAR10.mean, CIFAR10.std),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": (TINY_IMAGENET.mean, TINY_IMAGENET.std),
}
DATASETS_OWN = "dataset"


@guarded
def evaluate(
    weights: Annotated[
        Path,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="A safetensors file, or a state dict that torch.save wrote (.pt, .pth), bare or in a "
            "dict; loaded strictly and without running code.",
        ),
    ],
    arch_name: Annotated[
        str,
        typer.Option(
            "--arch",
            metavar="A",
            help="Its network, such as resnet18; see `list`. Or one of RobustBench's zoo by its id, as "
            "robustbench:Rice2020Overfitting; ids for L2 as robustbench:L2/ID.",
        ),
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="D", help="The dataset it was trained on; see `list`.")
    ],
    normalization: Annotated[
        str,
        typer.Option(
            "--normalization",
            metavar="N",
            help="What the network does to pixels in [0,1] first: `dataset` (what this suite trains "
            "with), `none` (the checkpoints of TRADES, MART), `cifar10`, `cifar100`, `imagenet`, or "
            "mean/std as in 0.5,0.5,0.5/0.25,0.25,0.25. Networks of RobustBench normalise themselves.",
        ),
    ] = DATASETS_OWN,
    evaluations: Annotated[
        str | None,
        typer.Option(
            "--evaluations",
            metavar="LIST",
            help="Comma-separated names, see `list`. Default: clean, pgd10x3, and corruptions-15 if "
            "the published files are there, else corruptions-15-gen-v1.",
        ),
    ] = None,
    limit: LimitOption = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What to call the model in results/. Default: file name and hash."),
    ] = None,
    entry: Annotated[
        str | None,
        typer.Option("--entry", help="The entry to take, if the file holds several state dicts."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            "--drop", metavar="PREFIX", help="Leave out entries, such as the WRN's unused sub_block1."
        ),
    ] = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    compiled: CompileOption = False,
    results: ResultsOption = Path("results"),
    artifacts: ArtifactsOption = Path("artifacts"),
    data_dir: DataOption = Path("data"),
) -> None:
    """Evaluate a checkpoint of your own and keep records of it.

    Every evaluation continues where a stopped run was; what is on record is not made again.
    """
    import torch

    from benchmark.own_model import OwnModel, evaluate_own
    from benchmark.work import torch_device

    network, info = _network(arch_name, dataset_info(dataset), normalization)
    wanted = limited_evaluations(_evaluations(evaluations, info, data_dir), limit)
    own = OwnModel(weights, network, info, name, entry, tuple(drop or ()))
    store, key = Store(results, artifacts), own.cell(own.name or own.stem).key
    torch.set_num_threads(threads or cores())
    use(asked(precision, compiled))
    with display(Console(stderr=True), 1, 1) as shown:

        def progress(stage: str, done: int, total: int, note: str = "") -> None:
            shown.update(0, key, stage, done, total, note)

        store.check_writable(10)
        evaluated = evaluate_own(
            own,
            wanted,
            directory=data_dir,
            store=store,
            device=torch_device(device),
            progress=progress,
        )
        shown.finish(0, key, 1)
    for note in evaluated.notes:
        say(f"{weights.name}: {note}")
    for record in evaluated.records.values():
        typer.echo(f"{evaluated.cell.key}  {record.summary}")
        for remark in record.remarks:
            if remark not in evaluated.notes:
                say(f"{record.evaluation}: {remark}")
    say(f"records: {store.results / 'records' / evaluated.cell.key}")


def _network(name: str, info: DatasetInfo, normalization: str) -> tuple[Arch | ZooArch, DatasetInfo]:
    """The architecture of that name, and `info` with what is done to pixels before they enter it."""
    if not name.startswith(PREFIX):
        return arch(name), _normalised(info, normalization)
    if normalization != DATASETS_OWN:
        raise UserError(
            f"--normalization '{normalization}': networks of RobustBench normalise pixels themselves; "
            "leave it out"
        )
    return named_zoo_arch(name, info.name), _normalised(info, "none")


def _evaluations(named: str | None, info: DatasetInfo, data_dir: Path) -> tuple[str, ...]:
    if named is not None:
        return listed_evaluations(named)
    official = info.corruptions is not None and (data_dir / info.corruptions).is_dir()
    corruptions = "corruptions-15" if official else "corruptions-15-gen-v1"
    return "clean", "pgd10x3", corruptions


def _normalised(info: DatasetInfo, how: str) -> DatasetInfo:
    if how == DATASETS_OWN:
        return info
    if how in NORMALISATIONS:
        mean, std = NORMALISATIONS[how]
    else:
        try:
            mean, std = (tuple(float(v) for v in part.split(",")) for part in how.split("/"))
        except ValueError as error:
            known = ", ".join((DATASETS_OWN, *NORMALISATIONS))
            raise UserError(
                f"--normalization '{how}' is none of {known}, nor mean/std such as 0.5/0.25"
            ) from error
    mean, std = (v * info.channels if len(v) == 1 else v for v in (mean, std))
    if not len(mean) == len(std) == info.channels or not all(0 < value < 100 for value in std):
        raise UserError(
            f"--normalization '{how}': {info.label} needs {info.channels} means and as many positive "
            "standard deviations"
        )
    return replace(info, mean=mean, std=std)
