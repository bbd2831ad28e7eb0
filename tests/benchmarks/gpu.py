"""What a GPU does of the suite's work, in one call of at most ten minutes.

    python tests/benchmarks/gpu.py --out gpu.json

For every network and precision: a step of PGD-10 adversarial training (PGD-AT) and a PGD-10 pass of an
evaluation, in images a second; what that is of the device's peak in bf16; seconds of an epoch of 50,000
images; the largest memory. A row is printed and written as soon as it is measured; what no longer fits
into `--seconds` is left out and named. Weights and images are random: cost does not depend on them.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from baselines import METHODS
from benchmark.data import dataset_info
from benchmark.engine.counting import answers
from benchmark.engine.device import torch_device
from benchmark.engine.folded_copy import trained
from benchmark.engine.pgd import linf_pgd
from benchmark.engine.precision import Precision, use
from benchmark.engine.provenance import device_name, machine_versions
from benchmark.engine.training import training_step
from benchmark.models import build

INFO = dataset_info("cifar10")
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bf16 operations a second, by a part of the device's name (the makers' data sheets)."""
PRECISIONS = {
    "bf16 compiled": Precision("bf16", compiled=True),
    "bf16": Precision("bf16"),
    "fp32": Precision("fp32"),
}
EPOCH = 50_000


def at_step(name: str, batch: int, device: torch.device) -> Callable[[], object]:
    """A function that takes a step of PGD-AT."""
    model = build(name, INFO).to(device).to(memory_format=torch.channels_last)
    x = torch.rand(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,), device=device)
    network, method = trained(model, device).train(), METHODS["pgd-at"]
    attack = method.recipe("cifar10").training_attack(INFO.threat)
    generator = torch.Generator()  # as `fit`, which draws on the processor
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    return lambda: training_step(network, x, labels, 0, method, attack, optimizer, generator)


def pgd_pass(name: str, batch: int, device: torch.device) -> Callable[[], object]:
    """A function that attacks a batch by PGD-10 and judges it."""
    model = build(name, INFO).to(device).to(memory_format=torch.channels_last).eval()
    x = torch.rand(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels, start = torch.randint(0, 10, (batch,), device=device), torch.zeros_like(x)
    return lambda: answers(model, linf_pgd(model, x, labels, INFO.threat, start), labels)


STEPS = {"PGD-AT step": (at_step, 24), "PGD-10 evaluation": (pgd_pass, 21)}
"""By step: how it is made, and the forward passes that its multiplications equal. A gradient by the
pixels costs one more, those by the weights another; PGD-AT ends with a clean pass."""


def waited(step: Callable[[], object], device: torch.device) -> float:
    """Seconds of one `step`, the device's work included."""
    began = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def measured(step: Callable[[], object], steps: int, device: torch.device) -> tuple[float, float]:
    """Seconds of the first `step`, and the median of those of `steps` more."""
    first = waited(step, device)
    return first, statistics.median(waited(step, device) for _ in range(steps))


def operations(name: str) -> int:
    """Floating-point operations of a forward pass of one image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        build(name, INFO).eval()(torch.rand(1, 3, 32, 32))
    return counter.get_total_flops()


def rows(asked: argparse.Namespace, device: torch.device) -> Iterator[dict[str, object]]:
    """A row per network, step and precision, the costliest networks last."""
    until = time.monotonic() + asked.seconds
    for name in asked.arch:
        flops = operations(name)
        for kind, (make, passes) in STEPS.items():
            for label, precision in PRECISIONS.items():
                row: dict[str, object] = {"network": name, "step": kind, "precision": label}
                if time.monotonic() > until:
                    yield row | {"left out": f"no time left of {asked.seconds} s"}
                    continue
                use(precision)
                gc.collect()  # what the row before had, whose memory would count
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(device)
                try:
                    first, taken = measured(make(name, asked.batch, device), asked.steps, device)
                except torch.OutOfMemoryError as error:
                    yield row | {"left out": str(error).splitlines()[0]}
                    continue
                speed = asked.batch / taken
                row |= {"images/s": round(speed, 1), "epoch s": round(EPOCH / speed, 1)}
                row["first s"] = round(first, 2)
                for part, peak in PEAK.items():
                    if part in device_name(device):
                        row["% of bf16 peak"] = round(100 * speed * flops * passes / peak, 1)
                if device.type == "cuda":
                    row["GiB"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
                yield row


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="what a GPU does of the suite's work")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--arch", nargs="+", default=["resnet18", "resnet34", "wrn-34-10"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10, help="steps of which the median is taken")
    parser.add_argument("--seconds", type=float, default=540, help="nothing begins after that")
    asked = parser.parse_args(arguments)
    device = torch_device(asked.device)  # without TF32, as for a command
    found: list[dict[str, object]] = []
    about = {"device": device_name(device), "versions": machine_versions(), "batch": asked.batch}
    for row in rows(asked, device):
        found.append(row)
        print(row, flush=True)  # noqa: T201 - it is a script
        asked.out.write_text(json.dumps(about | {"rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
