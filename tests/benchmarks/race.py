"""A race: one step done plainly and in faster ways, all measured in turn in one process.

    @functools.cache
    def pgd10x3(width: int) -> Race:
        race = Race("pgd10x3", f"ResNet18, width {width}, 32x32", asked={"eager": 3.5, "compiled": 5})
        race.variant("plain", lambda: ...)
        race.variant("eager", lambda: ...)
        race.leave_out("compiled", "no C++ compiler here")  # or race.variant("compiled", ...)
        race.check(flags_agree)  # asserts, and returns what it compared in a short sentence
        return race

    @pytest.mark.parametrize("variant", ["plain", "eager", "compiled"])
    @pytest.mark.parametrize("width", [16, 64])
    def test_pgd10x3(width: int, variant: str, lane: Lane) -> None:
        lane(pgd10x3(width), variant)

The first lane measures the whole race, the others take their samples from it: whatever a machine does
meanwhile, it does to all variants alike. `conftest.py` has `lane`, the options and the report. What is
counted rather than timed goes to the fixture `entered`: `entered(race)`.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from report import PLAIN, SECONDS, Group, Origin, Variant

Run = Callable[[], object]
Lane = Callable[["Race", str], None]
Entered = Callable[["Race"], Group]
"""What the fixtures `lane` and `entered` of conftest.py are."""


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """So many threads of torch inside the block, for what is to use one or gains nothing from more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Race:
    """One row of the table of speeds (`row`) at one `size`, with the ratios `asked` of its variants.

    `rounds` is how often each variant runs after its first time. With a `unit` other than seconds,
    samples are given (`count`) instead of being timed. A `detail` is in the file and on the screen but
    not in the README's table.
    """

    def __init__(
        self,
        row: str,
        size: str,
        *,
        asked: Mapping[str, float] | None = None,
        rounds: int = 5,
        unit: str = SECONDS,
        detail: bool = False,
    ) -> None:
        if rounds < 1:
            raise ValueError(f"rounds must be 1 or more, got {rounds}")
        self.row, self.size, self.unit, self.detail = row, size, unit, detail
        self._asked, self._rounds = dict(asked or {}), rounds
        self._runs: dict[str, tuple[Run, Run]] = {}
        self._counts: dict[str, list[float]] = {}
        self._left_out: dict[str, str] = {}
        self._check: Callable[[], str] | None = None
        self._check_last = False
        self._outcome: Group | Exception | None = None

    @property
    def title(self) -> str:
        """The name of the pytest-benchmark group."""
        return f"{self.row}, {self.size}"

    def variant(self, name: str, run: Run, *, warm_up: Run | None = None) -> None:
        """Time `run`, which does the whole step and is finished when it returns (on a GPU: waits).

        The first variant is "plain". `warm_up` is what runs once before, `run` itself if None: give
        something shorter where the step is long and nothing is compiled.
        """
        if self.unit != SECONDS:
            raise ValueError(f"'{self.title}' counts {self.unit}; its variants have counts")
        self._enter(name)
        self._runs[name] = (run, warm_up or run)

    def count(self, name: str, counts: Sequence[float]) -> None:
        """Take `counts`, one per case, as the samples of variant `name`."""
        if self.unit == SECONDS:
            raise ValueError(f"'{self.title}' is timed; give the race a unit to count in")
        self._enter(name)
        self._counts[name] = [float(value) for value in counts]

    def leave_out(self, name: str, why: str) -> None:
        """Say in the report why this machine has no variant `name`."""
        self._enter(name)
        self._left_out[name] = why

    def check(self, agree: Callable[[], str], *, last: bool = False) -> None:
        """Run `agree` once, between the warm-up and the first round, or `last`, after all rounds.

        It asserts that the variants agree and returns a short sentence on what was compared.
        """
        self._check, self._check_last = agree, last

    def measured(self, origin: Origin) -> Group:
        """The samples of all variants; measured when first asked for, a failure raised every time."""
        if self._outcome is None:
            try:
                self._outcome = self._measure(origin)
            except Exception as error:  # noqa: BLE001 - it is raised in every lane
                self._outcome = error
            self._runs, self._check = {}, None  # what they hold can be large
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def _enter(self, name: str) -> None:
        known = (*self._runs, *self._counts, *self._left_out)
        if name in known:
            raise ValueError(f"'{self.title}' has two variants '{name}'")
        if not known and name != PLAIN:
            raise ValueError(f"the first variant of '{self.title}' is '{name}'; it has to be '{PLAIN}'")

    def _measure(self, origin: Origin) -> Group:
        entered = {*self._runs, *self._counts, *self._left_out}
        if unknown := self._asked.keys() - entered:
            raise ValueError(
                f"'{self.title}' has no variant '{min(unknown)}' of which a ratio is asked"
            )
        first = {name: _timed(warm_up)[0] for name, (_, warm_up) in self._runs.items()}
        exactness = self._check() if self._check and not self._check_last else None
        if self.unit == SECONDS:
            variants = _in_turn(self._runs, self._rounds, first)
        else:
            variants = [Variant(name=name, samples=counts) for name, counts in self._counts.items()]
        if self._check and self._check_last:
            exactness = self._check()
        return Group(
            row=self.row,
            size=self.size,
            unit=self.unit,
            detail=self.detail,
            origin=origin,
            variants=variants,
            asked=self._asked,
            exactness=exactness,
            left_out=self._left_out,
        )


def _in_turn(
    runs: Mapping[str, tuple[Run, Run]], rounds: int, first: Mapping[str, float]
) -> list[Variant]:
    """Time all variants in turn, `rounds` times."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, _) in runs.items():
            taken[name].append(_timed(run))
    return [
        Variant(
            name=name,
            samples=[wall for wall, _ in times],
            cpu_s=[cpu for _, cpu in times],
            first_s=first[name],
        )
        for name, times in taken.items()
    ]


def _timed(run: Run) -> tuple[float, float]:
    """Wall and CPU seconds (all threads) of one call, without a garbage collection in between."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        return time.perf_counter() - wall, time.process_time() - cpu
    finally:
        if enabled:
            gc.enable()


class Replay:
    """A timer for pytest-benchmark that tells durations which were taken before.

    It reads the time at the start and at the end of every round: `play(durations)` answers those
    readings so that their differences are `durations`.
    """

    def __init__(self) -> None:
        self._readings: list[float] = []

    def play(self, durations: Sequence[float]) -> None:
        """Tell `durations` (seconds) from now on, from the first."""
        self._readings = [reading for duration in durations for reading in (0.0, duration)]

    def __call__(self) -> float:
        if not self._readings:
            raise RuntimeError("a benchmark of its own kind here: give its race to `lane` instead")
        return self._readings.pop(0)
