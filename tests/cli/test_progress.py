"""Progress: lines for logs, bars for terminals."""

import io
import json
import sys
import time
import types
from pathlib import Path

import pytest
from rich.console import Console

import benchmark.cli.progress
from benchmark.cli.log_dir import logged as kept
from benchmark.cli.progress import LiveBars, LogLines, Unit, display, getting, working_on
from benchmark.cli.time_left import TimeLeft
from benchmark.errors import UserError

KEY = "quick/digits/resnet18-w8/pgd-at/rift/seed0"


@pytest.fixture
def clock(monkeypatch):
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


@pytest.fixture
def standard_error(monkeypatch):
    """A function that puts a console in the place of standard error."""

    def put(console: Console) -> Console:
        monkeypatch.setattr(benchmark.cli.progress, "Console", lambda stderr: console)
        return console

    return put


def test_a_terminal_gets_bars_and_a_log_gets_lines(standard_error):
    """Which display is chosen depends on the console alone."""
    for console, kind in ((terminal(), LiveBars), (plain(), LogLines)):
        standard_error(console)
        with display(1, 1) as shown:
            assert isinstance(shown, kind)


def logged(clock, *events) -> list[str]:
    """The lines of a log after `events`, which are what `update` is given, or seconds that pass."""
    console = plain()
    lines = LogLines(console, 2)
    for event in events:
        if isinstance(event, int):
            clock[0] += event
        else:
            lines.update(*event)
    return written(console).splitlines()


def test_lines_show_a_new_stage_at_once(clock):
    """The first report of every stage is a line with the cell, the stage and how far it is."""
    events = (0, KEY, "criticality", 1, 21, "conv1"), 3, (0, KEY, "fine-tuning", 1, 110, "loss 0.5")
    assert logged(clock, *events) == [
        f"[     0 s] {KEY}  criticality 1/21, conv1",
        f"[     3 s] {KEY}  fine-tuning 1/110, loss 0.5",
    ]


def test_lines_within_a_stage_are_rare(clock):
    """Within a stage a line comes every 15 s at most, with the time left at the rate so far."""
    events = [event for done in range(31) for event in ((0, KEY, "criticality", done, 40, ""), 1)]
    assert logged(clock, *events) == [
        f"[     0 s] {KEY}  criticality 0/40",
        f"[    15 s] {KEY}  criticality 15/40, 25 s left",
        f"[    30 s] {KEY}  criticality 30/40, 10 s left",
    ]


def test_a_stage_that_begins_again_is_timed_anew(clock):
    """The images of the next alpha are counted from the first on, and so is the time that they take."""
    passes = [[((0, KEY, "robust", done, 40, note), 1) for done in range(1, 41)] for note in ("a", "b")]
    lines = logged(clock, *(event for alpha in passes for pair in alpha for event in pair))
    assert lines[3:5] == [
        f"[    40 s] {KEY}  robust 1/40, b",
        f"[    55 s] {KEY}  robust 16/40, 24 s left, b",
    ]


def test_lines_show_every_epoch(clock):
    """An epoch is a line however short it was, and the last one has no time left."""
    stage = "adversarial training"
    events = [(0, KEY, stage, 11 * epoch, 22, f"epoch {epoch}/2, loss 1.5") for epoch in (1, 2)]
    assert logged(clock, 1, events[0], 1, events[1]) == [
        f"[     1 s] {KEY}  adversarial training 11/22, epoch 1/2, loss 1.5",
        f"[     2 s] {KEY}  adversarial training 22/22, epoch 2/2, loss 1.5",
    ]


def test_lines_of_two_workers_do_not_hide_each_other(clock):
    """Stages are told apart by worker, and by cell when a worker goes on to the next."""
    other = KEY.replace("seed0", "seed1")
    who = ((0, KEY, 0), (1, other, 0), (0, KEY, 1), (0, other, 0))
    lines = logged(clock, *((worker, key, "clean", done, 1, "") for worker, key, done in who))
    assert [line.split()[3] for line in lines] == [KEY, other, other]


