"""Foreign text: whatever stands in a name or a summary, files and terminal get lines and nothing live.

A few examples of each run with the suite; `--hypothesis-profile torture` tries many others.
"""

import io
import json
import re
import tempfile
import tomllib
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from benchmark.cli.progress import LiveBars, LogLines
from benchmark.errors import UserError, line, printable
from benchmark.plans.named import scale
from benchmark.records.cells import Cell
from benchmark.records.files import inside, write_atomically
from benchmark.records.store import Journal, Store
from benchmark.report.leaderboard.boards import leaderboard
from benchmark.report.leaderboard.markdown import markdown as board_in_markdown
from benchmark.report.leaderboard.page import html
from benchmark.report.markup import markdown
from benchmark.report.tables import REPORTS
from benchmark.report.tables.render import FORMATS
from benchmark.report.view import View
from handmade import BY_HAND, cell_at, write_record
from invoking import MINI, said

FEW = settings(max_examples=max(25, settings.default.max_examples // 4))
NASTY = (
    "\\input{/etc/passwd}",
    "<script>alert(1)</script>",
    "\x1b]0;owned\x07",
    "a\nb",
    "a\r% \\input{x}",
    "\u202egnp.exe",
    "\x00",
    "\x9b31m",
    "[x](javascript:alert(1))",
    "![x](//y/z)",
    "| a |",
    "$x$ ^^M",
    "\\|\\](x)\\![",
    "\ud800",
    "../../../x",
    "&lt;b&gt;",
)
FOREIGN = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=30),
    st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=5)), max_size=4).map("".join),
)
ENCODABLE = FOREIGN.filter(lambda text: not re.search("[\ud800-\udfff]", text))
KEY = "quick/digits/resnet10-w16/pgd-at/rift/seed0"


def live(text: str) -> list[str]:
    """The characters of `text` that are neither shown nor the end of a line, by Unicode's own table."""
    found = {each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    return sorted(map(ascii, found - set("\n\t\u200c\u200d")))


def is_a_line(refused: Callable[[], object]) -> bool:
    """Whether what is `refused` is so in one line that controls nothing."""
    with pytest.raises(UserError) as refusal:
        refused()
    return not live(str(refusal.value)) and len(str(refusal.value).splitlines()) == 1


@given(FOREIGN)
def test_a_line_is_a_line(text: str) -> None:
    """It controls no terminal, plain text is left alone, and quoting twice is quoting once."""
    shown = line(text)
    assert not live(shown)
    assert shown.splitlines() in ([shown], [])
    assert line(shown) == shown
    if not live(text) and not set("\n\t") & set(text):
        assert shown == text
    assert not live(printable(text))
    assert printable(text).count("\n") == text.count("\n")


@given(FOREIGN, st.booleans())
def test_markdown_holds_no_tag_link_or_column(text: str, marks: bool) -> None:
    """No tag, no link, no picture and no further column comes from foreign words."""
    shown = markdown(text, marks=marks)
    assert not live(shown)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"<[A-Za-z/!?]", shown)
    unescaped = re.sub(r"\\[\\\]|!\[]", "", shown)
    assert "|" not in unescaped
    assert not re.search(r"\][(\[:]|!\[", unescaped)


@given(FOREIGN, st.integers(0, 4))
def test_one_pattern_for_a_key(text: str, place: int) -> None:
    """A foreign name makes a cell whose path is where its key says, or none."""
    parts = KEY.split("/")
    parts[place] = text
    root = Path("/results")
    if re.fullmatch(r"[a-z0-9][a-z0-9.-]*", text):
        cell = Cell(*parts[:5], 0)
        path = Store(root, root).record_path(cell, "clean")
        assert path.parts[3:8] == tuple(parts[:5])
        assert Cell.parse(cell.key) == cell
        return
    assert is_a_line(lambda: Cell(*parts[:5], 0))
    if not text.startswith("/"):
        assert is_a_line(lambda: Cell.parse("/".join(parts)))


TABLES = [name for name, spec in REPORTS.items() if spec.of_tables]


