"""Progress: lines for logs, bars for terminals."""

import io

import pytest
from rich.console import Console

import benchmark.cli.progress
from benchmark.cli.progress import Bars, Lines, display

KEY = "quick/digits/resnet18-w8/pgd-at/rift/seed0"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that displays see, in seconds; set its only entry."""
    now = [1000.0]
    monkeypatch.setattr(benchmark.cli.progress.time, "monotonic", lambda: now[0])
    return now


def plain() -> Console:
    """A console that is no terminal."""
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def terminal(width: int = 160) -> Console:
    """A console that takes itself for a terminal."""
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def written(console: Console) -> str:
    """Everything that was written to a console."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_gets_bars_and_a_log_gets_lines() -> None:
    """Which display is chosen depends on the console alone."""
    assert isinstance(display(terminal(), 1, 1), Bars)
    assert isinstance(display(plain(), 1, 1), Lines)


def test_lines_show_a_new_stage_at_once(clock: list[float]) -> None:
    """The first report of every stage is a line with the cell, the stage and how far it is."""
    console = plain()
    with Lines(console, 1, 1) as lines:
        lines.update(0, KEY, "criticality", 1, 21, "conv1")
        clock[0] += 3
        lines.update(0, KEY, "fine-tuning", 1, 110, "loss 0.5")
    assert written(console).splitlines() == [
        f"[     0 s] {KEY}  criticality 1/21, conv1",
        f"[     3 s] {KEY}  fine-tuning 1/110, loss 0.5",
    ]


def test_lines_within_a_stage_are_rare(clock: list[float]) -> None:
    """Within a stage a line comes every 15 s at most, with the time left at the rate so far."""
    console = plain()
    with Lines(console, 1, 1) as lines:
        for done in range(31):
            lines.update(0, KEY, "criticality", done, 40, "")
            clock[0] += 1
    assert written(console).splitlines() == [
        f"[     0 s] {KEY}  criticality 0/40",
        f"[    15 s] {KEY}  criticality 15/40, 25 s left",
        f"[    30 s] {KEY}  criticality 30/40, 10 s left",
    ]


def test_lines_show_every_epoch(clock: list[float]) -> None:
    """An epoch is a line however short it was, and the last one has no time left."""
    console = plain()
    with Lines(console, 1, 1) as lines:
        for epoch in (1, 2):
            clock[0] += 1
            lines.update(0, KEY, "adversarial training", 11 * epoch, 22, f"epoch {epoch}/2, loss 1.5")
    assert written(console).splitlines() == [
        f"[     1 s] {KEY}  adversarial training 11/22, epoch 1/2, loss 1.5",
        f"[     2 s] {KEY}  adversarial training 22/22, epoch 2/2, loss 1.5",
    ]


def test_lines_of_two_workers_do_not_hide_each_other(clock: list[float]) -> None:
    """Stages are told apart by worker, and by cell when a worker goes on to the next."""
    console = plain()
    other = KEY.replace("seed0", "seed1")
    with Lines(console, 2, 2) as lines:
        lines.update(0, KEY, "clean", 0, 1, "")
        lines.update(1, other, "clean", 0, 1, "")
        lines.update(0, KEY, "clean", 1, 1, "")
        lines.update(0, other, "clean", 0, 1, "")
    keys = [line.split()[3] for line in written(console).splitlines()]
    assert keys == [KEY, other, other]


def test_lines_count_finished_base_models(clock: list[float]) -> None:
    """A finished base model is a line with how many are done of how many."""
    console = plain()
    with Lines(console, 1, 2) as lines:
        lines.finish(0, KEY, 2)
        lines.finish(0, KEY, 1)
    first, second = written(console).splitlines()
    assert first.endswith("base models 1/2")
    assert second.endswith("base models 2/2")
    assert KEY in first


def test_lines_are_never_broken_or_coloured(clock: list[float]) -> None:
    """A line longer than the console stays one line, and brackets are printed as they are."""
    console = Console(file=io.StringIO(), force_terminal=False, width=20)
    with Lines(console, 1, 1) as lines:
        lines.update(0, KEY, "criticality", 1, 21, "[bold]layer4.1.conv2[/bold] 12:30")
    assert written(console) == (
        f"[     0 s] {KEY}  criticality 1/21, [bold]layer4.1.conv2[/bold] 12:30\n"
    )


def test_bars_follow_every_worker() -> None:
    """A terminal shows the cell, stage, count and note of each worker, and the base models done."""
    console = terminal()
    other = KEY.replace("seed0", "seed1")
    with Bars(console, 2, 3) as bars:
        bars.update(0, KEY, "criticality", 7, 21, "layer1.0.conv1")
        bars.update(1, other, "adversarial training", 40, 210, "loss 0.512")
        bars.finish(0, KEY, 2)
        bars.progress.refresh()
    overall, first, second = written(console).split("base models")[-1].splitlines()[:3]
    assert "1/3" in overall
    for part in ("resnet18-w8", "rift", "seed0", "criticality", "7/21", "layer1.0.conv1"):
        assert part in first
    for part in ("seed1", "adversarial training", "40/210", "loss 0.512"):
        assert part in second


def test_bars_start_again_with_a_new_stage() -> None:
    """When a worker goes on to another stage, its bar shows that one only."""
    console = terminal()
    with Bars(console, 1, 1) as bars:
        bars.update(0, KEY, "criticality", 21, 21, "linear")
        bars.update(0, KEY, "fine-tuning", 0, 110, "")
        (task,) = [task for task in bars.progress.tasks if task.id == bars.slots[0]]
        assert (task.completed, task.total) == (0, 110)
        assert "fine-tuning" in task.description
        assert not task.finished
        bars.progress.refresh()
    last = written(console).split("base models")[-1]
    assert "fine-tuning" in last
    assert "linear" not in last


@pytest.mark.parametrize("width", [80, 100, 120])
def test_bars_fit_a_terminal(width: int) -> None:
    """On usual widths the network, fine-tuning and seed, the count and the base models stay visible."""
    console = terminal(width)
    long = KEY.replace("rift", "robust-critical-alpha-1")
    with Bars(console, 2, 9) as bars:
        bars.update(0, long, "criticality: adversarial examples", 256, 512, "")
        bars.update(
            1, KEY, "adversarial training", 40, 210, "epoch 2/10, loss 0.512, 66.00 % selected on"
        )
        bars.progress.refresh()
    overall, first, second = written(console).split("base models")[-1].splitlines()[:3]
    assert "0/9" in overall
    for part in ("resnet18-w8", "robust-critical-alpha-1", "seed0", "256/512"):
        assert part in first
    for part in ("resnet18-w8", "rift", "seed0", "40/210"):
        assert part in second


def test_bars_leave_the_terminal_as_it_was() -> None:
    """The cursor that live bars hide is shown again, after an error too."""
    console = terminal()

    def fail() -> None:
        with Bars(console, 1, 1):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    shown, hidden = written(console).rfind("\x1b[?25h"), written(console).rfind("\x1b[?25l")
    assert shown > hidden
