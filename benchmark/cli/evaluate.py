"""`python -m benchmark evaluate`: a checkpoint, evaluated like the suite's own models."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.checkpoints.networks import AS_THE_DATASET, network
from benchmark.checkpoints.registry import checkpoint
from benchmark.cli.options import (
    Computing,
    LimitOption,
    Places,
    begin,
    command,
    listed,
    say,
    show,
)
from benchmark.cli.progress import working_on
from benchmark.data import dataset_info
from benchmark.data.info import DatasetInfo
from benchmark.engine.precision import asked, use
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.first import limited
from benchmark.jobs.tasks import cores
from benchmark.report.tables.render import summary


@command
def evaluate(
    computing: Computing,
    places: Places,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A safetensors file, or a state dict that torch.save wrote (.pt, .pth), bare or in a "
            "dict; loaded strictly and without running code.",
        ),
    ] = None,
    registered: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="NAME",
            help="A registered checkpoint, see `checkpoints list`, instead of --weights and the flags "
            "that say how to read it.",
        ),
    ] = None,
    arch_name: Annotated[
        str | None,
        typer.Option(
            "--arch",
            metavar="A",
            help="Its network, such as resnet18; see `list`. Or a library's by its name there, as "
            "timm:resnet18 and torchvision:resnet18. Or one of RobustBench's zoo by its id, as "
            "robustbench:Rice2020Overfitting; ids for L2 as robustbench:L2/ID.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="D", help="The dataset it was trained on; see `list`.")
    ] = None,
    normalization: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="What the network does to pixels in [0,1] first: `dataset` (what this suite trains "
            "with), `none` (the checkpoints of TRADES, MART), `cifar10`, `cifar100`, `imagenet`, or "
            "mean/std as in 0.5,0.5,0.5/0.25,0.25,0.25. Networks of RobustBench normalise themselves.",
        ),
    ] = AS_THE_DATASET,
    evaluations: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Comma-separated names, see `list`. Default: clean, pgd10x3, and corruptions-15 if "
            "the published files are there, else corruptions-15-gen-v2.",
        ),
    ] = None,
    limit: LimitOption = None,
    name: Annotated[
        str | None,
        typer.Option(help="What to call the model in results/. Default: file name and hash."),
    ] = None,
    entry: Annotated[
        str | None, typer.Option(help="The entry to take, if the file holds several state dicts.")
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="Leave out entries, such as the WRN's unused sub_block1."),
    ] = None,
) -> None:
    """Evaluate a checkpoint of your own, or one of the registry, and keep records of it.

    Every evaluation continues where a stopped run was; what is on record is not made again.
    """
    import torch

    from benchmark.engine.device import torch_device
    from benchmark.jobs.checkpoint import ModelFile, evaluate_model_file, registered_model

    if registered is not None:
        reading = (weights, arch_name, dataset, name, entry, drop or None)
        if any(value is not None for value in reading) or normalization != AS_THE_DATASET:
            raise UserError(
                "--checkpoint says what --weights, --arch, --dataset, --normalization, --name, --entry "
                "and --drop would say; leave them out"
            )
        own = registered_model(checkpoint(registered), places.data_dir)
    elif weights is None or arch_name is None or dataset is None:
        raise UserError("name a file by --weights, --arch and --dataset, or a registered --checkpoint")
    else:
        chosen, info = network(arch_name, dataset_info(dataset), normalization)
        own = ModelFile(weights, chosen, info, name, entry, tuple(drop or ()))
    wanted = [limited(each, limit) for each in _evaluations(evaluations, own.info, places.data_dir)]
    store = places.store
    torch.set_num_threads(computing.threads or cores())
    use(asked(computing.precision, bool(computing.compiled)))
    begin(store, 10)
    evaluated = evaluate_model_file(
        own,
        wanted,
        directory=places.data_dir,
        store=store,
        device=torch_device(computing.device or "cpu"),
        progress=working_on,
    )
    for note in evaluated.notes:
        say(f"{own.weights.name}: {note}")
    for record in evaluated.records.values():
        show(f"{evaluated.cell.key}  {summary(store, record)}")
        for remark in record.remarks:
            if remark not in evaluated.notes:
                say(f"{record.evaluation}: {remark}")
    say(f"records: {store.results / 'records' / evaluated.cell.key}")


def _evaluations(named: str | None, info: DatasetInfo, data_dir: Path) -> tuple[str, ...]:
    if named is not None:
        return listed(named, evaluation)
    official = info.corruptions is not None and (data_dir / info.corruptions).is_dir()
    corruptions = "corruptions-15" if official else "corruptions-15-gen-v2"
    return "clean", "pgd10x3", corruptions
