"""What the pages tell a reader to type: commands parse, code compiles, links lead to files."""

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from benchmark.cli.app import app

ROOT = Path(__file__).parents[2]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "checkpoints/README.md", "results/README.md")
PAGES = [*(ROOT / name for name in OUTSIDE), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / ".github").rglob("*.yml"))
PAGES = [page for page in PAGES if not {"made", "_build"} & set(page.parts)]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"(?:^|/| )python -m benchmark ")
OTHERS = {"--index-url", "--dependency=singleton", "--requeue"}
"""Options on the pages that are of other programs."""


def command_line() -> Any:
    """The commands, without what a callback would do with a file that need not exist."""
    known = typer.main.get_command(app)
    for each in commands(known).values():
        for parameter in each.params:
            parameter.callback = None
    return known


def commands(group: Any, before: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """All commands by their names, such as `("data", "get")`."""
    found = {before: group} if before else {}
    for name, each in getattr(group, "commands", {}).items():
        found |= commands(each, (*before, name))
    return found


KNOWN = command_line()
NAMES = {names[0] for names in commands(KNOWN)}
PARAMETERS = [p for each in (KNOWN, *commands(KNOWN).values()) for p in each.params]
OPTIONS = {option for each in PARAMETERS for option in (*each.opts, *each.secondary_opts)}
VALUED = {
    o for p in PARAMETERS for o in p.opts if o.startswith("--") and not getattr(p, "is_flag", False)
}


def parse(words: list[str]) -> None:
    """Raise click's error if the command line does not take `words`; nothing is run."""
    command = KNOWN
    context = command.make_context("benchmark", list(words))
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def text(page: Path) -> str:
    """A page without comments."""
    return re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def typed(page: Path) -> Iterator[list[str]]:
    """The words of every call of the command line on `page`.

    They are what follows `python -m benchmark`, or code in a sentence that begins with a command's name
    and has more than it; there an option may stand without its value.
    """
    lines = re.sub(r"\\\n", " ", text(page)).splitlines()
    code = [code for line in lines for code in re.findall(r"`([^`]+)`", line)]
    plain = [line for line in lines if "`" not in line]
    for line in code + plain:
        for part in re.split(r"&&|;| \|", line):
            called = PROGRAM.split(part, maxsplit=1)
            if len(called) == 2:
                yield shlex.split(called[1], comments=True)
            elif line in code and (words := part.split()) and words[0] in NAMES and len(words) > 1:
                yield shlex.split(part) + ["1"] * (words[-1] in VALUED)


CALLS = sorted({(page.relative_to(ROOT).as_posix(), *words) for page in PAGES for words in typed(page)})


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_commands_parse(call: tuple[str, ...]) -> None:
    """Every command on a page is one that the command line takes, options and arguments too."""
    words = call[1:]
    if words not in commands(KNOWN):  # a sentence may name one without its arguments
        parse(["1" if word == "N" else word for word in words])


def test_commands_are_found() -> None:
    """The pages show many commands, and what is wrong with one is found."""
    assert len(CALLS) > 40
    for wrong in ("tabel1", "table1 --sclae quick", "table1 --limit 0", "evaluate x"):
        with pytest.raises(Exception, match=r"tabel1|--sclae|Input should be|dataset|extra"):
            parse(wrong.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_options_exist(page: Path) -> None:
    """Every option that a sentence or a table names is one of some command."""
    for code in re.findall(r"`(--[^`]+)`", text(page)):
        option = code.split()[0]
        assert option in OPTIONS | OTHERS | {"--help"}, f"{option} on {page.name}"


BLOCKS = {
    f"{page.relative_to(ROOT).as_posix()}-{number}": code
    for page in PAGES
    for number, (_, language, code) in enumerate(BLOCK.findall(text(page)))
    if language == "python"
}


@pytest.mark.parametrize("code", BLOCKS.values(), ids=BLOCKS.keys())
def test_python_fits_the_package(code: str) -> None:
    """Code compiles, what it imports is there, and functions of the suite take what they are given."""
    tree = ast.parse(inspect.cleandoc(code))
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                import_module(alias.name)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known[alias.name] = getattr(import_module(node.module), alias.name)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and callable(function := known.get(node.func.id))
        ):
            given = {word.arg: None for word in node.keywords}
            with suppress(ValueError):  # a builtin, which tells none
                inspect.signature(function).bind(*node.args, **given)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    """Every relative link or picture is a file of the repository."""
    for target in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text(page)):
        assert (page.parent / target).exists(), f"{target} on {page.name}"


FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_for_issues_are_what_github_takes(path: Path) -> None:
    """A name, a description, and questions that each have an id of their own and a label."""
    form = yaml.safe_load(path.read_text())
    assert form.keys() == {"name", "description", "body"}
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked) > 0
    for part in form["body"]:
        assert part["type"] in ("markdown", "input", "textarea")
        assert "value" in part["attributes"] if part not in asked else part["attributes"]["label"]
    for page in re.findall(r"docs/[\w-]+\.md", path.read_text()):
        assert (ROOT / page).is_file()


def test_the_workflow_runs_what_ci_runs() -> None:
    """And on each push, without the right to write."""
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    (job,) = flow["jobs"].values()
    assert job["steps"][-1]["run"] == ".ci/run" and (ROOT / ".ci" / "run").is_file()
    assert flow["permissions"] == {"contents": "read"}
