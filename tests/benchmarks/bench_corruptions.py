"""Cost of every corruption at 32 and 64 pixels, in CPU time of one thread.

    tox -e bench

prints, for each side, milliseconds per image by corruption (mean of the five severities) and what
10,000 images under the 15 corruptions at five severities would cost, and then pytest-benchmark's
table. Other work on the machine makes CPU time longer too, if less than wall time.
"""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmark.corruptions.generator import CORRUPTIONS_15, OPERATIONS, SEVERITY_LEVELS, corrupt

COUNT = {32: 100, 64: 25}
ROUNDS = 3
WHOLE = 10_000


@pytest.fixture(scope="module")
def costs(request: pytest.FixtureRequest) -> Iterator[dict[tuple[int, str], float]]:
    """Milliseconds per image by side and corruption; printed when all are measured."""
    found: dict[tuple[int, str], float] = {}
    yield found
    lines = []
    for side in sorted({side for side, _ in found}):
        here = {name: cost for (of, name), cost in found.items() if of == side}
        lines += ["", f"{side}x{side}x3, CPU ms per image, mean of five severities"]
        lines += [f"  {name:<20}{cost:8.3f}" for name, cost in here.items()]
        if here.keys() >= set(CORRUPTIONS_15):
            total = sum(here[name] for name in CORRUPTIONS_15) * len(SEVERITY_LEVELS) * WHOLE / 1000
            lines.append(
                f"  10,000 images x 15 x 5: {total:.0f} CPU s; {total / 2:.0f} s on two idle cores"
            )
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n".join(lines))  # noqa: T201 (a benchmark's result)


@pytest.mark.benchmark(timer=time.process_time, disable_gc=True, min_rounds=1)
@pytest.mark.parametrize("side", COUNT)
@pytest.mark.parametrize("name", OPERATIONS)
def test_corruption(name: str, side: int, costs: dict, benchmark: BenchmarkFixture) -> None:
    """One round is all five severities of one corruption."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT[side], side, side, 3), dtype=np.uint8)
    ids = np.arange(COUNT[side], dtype=np.int64)

    def severities() -> None:
        for severity in SEVERITY_LEVELS:
            corrupt(images, name, severity, seed=0, ids=ids)

    benchmark.group = f"{side} pixels, {COUNT[side]} images x 5 severities"
    benchmark.pedantic(severities, rounds=ROUNDS)
    per_image = benchmark.stats.stats.median / (COUNT[side] * len(SEVERITY_LEVELS))
    costs[side, name] = per_image * 1000
