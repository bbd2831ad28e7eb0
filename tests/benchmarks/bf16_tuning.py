"""What fine-tuning in bf16 would change: the committed network fine-tuned in fp32 and in bf16.

    python tests/benchmarks/bf16_tuning.py --data DIR --out FILE

RiFT's module, the statistics of batch normalisation alone, and all layers are trained by the recipe of
the narrow scale, from the same seed in both precisions, and judged at alpha = 1 in fp32: Std, and Adv
by one PGD-10 run from the same starts. The file has the paired differences with 95 % intervals. Some 20
minutes of two cores; a killed call goes on from the folder beside FILE, inside an epoch too.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.algorithm.finetune import trainable_parameters
from benchmark.data import load
from benchmark.data.images import Dataset
from benchmark.engine.counting import (
    RIGHT,
    batch_starts,
    clean_answers,
    clean_count,
    pgd_answers,
    run_seed,
)
from benchmark.engine.precision import BF16, FP32, Precision, has_bf16_units, use
from benchmark.engine.provenance import device_name, machine_versions
from benchmark.engine.training import fit
from benchmark.engine.weights import load_tensors
from benchmark.plans.named import SCALES
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run
from benchmark.records.cells import Cell
from benchmark.records.records import Finetuning
from benchmark.records.store import Store
from benchmark.report.estimates import change_of_flags

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "checkpoints" / "narrow-cifar10-resnet18-w16-pgd-at-seed0.safetensors"
CELL = Cell("narrow", "cifar10", "resnet18-w16", "pgd-at", "rift", 0)
TUNINGS = "rift", "bn-only", "all-layers"
COLUMNS = "Std", "Adv"

Flags = dict[str, NDArray[np.bool_]]


def show(stage: str, done: int, total: int, note: str = "") -> None:
    """A line of progress now and then."""
    if done == total or done % 100 == 1:
        print(f"{stage} {done}/{total} {note}", flush=True)  # noqa: T201 - it is a script


def module_on_record() -> str:
    """The least critical module, as the committed records have it, measured in fp32."""
    making = Store(ROOT / "results", ROOT / "artifacts").making(CELL)
    assert making is not None and isinstance(making.details, Finetuning)
    return making.details.modules[0]


def flags_of(tuning: str, precision: str, module: str, data: Dataset, folder: Path) -> Flags:
    """Which test images the network fine-tuned in `precision` gets right; kept in `folder`."""
    kept = folder / f"{tuning}-{precision}.npz"
    if not kept.exists():
        made, unfinished = judged(tuning, precision, module, data, folder), folder / "unfinished.npz"
        np.savez(unfinished, **made)
        unfinished.replace(kept)
    with np.load(kept) as found:
        return {name: found[name] for name in COLUMNS}


def judged(tuning: str, precision: str, module: str, data: Dataset, folder: Path) -> Flags:
    """The same, made now."""
    plan = Plan.of(replace(CELL, finetune=f"{tuning}-alpha-1"), SCALES["narrow"])
    run, said = Run(plan, data, Store(folder, folder), show), f"{tuning} in {precision}"
    model = run.bare()
    model.load_state_dict(load_tensors(CHECKPOINT)[0])
    selection, test = run.selection_images(), data.judged
    use(Precision(precision))
    fit(
        model,
        run.splits.train,
        plan.base.info,
        plan.tuner,
        plan.recipe,
        seed=run.tuning_cell.seed_for("finetune"),
        select=lambda tuned: clean_count(tuned, selection),
        checkpoint=folder / f"{tuning}-{precision}.safetensors",
        fingerprint=f"{tuning} {module} {len(run.splits.train)}",
        trainable=trainable_parameters(model, plan.finetuning.selector, [module]),
        mixed=precision == BF16,
        stage=said,
        progress=show,
    )
    use(Precision(FP32))
    starts, seed = batch_starts(test), run_seed(CELL.base, 0)
    attacked = []
    for at in starts:
        attacked.append(pgd_answers(model, test, plan.base.info.threat, seed, at, at + starts.step))
        show(f"{said}: Adv", at // starts.step + 1, len(starts))
    found = clean_answers(model, test), torch.cat(attacked)
    return {name: (each == RIGHT).numpy() for name, each in zip(COLUMNS, found, strict=True)}


def compared(tuning: str, one: Flags, other: Flags) -> list[dict[str, object]]:
    """A row per column: right answers in both precisions, and bf16 - fp32 in points."""
    rows: list[dict[str, object]] = []
    for name in COLUMNS:
        change = change_of_flags(other[name].astype(np.int8)[None] - one[name][None], tuning)
        assert change.interval is not None
        row = {"tuning": tuning, "column": name, "images": len(one[name])}
        row |= {FP32: int(one[name].sum()), BF16: int(other[name].sum())}
        row |= {"flags that differ": int((one[name] != other[name]).sum())}
        ends = {"points": change.mean, "low": change.interval.low, "high": change.interval.high}
        rows.append(row | {key: round(100 * value, 3) for key, value in ends.items()})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Fine-tune, judge and write, tuning by tuning."""
    parser = argparse.ArgumentParser(description="what fine-tuning in bf16 would change")
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar-10-batches-py")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--module", help="module that RiFT trains; default: that on record")
    parser.add_argument("--limit", type=int, help="only the first so many test images")
    parser.add_argument("--train", type=int, help="only the first so many training images, for a trial")
    parser.add_argument("--threads", type=int, default=0, help="of torch; default: its own")
    asked = parser.parse_args(arguments)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    data = load("cifar10", asked.data)
    data = replace(data, train=data.train.first(asked.train), limit=asked.limit)
    module, cpu, rows = asked.module or module_on_record(), torch.device("cpu"), []
    folder = asked.out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    about = {"device": device_name(cpu), "bf16 units": has_bf16_units(cpu)}
    about |= {"versions": machine_versions(), "threads": torch.get_num_threads(), "module": module}
    for tuning in TUNINGS:
        rows += compared(
            tuning, *(flags_of(tuning, each, module, data, folder) for each in (FP32, BF16))
        )
        asked.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
