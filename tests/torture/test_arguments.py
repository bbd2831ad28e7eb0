"""Whatever stands behind a flag or in a scale file: one line and exit code 2, or an answer."""

import contextlib
import math
import os
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.cli.app import app
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.records.specs import spec_hash
from benchmark.report.tables import REPORTS
from invoking import Said, said

FEW = settings(max_examples=max(30, settings.default.max_examples // 3))
PLACES = ("--results", "--artifacts", "--data-dir")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
IDLE = {
    "table1": ["--dry-run"],
    "audit": ["--collect"],
    "figure1": ["--dry-run"],
    "run": ["--dry-run", "quick/digits/resnet10-w16/pgd-at/rift/seed0"],
    "status": [],
    "evaluate": [],
    "evidence": ["--dry-run"],
    "check": [],
    "leaderboard": [],
    "bf16": [],
}
"""What each command needs so that it works on nothing."""
HOSTILE = (
    *("", " ", "-1", "0", "nan", "inf", "-inf", "1e999", "9" * 5000, "10**12", "None", "true", "["),
    *("/dev/zero", "/dev/null", "/dev/full", "~", "~nobody-at-all/x", "a" * 300, "a/" * 3000, "💥"),
    *(".toml", "a" * 300 + ".toml", "quick-in-fp32", "quick-from-x", "own", "0,0", "0,,1", "٣"),
    *("clean,clean-first-0", "clean-first-" + "9" * 5000, "rift,rift", "inf/1", "1/inf", "nan/1"),
    *("cuda:99", "gpu", "meta", "cpu:7", "quick/digits/resnet10-w" + "9" * 5000 + "/pgd-at/none/seed0"),
    "quick/digits/resnet10-w16/pgd-at/none/seed" + "9" * 5000,
)
WORDS = st.text(st.characters(exclude_categories=("C", "Z")), max_size=20)
VALUES = st.sampled_from(HOSTILE) | WORDS | st.integers().map(str) | st.floats().map(str)


def sane(answer: Said) -> None:
    """An answer, or one line that says what is wrong."""
    assert answer.exit_code in (0, 2), answer
    if answer.exit_code == 2:
        assert answer.refusal


@FEW
@given(data=st.data())
def test_any_value_of_any_flag(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """No value of a flag is a traceback, begins work or leaves something behind."""
    name = data.draw(st.sampled_from(sorted(IDLE)))
    flags = [each for each in COMMANDS[name].params if each.opts[0] not in ("--plugin", "--help")]
    flag = data.draw(st.sampled_from(flags))
    value = data.draw(VALUES)
    at = tmp_path_factory.getbasetemp() / "nothing"
    places = [each for each in PLACES if each != flag.opts[0] and {each} & options(name)]
    arguments = [part for each in places for part in (each, str(at))]
    if flag.opts[0].startswith("--"):
        arguments += [flag.opts[0]] if getattr(flag, "is_flag", False) else [flag.opts[0], value]
    else:
        arguments += ["--", value]
    with contextlib.chdir(tmp_path_factory.getbasetemp()):
        sane(said(name, *IDLE[name], *arguments))


def options(name: str) -> set[str]:
    """The flags of a command."""
    return {each.opts[0] for each in COMMANDS[name].params}


SCALE = """name = "mine"
summary = "mine"
datasets = ["digits"]
archs = ["resnet18-w8"]
methods = ["pgd-at", "mart"]
"""
FIELDS = {
    "training": "epochs batch_size lr schedule milestones momentum weight_decay attack_steps "
    "attack_path select_last select_images",
    "finetuning": "epochs batch_size lr milestones momentum weight_decay select_last select_images",
    "criticality": "radius lr rate steps batch_size split images",
    "networks.resnet18-w8": "epochs batch_size lr select_last seeds",
    "recipes.mart": "epochs lr momentum seeds",
}
NUMBERS = st.integers(-5, 300).map(str) | st.integers().map(str) | st.floats().map(str)
TOML = (
    NUMBERS
    | st.lists(NUMBERS, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
    | st.sampled_from(("true", "[true]", "1" + "0" * 40, "9" * 5000, "'x'", "{}", "1e400", "[[[]]]"))
    | st.sampled_from(("[" * 5000, "{a=" * 5000, "1979-05-27", "'\\u0000'"))
)


@FEW
@given(
    place=st.sampled_from([(part, name) for part, names in FIELDS.items() for name in names.split()]),
    value=TOML,
    top=st.sampled_from(("seeds = [0]", "seeds = {}", "seeds = [0]\nthreads = {}")).flatmap(
        lambda line: TOML.map(line.format)
    ),
)
def test_any_number_of_a_scale(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, str], value: str, top: str
) -> None:
    """A scale file is refused in one line with its path, or all its numbers can be computed with."""
    path = tmp_path_factory.getbasetemp() / "mine.toml"
    part, field = place
    path.write_text(f"{SCALE}{top}\n[{part}]\n{field} = {value}\n")
    answer = said("table1", "--scale", path, "--dry-run", "--results", path.parent / "nothing")
    sane(answer)
    if answer.exit_code == 2:
        assert f"'{path}'" in answer.refusal or "scale 'mine'" in answer.refusal
        return
    mine = scale(str(path))
    for cell in REPORTS["table2"].cells(mine, ["rift"]):
        plan = Plan.of(cell, mine)
        assert len(spec_hash(plan.spec)) == 64  # which takes neither NaN nor infinity
        for recipe in (plan.base.recipe, plan.recipe):
            assert 1 <= recipe.batch_size <= 10**9
            assert 0 <= recipe.lr_at(0, 10) < math.inf


@FEW
@given(data=st.data())
def test_any_damage_to_a_scale(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A file with some bytes changed, and one in any encoding, is read or refused by its path."""
    whole = f"{SCALE}seeds = [0]\n".encode()
    at = data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    until = data.draw(st.integers(at, len(whole)))
    path.write_bytes(whole[:at] + data.draw(st.binary(max_size=3)) + whole[until:])
    answer = said("status", "--scale", path, "--results", path.parent / "nothing")
    assert answer.exit_code in (0, 2)
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("encoding", "read"), [("utf-8", True), ("utf-8-sig", True), ("utf-16", False), ("utf-32", False)]
)
def test_encodings_of_a_scale(tmp_path: Path, encoding: str, read: bool) -> None:
    """UTF-8 is read, with a byte-order mark or without; others are told to be saved so."""
    path = tmp_path / "mine.toml"
    path.write_text(f"{SCALE}seeds = [0]\n", encoding=encoding)
    answer = said("status", "--scale", path, "--results", tmp_path)
    assert (answer.exit_code == 0) == read
    assert read or answer.refusal.endswith("it is not UTF-8; save it as that")


def test_a_pipe_is_no_scale(tmp_path: Path) -> None:
    """A named pipe, which nobody writes to, is refused rather than waited for."""
    path = tmp_path / "pipe.toml"
    os.mkfifo(path)
    assert "no file of text" in said("status", "--scale", path).refusal