def test_lines_are_never_broken_or_coloured(clock):
    """A line longer than the console stays one line, and brackets are printed as they are."""
    note = f"[bold]{'layer4.1.conv2 ' * 9}[/bold] 12:30"
    lines = logged(clock, (0, KEY, "criticality", 1, 21, note))
    assert lines == [f"[     0 s] {KEY}  criticality 1/21, {note}"]


def test_lines_count_finished_base_models(clock):
    """A finished base model is a line with how many are done of how many; one that failed is none."""
    console = plain()
    lines = LogLines(console, 2)
    for cells, failed in ((2, 0), (3, 1), (1, 0)):
        lines.finish(0, KEY, cells, failed)
    assert [line.removeprefix(f"[     0 s] {KEY}  ") for line in written(console).splitlines()] == [
        "finished (cells: 2); base models 1/2",
        "failed (cells: 1 of 3); base models 1/2",
        "finished (cells: 1); base models 2/2",
    ]


def test_bars_follow_every_worker():
    """A terminal shows the cell, stage, count and note of each worker, and the base models done."""
    console = terminal()
    other = KEY.replace("seed0", "seed1")
    bars = LiveBars(console, 2, 3)
    with bars.progress:
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


def test_bars_start_again_with_a_new_stage():
    """When a worker goes on to another stage, its bar shows that one only."""
    console = terminal()
    bars = LiveBars(console, 1, 1)
    with bars.progress:
        bars.update(0, KEY, "criticality", 21, 21, "linear")
        bars.update(0, KEY, "fine-tuning", 0, 110, "")
        (task,) = [task for task in bars.progress.tasks if task.id == bars.rows[0]]
        assert (task.completed, task.total) == (0, 110)
        assert "fine-tuning" in task.description
        assert not task.finished
        bars.progress.refresh()
    last = written(console).split("base models")[-1]
    assert "fine-tuning" in last
    assert "linear" not in last


def test_a_bar_goes_back_with_its_stage():
    """Its speed is that of the pass that it shows."""
    bars = LiveBars(terminal(), 1, 1)
    for done in (20, 40, 20):
        bars.update(0, KEY, "robust", done, 40, "")
    (task,) = [task for task in bars.progress.tasks if task.id == bars.rows[0]]
    assert task.completed == 20 and task.finished_time is None and task.elapsed is not None


@pytest.mark.parametrize("width", [80, 100, 120])
def test_bars_fit_a_terminal(width):
    """On usual widths a row is two lines: the cell with count and time left, then stage and loss."""
    console = terminal(width)
    long = KEY.replace("rift", "robust-critical-alpha-1")
    bars = LiveBars(console, 2, 9, costs={KEY: {"adversarial training": 1.0}})
    bars.left.began = time.monotonic() - 600
    with bars.progress:
        bars.update(0, long, "criticality: adversarial examples", 256, 512, "")
        for done in (0, 40):
            bars.update(1, KEY, "adversarial training", done, 120, "loss 0.512 in epoch 2/10, bf16")
        bars.progress.refresh()
    shown = written(console).split("base models")[-1].splitlines()
    overall, first, stage, second, training = shown[:5]
    assert all(len(row) <= width for row in shown[1:5])
    for row, parts in (
        (overall, ("about 20 min left of everything", "0/9")),
        (first, ("resnet18-w8", "robust-critical-alpha-1", "seed0", "256/512")),
        (stage, ("criticality: adversarial examples",)),
        (second, ("resnet18-w8", "rift", "seed0", "40/120")),
        (training, ("adversarial training", "loss 0.512 in epoch 2/10")),
    ):
        for part in parts:
            assert part in row