@FEW
@given(text=FOREIGN)
@example("x\n\\input{/etc/passwd}")
def test_tables_say_nothing_live(written_by_hand: Store, tables_by_hand: dict, text: str) -> None:
    """Foreign words in title, labels and notes stay in their line and column."""
    table = tables_by_hand["table1"]
    rows = tuple(replace(row, labels=(text, *row.labels[1:])) for row in table.rows)
    table = replace(table, title=text, columns=(text, *table.columns[1:]), rows=rows, notes=(text,))
    for name, shown in {name: render(table) for name, render in FORMATS.items()}.items():
        assert not live(shown), name
    pipes = [row for row in FORMATS["markdown"](table).splitlines() if row.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in pipes}) == 1
    commands = set(re.findall(r"\\[A-Za-z]+", FORMATS["latex"](table)))
    assert "\\input" not in commands


@pytest.mark.parametrize("name", TABLES)
def test_a_summary_is_a_line(written_by_hand: Store, name: str) -> None:
    """A scale whose summary is more than a line, or controls what shows it, is none."""
    for text in ("a\n\\input{/etc/passwd}", "\x1b[31m", "\u202e", "\x00"):
        with pytest.raises(ValueError, match="control characters"):
            replace(BY_HAND, summary=text)
    shown = REPORTS[name].build(
        View(written_by_hand, replace(BY_HAND, summary="\\input{x} <script>")), REPORTS[name].defaults
    )
    assert "<script" not in FORMATS["markdown"](shown)
    assert "\\textbackslash{}input" in FORMATS["latex"](shown)
    assert "\\input" not in FORMATS["latex"](shown)


@FEW
@given(text=ENCODABLE)
def test_records_keep_out_what_controls(text: str) -> None:
    """A remark that is a line is read as it is; another is refused in one line."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder, "results"), Path(folder, "artifacts"))
        write_record(store, cell_at("rift"), "pgd10x3", 400)
        path = store.record_path(cell_at("rift"), "pgd10x3")
        raw = json.loads(path.read_text())
        path.write_text(json.dumps(raw | {"remarks": [text]}))
        if live(text) or set("\n\t") & set(text):
            assert is_a_line(lambda: store.record(cell_at("rift"), "pgd10x3"))
            return
        record = store.record(cell_at("rift"), "pgd10x3")
        assert record is not None
        assert record.remarks == [text]
        shown = leaderboard(store, {BY_HAND.name: BY_HAND}, {})
        assert not live(html(shown) + board_in_markdown(shown))


@FEW
@given(text=ENCODABLE, field=st.sampled_from(["name", "summary", "datasets", "methods", "training"]))
def test_a_scale_file_is_refused_or_a_line(text: str, field: str) -> None:
    """Foreign words in a TOML are lines, or refused in one."""
    content = tomllib.loads(MINI.read_text())
    value = {"name": text, "summary": text, "training": {text: 1}}.get(field, [text])
    lines = {n: each for n, each in content.items() if not isinstance(each, dict)} | {field: value}
    written = "\n".join(f"{name} = {_toml(each)}" for name, each in lines.items())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "theirs.toml")
        path.write_text(written, encoding="utf-8")
        answer = said("table1", "--scale", path, "--dry-run", "--results", folder)
    assert not live(answer.stdout + answer.stderr)
    if answer.exit_code != 0:
        assert len(answer.errors()) == 1


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(each)}" for name, each in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


COMMANDS = (
    ("run", "{}"),
    ("table1", "--{}"),
    ("table1", "--scale", "{}"),
    ("table1", "--evaluations", "{}"),
    ("table1", "--from-checkpoint", "{}"),
    ("evaluate", "--arch", "{}", "--dataset", "digits", "--weights", "x"),
    ("data", "verify", "{}"),
    ("leaderboard", "--plugin", "{}"),
    ("submit", "{}"),
)


@FEW
@given(text=FOREIGN.filter(lambda text: text.strip("./- \0")), arguments=st.sampled_from(COMMANDS))
def test_what_is_typed_reaches_no_terminal(arguments: tuple[str, ...], text: str) -> None:
    """Whatever a name on the command line holds, the answer controls no terminal."""
    answer = said(*(part.format(text.strip("./-").replace("/", "")) for part in arguments))
    assert answer.exit_code == 2
    assert not live(answer.stdout + answer.stderr)


def test_warnings_and_progress_reach_no_terminal(tmp_path: Path) -> None:
    """Warnings are quoted while a command runs, and so are the stages that bars and lines show."""
    warned = "sys.stderr.write(warnings.formatwarning('\\x1b[31m', UserWarning, 'f', 1))"
    plugin = tmp_path / "warns.py"
    plugin.write_text(f"import sys, warnings\n{warned}\n")
    answer = said("list", "--plugin", plugin)
    assert "UserWarning: \\x1b[31m" in answer.stderr
    assert not live(answer.stderr)
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, color_system=None, width=200)
    bars = LiveBars(console, 1, 1)
    for shown in (bars, LogLines(console, 1)):
        shown.update(0, KEY, "[red]a\x9b\nb", 1, 2, "epoch \u202e[/red]")
    assert {str(task.description) for task in bars.progress.tasks} >= {
        "digits/resnet10-w16 rift seed0 pgd-at: [red]a\\x9b\\nb, epoch \\u202e[/red]"
    }
    console.print(bars.progress.get_renderable())
    lines = written.getvalue()
    assert lines.count("[red]a\\x9b\\nb") == 2
    assert lines.count("\\u202e[/red]") == 2


# --- links ------------------------------------------------------------------------------------------


def linked(tmp_path: Path, place: str) -> tuple[Path, Path]:
    """A tree in which `place` is a link to a folder outside, and that folder."""
    root, outside = tmp_path / "tree", tmp_path / "outside"
    (root / place).parent.mkdir(parents=True)
    outside.mkdir()
    (root / place).symlink_to(outside, target_is_directory=True)
    return root, outside


@pytest.mark.parametrize("depth", range(7))
def test_a_tree_is_not_written_through_a_link(tmp_path: Path, depth: int) -> None:
    """Records, weights and what is superseded stay in their tree, wherever a link lies in it."""
    cell = cell_at("rift")
    place = "/".join(["records", *cell.key.split("/")][: depth + 1])
    root, outside = linked(tmp_path, place)
    store = Store(root, root / "records")
    doors: list[Callable[[], object]] = [
        lambda: write_record(store, cell, "clean", 400),
        lambda: store.supersede(cell, "clean", "0" * 64),
        lambda: write_atomically(root / place / "x", b"", root),
    ]
    doors += [lambda: store.work(cell), lambda: store.lock(cell)] if 0 < depth < 5 else []
    for door in doors:
        with pytest.raises(UserError, match="symbolic link") as refusal:
            door()
        assert str(outside) in str(refusal.value)
    assert not any(outside.iterdir())


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    """A results folder on another disk is the user's choice; what leaves it by `..` is not."""
    (tmp_path / "disk").mkdir()
    root = tmp_path / "results"
    root.symlink_to(tmp_path / "disk")
    write_atomically(root / "tables" / "x.md", b"x", root)
    assert (tmp_path / "disk" / "tables" / "x.md").read_bytes() == b"x"
    with pytest.raises(UserError):
        inside(root / ".." / "x", root)


