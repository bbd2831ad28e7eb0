"""The examples run as their readers run them, and what they print makes sense."""

import base64
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "rift_in_ten_lines.ipynb"
CHANCE = 10  # percent, of ten classes
PNG = b"\x89PNG"


IN_TURN = """import json, runpy, sys
for path, *arguments in json.loads(sys.argv[1]):
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")
    print(end=chr(0))"""
"""Scripts, each as `python PATH ARGUMENTS`, in one process, which imports torch once."""


def under_attack(said: str) -> list[float]:
    """The robust accuracies in `said`, in percent."""
    return [float(value) for value in re.findall(r"([\d.]+) % under PGD-10", said)]


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The folder that `own_model.py` wrote to, and what each script printed."""
    folder = tmp_path_factory.mktemp("own")
    names = ("own_model", "own_posthoc", "own_forward", "own_at_method")
    scripts = [[str(EXAMPLES / f"{name}.py"), *([str(folder)] * (name != names[-1]))] for name in names]
    where = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (EXAMPLES, EXAMPLES.parent)))}
    command = [sys.executable, "-c", IN_TURN, json.dumps(scripts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=where)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, dict(zip(names, done.stdout.split(chr(0)), strict=False))


def test_own_model(own):
    """torchvision's network is robust well above chance before and after RiFT, and lies in a file."""
    folder, said = own[0], own[1]["own_model"]
    assert re.search(r"rift: [\w.]+ fine-tuned, alpha\* = \d", said)
    assert len(under_attack(said)) == 2 and min(under_attack(said)) > 2 * CHANCE
    card = (folder / "digits-rift.md").read_text()
    assert (folder / "digits-rift.safetensors").is_file() and "pgd10x3" in card


def test_own_posthoc(own):
    """Two methods start from the saved network, keep its robustness and stand in one table."""
    said = own[1]["own_posthoc"]
    rows = {line.split()[0]: line for line in said.splitlines()[1:]}
    assert set(rows) == {"as", "rift-one-step", "bn-only"}
    for line in rows.values():
        robust = float(re.search(r"([\d.]+) +[\d.]+ to [\d.]+$", line)[1])
        assert robust > 2 * CHANCE


def test_own_forward(own):
    """PGD sees nothing in rounded logits, the adaptive attack what it sees in the network."""
    said = own[1]["own_forward"]
    assert re.search(r"rounded to multiples of 0\.\d+", said)
    adaptive = [float(value) for value in re.findall(r"([\d.]+) % adaptively", said)]
    alone = under_attack(said)
    assert alone[1] > max(alone[0], adaptive[1]) + 20
    assert adaptive[0] > 2 * CHANCE and adaptive[1] < alone[0] + 15


def test_own_at_method(own):
    """A method written in an example trains a robust network in the suite's loop."""
    said = own[1]["own_at_method"]
    assert under_attack(said)[0] > 2 * CHANCE


def test_notebook_shows_its_output():
    """The committed notebook was run from top to bottom without an error and shows its picture."""
    cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    pictures = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 1 and base64.b64decode(pictures[0]).startswith(PNG)
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_notebook_is_of_the_code_as_it_is():
    """Its output is of as many images that choose as its code gives today."""
    text = NOTEBOOK.read_text()
    asked = re.search(r"three_splits\((?:judged=(\d+))?\)", text)[1]
    three_splits = runpy.run_path(str(EXAMPLES / "own_model.py"))["three_splits"]
    _, (_, labels), _ = three_splits(int(asked)) if asked else three_splits()
    assert f"one of {len(labels)} images" in text


@pytest.mark.slow
def test_notebook_runs():
    """Run again, the notebook's network is robust above chance and RiFT's answer is printed."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(EXAMPLES)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    said = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", ()))
    assert "rift-curve: " in said
    assert min(float(value) for value in re.findall(r"pgd10x3 +([\d.]+)", said)) > 0.2