def test_time_left_is_in_proportion_to_costs(clock):
    """A third of the work in a minute leaves two; what was there when a cell began took no time, and
    two workers are one rate."""
    stages = {"adversarial training": 60.0, "clean": 20.0, "pgd10x3-first-9": 20.0}
    left = TimeLeft({"a": stages, "b": stages, "c": {"criticality": 50.0, "clean": 50.0}})
    left.update(0, "a", "adversarial training", 10, 100)  # goes on where an earlier command was
    assert left.seconds is None
    clock[0] += 60
    left.update(0, "a", "adversarial training", 50, 100)
    assert left.seconds == pytest.approx(60 * (300 - 6 - 24) / 24)
    left.update(1, "b", "pgd10x3", 1, 2)  # its training, clean accuracy and half of this were there
    assert left.seconds == pytest.approx(60 * (300 - 96 - 24) / 24)
    left.update(0, "c", "criticality: adversarial examples", 9, 10)
    left.finish(1)
    assert left.seconds == pytest.approx(60 * (300 - 96 - 104) / 104)
    clock[0] += 3600
    left.update(0, "c", "criticality: adversarial examples", 10, 10)  # how much of it is not known
    assert left.seconds == pytest.approx(60 * (300 - 96 - 104) / 104)
    left.update(0, "c", "clean", 1, 1)
    assert left.seconds == 0.0


def test_time_left_tells_an_evaluation_from_one_that_begins_alike(clock):
    """Half of plain PGD on the first images is half of that, not of the adaptive attack before it."""
    left = TimeLeft({"a": {"pgd10x3-adaptive": 60.0, "pgd10x3-first-9": 20.0, "clean": 10.0}})
    left.update(0, "a", "pgd10x3-adaptive", 0, 2)
    clock[0] += 70
    left.update(0, "a", "pgd10x3", 1, 2)
    assert left.seconds == pytest.approx(20)


def test_waiting_is_no_work(clock):
    """An hour in which another process had the base model says nothing of the rate here."""
    left = TimeLeft({"a": {"clean": 10.0}, "b": {"clean": 90.0}})
    left.update(0, "b", "waiting for another process", 0, 1)
    clock[0] += 3600  # in which that process made all of it
    left.update(0, "a", "clean", 1, 10)
    clock[0] += 10
    left.update(0, "a", "clean", 2, 10)
    assert left.seconds == pytest.approx(80)


def test_bars_leave_the_terminal_as_it_was(standard_error):
    """The cursor that live bars hide is shown again, after an error too."""
    console = standard_error(terminal())

    def fail() -> None:
        with working_on(KEY):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    shown, hidden = written(console).rfind("\x1b[?25h"), written(console).rfind("\x1b[?25l")
    assert shown > hidden


def test_lines_of_one_model(clock, standard_error):
    """Work on one model ends with a line, too."""
    console = standard_error(plain())
    with working_on(KEY) as progress:
        progress("clean", 0, 1)
    assert written(console).splitlines() == [
        f"[     0 s] {KEY}  clean 0/1",
        f"[     0 s] {KEY}  finished (cells: 1); base models 1/1",
    ]


def test_lines_of_a_download(clock, standard_error):
    """A download has a line at either end and one every 15 s; its size may be unknown."""
    console = standard_error(plain())
    with getting(Unit.MEGABYTES) as progress:
        for done in range(0, 32_000_000, 1_000_000):
            progress("fog.tar", done, 31_000_000, "host")
            clock[0] += 1
        progress("snow.tar", 2_000_000, 0, "host")
    assert written(console).splitlines() == [
        "[     0 s] fog.tar 0.0/31.0 MB, host",
        "[    15 s] fog.tar 15.0/31.0 MB, 16 s left, host",
        "[    30 s] fog.tar 30.0/31.0 MB, 1 s left, host",
        "[    31 s] fog.tar 31.0/31.0 MB, host",
        "[    32 s] snow.tar 2.0 MB, host",
    ]


