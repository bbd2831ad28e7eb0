"""A step of adversarial training in processes with and without the allocator's settings of workers.

A process reads them when it starts, so that each sample is of a process of its own, taken in turn.
"""

import os
import statistics
import subprocess
import sys
import time

import pytest
import torch

from baselines import METHODS
from benchmark.engine.folded_copy import trained
from benchmark.engine.precision import Precision, use
from benchmark.engine.recipes import Recipe
from benchmark.engine.training import training_step
from benchmark.jobs.allocator import SETTINGS, TUNABLES
from benchmark.models import build
from race import Entered, Race
from report import PLAIN
from subjects import INFO, in_their_order, label, size

IMAGES, PAIRS, STEPS = 128, 3, 3
ARCHS = {16: "resnet18-w16", 64: "resnet18"}
SET = "settings"
RECIPE = Recipe(attack_steps=2, attack_path=1.5)  # as the narrow scale trains


def seconds_of_a_step(width: int, images: int, threads: int) -> float:
    """The median over `STEPS` steps, after one that warms up; in this process."""
    torch.set_num_threads(threads)
    use(Precision())
    torch.manual_seed(0)
    model = build(ARCHS[width], INFO).to(memory_format=torch.channels_last)
    network, method = trained(model, torch.device("cpu")).train(), METHODS["pgd-at"]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    x, labels = in_their_order(torch.rand(images, 3, 32, 32)), torch.randint(0, 10, (images,))
    attack, generator, taken = RECIPE.training_attack(INFO.threat), torch.Generator(), []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        training_step(network, x, labels, 0, method, attack, optimizer, generator)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def in_a_process(width: int, images: int, settings: str | None) -> float:
    """The same in a process with `settings` (None: those of the system), in milliseconds."""
    told = {name: value for name, value in os.environ.items() if name != TUNABLES}
    told |= {} if settings is None else {TUNABLES: settings}
    told["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, __file__, str(width), str(images), str(torch.get_num_threads())]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=True)
    return 1000 * float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are glibc's")
@pytest.mark.parametrize("width", ARCHS)
def test_a_step(width: int, entered: Entered) -> None:
    """Pairs of processes."""
    pairs = [[in_a_process(width, IMAGES, each) for each in (None, SETTINGS)] for _ in range(PAIRS)]
    row = "AT step, allocator's settings"
    race = Race(row, f"{size(width, IMAGES)}, 2 steps", unit="ms")
    for name, samples in zip((PLAIN, SET), zip(*pairs, strict=True), strict=True):
        race.count(name, samples)
    race.check(lambda: f"{label()} on both sides, without compilation; no bit depends on it")
    entered(race)


if __name__ == "__main__":
    sys.stdout.write(str(seconds_of_a_step(*map(int, sys.argv[1:]))))
