"""What holds for whole packages (the order of imports is held by `lint-imports`)."""

import ast
import json
import pkgutil
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCH_FREE = ("records", "plans", "report", "submission", "cli")


STEPS = {
    "the package": ("import benchmark", ["torch"]),
    "the entry point": ("import benchmark.cli", ["typer"]),
    "specs of methods": (
        "from baselines import METHODS as them; from benchmark.records.specs import spec_of; "
        "[(spec_of(how), spec_of(how.recipe('cifar10'))) for how in them.values()]",
        ["torch", "torchvision", "sklearn"],
    ),
    "declarations of figures": ("import benchmark.report.figures", ["torch", "matplotlib", "scipy"]),
    "data commands": ("import benchmark.cli.data", ["torch", "torchvision", "requests"]),
    "all commands": ("import benchmark.cli.app", ["torch", "matplotlib", "scipy", "requests"]),
}
"""What is done in one process, in this order, and the libraries that are not loaded by it."""
IN_TURN = """import json, sys
too_early = {}
for name, (code, late) in json.loads(sys.argv[1]).items():
    before = {*sys.modules}
    exec(code)
    if found := sorted({*late} & sys.modules.keys() - before):
        too_early[name] = found
print(json.dumps(too_early))"""


def test_large_libraries_wait() -> None:
    """Neither what commands import, nor specs, nor any module of a package that only reads loads these;
    what does is named."""
    steps = dict(STEPS)
    for name in TORCH_FREE:
        path = import_module(f"benchmark.{name}").__path__
        modules = [each.name for each in pkgutil.walk_packages(path, f"benchmark.{name}.")]
        assert modules
        steps |= {module: (f"import {module}", ["torch"]) for module in modules}
    command = [sys.executable, "-c", IN_TURN, json.dumps(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {}


SOURCES = [path for name in ("benchmark", "baselines") for path in sorted((ROOT / name).rglob("*.py"))]


def test_files_are_short() -> None:
    """No source file has more than 300 lines."""
    assert not {path: n for path in SOURCES if (n := len(path.read_text().splitlines())) > 300}


def test_a_class_has_a_name_of_its_own() -> None:
    """No class is called like another one."""
    names = Counter(
        node.name
        for path in SOURCES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert not {name: count for name, count in names.items() if count > 1}