@pytest.mark.parametrize(
    ("unit", "counted"), [(Unit.MEGABYTES, "3.0/3.0 MB"), (Unit.IMAGES, "3000000/3000000")]
)
def test_bars_of_downloads(standard_error, unit, counted):
    """Each stage has its own bar, which ends at its total."""
    console = standard_error(terminal())
    with getting(unit) as progress:
        for stage in ("first", "second"):
            for done in (0, 1_000_000, 3_000_000):
                progress(stage, done, 3_000_000, "note")
    for stage in ("first", "second"):
        assert f"{stage}, note" in written(console)
    assert written(console).count(counted) >= 2


def test_one_bar_of_all_that_is_made(standard_error):
    """What is done last is named beside the one bar, which is full at the end."""
    console = standard_error(terminal())
    with getting(Unit.COPIES) as progress:
        for done, name in enumerate(("fog", "snow", "frost"), start=1):
            progress("corruption files", 5 * done, 15, name)
    last = written(console).rpartition("0/?")[2]
    assert last.count("corruption files") == 1
    assert "corruption files, frost" in last and "15/15" in last


def test_a_log_keeps_what_is_shown(tmp_path, monkeypatch) -> None:
    """A JSON line per report with the numbers of its note, beside what a person sees; and a point per
    number for TensorBoard, where that is installed."""
    points = []

    class Writer:
        def __init__(self, folder) -> None:
            self.folder = folder

        def add_scalar(self, *point) -> None:
            points.append(point)

        def close(self) -> None:
            points.append(self.folder)

    module = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    console = plain()
    with kept(LogLines(console, 1), tmp_path / "log") as shown:
        shown.update(0, KEY, "fine-tuning", 11, 22, "loss 0.512 in epoch 1/2, bf16")
        note = "epoch 2/2, loss 0.250, 66.25 % (3 not finite) selected on, 3 s"
        shown.update(0, KEY, "fine-tuning", 22, 22, note)
        shown.finish(0, KEY, 1)
    assert "loss 0.512" in written(console) and "base models 1/1" in written(console)
    lines = [json.loads(line) for line in (tmp_path / "log" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["done"], line["epoch"], line["loss"]) for line in lines] == [
        (11, 1, 0.512),
        (22, 2, 0.25),
    ]
    assert lines[1]["selected_on"] == 66.25 and "selected_on" not in lines[0]
    assert set(points) == {
        ("fine-tuning/loss", 0.512, 11),
        ("fine-tuning/loss", 0.25, 22),
        ("fine-tuning/selected_on", 66.25, 22),
        tmp_path / "log" / KEY,
    }
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--log-dir: "), kept(LogLines(console, 1), tmp_path / "file"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_a_log_on_a_full_disk_ends_no_command(tmp_path) -> None:
    """Reports that were passed over, as a sweep does, are not raised again at the end."""
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    full = pytest.raises(OSError, match="No space left")
    with kept(LogLines(plain(), 1), tmp_path) as shown, full:
        shown.update(0, KEY, "fine-tuning", 1, 2, "loss 0.5")


def test_a_log_takes_whatever_a_plug_in_says(tmp_path) -> None:
    """Its own training notes what it likes: a number is read where there is one."""
    with kept(LogLines(plain(), 1), tmp_path) as shown:
        for note in ("loss 0.512. The best so far", "loss -inf", "loss e"):
            shown.update(0, KEY, "fine-tuning", 1, 2, note)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line.get("loss") for line in lines] == [0.512, None, None]


def test_tensorboard_reads_the_log(tmp_path) -> None:
    """TensorBoard itself finds every loss under the cell's key."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with kept(LogLines(plain(), 1), tmp_path) as shown:
        shown.update(0, KEY, "training", 11, 22, "loss 0.512 in epoch 1/2")
        shown.update(0, KEY, "training", 22, 22, "loss 0.250 in epoch 2/2")
    found = reader.EventAccumulator(str(tmp_path / KEY))
    found.Reload()
    points = [(each.step, round(each.value, 3)) for each in found.Scalars("training/loss")]
    assert points == [(11, 0.512), (22, 0.25)]
