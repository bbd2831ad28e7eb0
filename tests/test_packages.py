"""What holds for whole packages (the order of imports is held by `lint-imports`)."""

import ast
import pkgutil
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TORCH_FREE = ("records", "plans", "report", "submission", "cli")


@pytest.mark.parametrize("name", TORCH_FREE)
def test_reading_needs_no_torch(name: str) -> None:
    """Every module of a package that only reads is imported in a fresh process without torch."""
    package = import_module(f"benchmark.{name}")
    names = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    assert names
    code = f"import sys; from importlib import import_module as i; [i(n) for n in {names!r}]"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("code", "late"),
    [
        ("import benchmark.report.figures", {"torch", "matplotlib", "scipy"}),
        ("import benchmark.cli.data", {"torch", "torchvision", "requests"}),
        (
            "from baselines import METHODS as them; from benchmark.records.specs import spec_of; "
            "[(spec_of(how), spec_of(how.recipe('cifar10'))) for how in them.values()]",
            {"torch", "torchvision", "sklearn"},
        ),
    ],
    ids=["declarations of figures", "data commands", "specs of methods"],
)
def test_large_libraries_wait(code: str, late: set[str]) -> None:
    """What commands import, and the specs of methods, load none of these."""
    code = f"import sys; {code}; sys.exit(not {late!r}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