def test_a_lock_and_a_journal_follow_no_link(tmp_path: Path) -> None:
    """A link in the place of a lock leaves alone what it names, and so does one of a journal."""
    store, mine = Store(tmp_path / "results", tmp_path / "artifacts"), tmp_path / "mine"
    mine.write_text("mine")
    folder = store.work(cell_at("rift").base)
    folder.mkdir(parents=True)
    (folder / "lock").symlink_to(mine)
    (folder / "journal").symlink_to(tmp_path)
    with pytest.raises(UserError, match="symbolic link"):
        store.lock(cell_at("rift"))
    with pytest.raises(UserError, match="symbolic link"):
        Journal(folder / "journal", "another")
    assert mine.read_text() == "mine"


def test_the_commands_write_through_no_link(tmp_path: Path) -> None:
    """Tables, the leaderboard and verdicts are refused where a link would lead them elsewhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    results = tmp_path / "results"
    (results / "records").mkdir(parents=True)
    for name in ("tables", "checks"):
        (results / name).symlink_to(outside)
    (results / "leaderboard-own.md").symlink_to(outside / "x.md")
    assert scale("quick").name == "quick"
    for command in (("table1", "--collect"), ("check", "--accept")):
        answer = said(*command, "--results", results)
        assert "symbolic link" in answer.errors()[0]
    assert not any(outside.iterdir())


def test_only_one_place_prints() -> None:
    """Every command prints by `show` and `say`, which let nothing through that controls a terminal.

    The Python door's progress and the log of a job on a cluster are quoted where they are written.
    """
    folder = Path(__file__).parents[2] / "benchmark"
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if re.search(r"typer\.s?echo\(|(?<![\w.])print\(|std(err|out)\.write", path.read_text())
    }
    assert found - {"api.py"} == {  # whose docstring shows how a result is printed
        "cli/__init__.py",
        "cli/options.py",
        "jobs/given.py",
        "jobs/node.py",
    }
