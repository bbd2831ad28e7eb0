"""Options, fixtures and report of `tox -e bench`; see race.py for how a race is written."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmark.errors import UserError
from race import Entered, Lane, Race, Replay
from report import PLAIN, SECONDS, Group, Machine, Origin, Report, report_to_update, screen

REPLAY = Replay()


@dataclass
class Course:
    """What one run of the benchmarks has measured, and the file it goes to."""

    origin: Origin
    report: Report
    path: Path | None
    run: dict[tuple[str, str], Group] = field(default_factory=dict)

    def entered(self, race: Race) -> Group:
        """`race`, measured; its group is written at once, so that an interruption loses no other."""
        group = race.measured(self.origin)
        if group.key not in self.run:
            self.run[group.key] = group
            self.report = self.report.updated(group)
            if self.path is not None:
                self.report.write(self.path)
        return group


COURSE: pytest.StashKey[Course] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where results go and how many threads compute them."""
    options = parser.getgroup("races")
    options.addoption(
        "--bench-json",
        type=Path,
        metavar="PATH",
        help="file to write; groups measured there before on this machine are kept or replaced",
    )
    options.addoption(
        "--bench-threads", type=int, metavar="N", help="threads of torch (default: one for each core)"
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Lanes hand recorded times over to pytest-benchmark."""
    if "lane" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.benchmark(timer=REPLAY))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look at the machine and the file before anything is measured, if there is a race to be run."""
    config = session.config
    if config.option.collectonly or not any(_races(item) for item in session.items):
        return
    import torch

    from benchmark.jobs.tasks import cores

    threads = config.getoption("--bench-threads", None)
    if threads is not None and threads < 1:
        raise pytest.UsageError(f"--bench-threads must be 1 or more, got {threads}")
    torch.set_num_threads(threads or cores())
    path = config.getoption("--bench-json", None)
    try:
        report = Report(machine=Machine.here())
        if path is not None:
            report = report_to_update(path, report.machine)
    except UserError as error:
        raise pytest.UsageError(str(error)) from error
    commit = config.hook.pytest_benchmark_generate_commit_info(config=config)
    origin = Origin(
        commit=commit["id"],
        dirty=commit["dirty"],
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    config.stash[COURSE] = Course(origin, report, path)


def _races(item: pytest.Item) -> bool:
    return not {"lane", "entered"}.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.fixture
def entered(request: pytest.FixtureRequest) -> Entered:
    """Measure a race, put its group into the report and return it: for races that only count."""
    return request.config.stash[COURSE].entered


@pytest.fixture
def lane(entered: Entered, request: pytest.FixtureRequest) -> Lane:
    """Measure a race, if no lane of it has, and give pytest-benchmark the samples of one variant."""

    def run(race: Race, variant: str) -> None:
        group = entered(race)
        if variant in group.left_out:
            pytest.skip(group.left_out[variant])
        samples = {each.name: each.samples for each in group.variants}
        if variant not in samples:
            raise ValueError(f"'{race.title}' has no variant '{variant}'; it has {', '.join(samples)}")
        assert group.unit == SECONDS, "what is counted has no lane: take `entered`"
        # Asked for only now: pytest-benchmark warns of a fixture that a skipped test did not use.
        benchmark = request.getfixturevalue("benchmark")
        benchmark.group = race.title
        REPLAY.play(samples[variant])
        benchmark.pedantic(lambda: None, rounds=len(samples[variant]))
        if variant != PLAIN:
            benchmark.extra_info["ratio to plain"] = group.ratios[variant][0]

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what this run measured; what else the file holds is in the file."""
    course = config.stash.get(COURSE, None)
    if course is None or not course.run:
        return
    threads = course.report.machine.threads
    terminalreporter.section(f"fast against plain, {threads} threads")
    terminalreporter.write_line(screen(list(course.run.values())))
    if course.path is not None:
        terminalreporter.write_line(f"written to {course.path}")
