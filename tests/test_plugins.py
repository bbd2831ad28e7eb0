"""Plug-ins: what a stranger's file adds goes through the commands, and names that file everywhere."""

import os
import pickle
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baselines import METHODS, method
from benchmark.algorithm.protocols import PROTOCOLS
from benchmark.algorithm.tunings import TUNINGS, finetune
from benchmark.data import DATASETS, LOADERS
from benchmark.engine.precision import Precision
from benchmark.errors import UserError
from benchmark.evaluation import EVALUATIONS
from benchmark.jobs.tasks import Failure, Options, tasks_for
from benchmark.jobs.worker import Worker
from benchmark.models import FAMILIES
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.plans.plugins import load_again, load_plugin
from benchmark.posthoc import POSTHOC, of_spec
from benchmark.records.cells import Cell
from benchmark.records.plugins import LOADED, ORIGINS, Plugin, named_in, not_loaded
from benchmark.records.records import Making, Provenance
from benchmark.records.specs import spec_hash
from benchmark.records.store import Store
from benchmark.report.check.published import published
from benchmark.submission.examine import examine
from benchmark.submission.expected import Expected
from benchmark.submission.read import read
from handmade import PROVENANCE, store_in
from invoking import MINI, Command, said
from submitting import copied

OUTSIDER, SCALE = Path(__file__).with_name("outsider.py"), Path(__file__).with_name("outsider.toml")
KEY = "outside/stripes/plain/noise/second-mine/seed0"
REGISTRIES: tuple[MutableMapping[Any, Any], ...] = (
    *(METHODS, TUNINGS, PROTOCOLS, FAMILIES, DATASETS, LOADERS, EVALUATIONS, POSTHOC),
    *(LOADED, ORIGINS),
)


@contextmanager
def registries() -> Iterator[None]:
    """Inside, plug-ins may be loaded; then all registries are what they were."""
    before = [dict(registry) for registry in REGISTRIES]
    try:
        yield
    finally:
        for registry, content in zip(REGISTRIES, before, strict=True):
            registry.clear()
            registry.update(content)


@pytest.fixture(autouse=True)
def _no_plugin_stays() -> Iterator[None]:
    """Every test begins and ends without plug-ins."""
    with registries():
        yield


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Table 1 of the stranger's scale; to be read only."""
    store = store_in(tmp_path_factory.mktemp("theirs"))
    chosen = ("--scale", SCALE, "--plugin", OUTSIDER, "--protocol", "second-mine")
    with registries():
        answer = Command(store)("table1", *chosen).good()
    assert "Stripes" in answer.stdout
    assert "Noise+second-mine" in answer.stdout
    return store


def of(store: Store) -> tuple[str, ...]:
    """The flag that names the results of `store`."""
    return "--results", str(store.results)


HEAD = """
from dataclasses import dataclass, replace
from baselines import PgdAt
from benchmark import add, load_plugin
from benchmark.algorithm.protocols import PAPER
from benchmark.algorithm.selection import LastLayer, Untouched
from benchmark.algorithm.tunings import TUNINGS, Tuning
from benchmark.data import DATASETS
from benchmark.engine.method import OwnTuning
from benchmark.evaluation import EVALUATIONS
from benchmark.models import FAMILIES, Family
from benchmark.posthoc.averages import FlipAverage
"""


def plugin_in(folder: Path, text: str, name: str = "mine") -> Path:
    """A plug-in of that text, from line 13 on."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(HEAD + text)
    return path


def changed(folder: Path) -> Path:
    """The stranger's plug-in with another last line."""
    return plugin_in(folder, OUTSIDER.read_text() + "# changed\n", "outsider")


# --- what stands in files -----------------------------------------------------------------------------


def test_records_name_the_plugin(theirs: Store) -> None:
    """Specs of what uses a plug-in, and provenance, hold its name and sha256; the record is fresh."""
    plugin = load_plugin(OUTSIDER)
    cell = Cell.parse(KEY)
    for file in theirs.of(cell):
        assert named_in(file.spec) == file.provenance.plugins == {"outsider": plugin.sha256}
        today = Plan.of(cell, scale(str(SCALE)))
        wanted = today.spec if isinstance(file, Making) else today.evaluation_spec(file.evaluation)
        assert wanted is not None
        assert file.spec_hash == spec_hash(wanted)


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("digits/resnet18-w8/noise/none", {"model"}),
        ("digits/plain/pgd-at/none", {"model"}),
        ("stripes/resnet18-w8/pgd-at/none", {"model"}),
        ("digits/resnet18-w8/pgd-at/second", {"tuning"}),
        ("digits/resnet18-w8/pgd-at/rift-mine", {"tuning", "criticality"}),
        ("digits/resnet18-w8/pgd-at/none", set()),
    ],
)
def test_a_spec_names_only_what_it_uses(key: str, where: set[str]) -> None:
    """Each kind of thing marks the part of a spec that depends on it, and nothing else."""
    before = Plan.of(Cell.parse("mini/digits/resnet18-w8/pgd-at/rift/seed0"), scale(str(MINI)))
    load_plugin(OUTSIDER)
    plan = Plan.of(Cell.parse(f"mini/{key}/seed0"), scale(str(MINI)))
    parts = {"model": plan.base.spec, "criticality": plan.criticality_spec}
    if plan.finetune is not None:
        parts["tuning"] = plan.tuning_spec | {"base": None, "criticality": None}
        parts["criticality"] = plan.criticality_spec | {"base": None}
    elif "model" in where:
        where = where | {"criticality"}  # which is of that model
    assert {name for name, spec in parts.items() if named_in(spec)} == where
    again = plan.evaluation_spec("again")
    assert again is not None
    assert named_in(again["evaluation"]) == {"outsider": LOADED["outsider"].sha256}
    assert spec_hash(before.spec) == spec_hash(Plan.of(before.cell, scale(str(MINI))).spec)


def test_provenance_without_plugins_is_as_before() -> None:
    """No file holds an empty list of plug-ins, and one that holds none is read."""
    there = PROVENANCE.model_dump(mode="json")
    assert "plugins" not in there
    assert Provenance.model_validate(there) == PROVENANCE


# --- readers ------------------------------------------------------------------------------------------


def test_readers_know_what_it_adds(theirs: Store, tmp_path: Path) -> None:
    """`list`, `status`, `check`, the leaderboard and the audit know the plug-in's names."""
    plugin = "--plugin", str(OUTSIDER)
    names = said("list", *plugin).good().stdout
    for name in ("stripes", "plain", "noise", "second", "rift-mine", "again", "outsider"):
        assert f"  {name} " in names
    states = said("status", "--scale", SCALE, *plugin, *of(theirs), "--only", "*mine*").good()
    assert (states.stdout.splitlines()[-1], states.stderr) == ("2 done", "")
    assert "Check of scale outside" in said("check", "--scale", SCALE, *plugin, *of(theirs)).stdout
    audit = ("--scale", SCALE, "--collect", "--protocol", "second-mine", "--evaluations", "again")
    assert "second-mine" in Command(theirs)("audit", *audit, *plugin).good().stdout
    ours = copied(tmp_path / "ours")
    said("submit", theirs.results, "--scale", SCALE, *plugin, "--allow-dirty", "--results", ours).good()
    said("leaderboard", *plugin, "--results", ours).good()
    assert "Noise + second-mine" in (ours / "leaderboard.md").read_text()


def test_readers_without_the_plugin(theirs: Store, tmp_path: Path) -> None:
    """Its records are told apart from stale ones, refused by `submit`, and passed where they are."""
    answer = said("status", "--scale", SCALE, *of(theirs))
    assert f"results/records/{KEY}' is made with plug-in outsider, not loaded" in answer.stderr
    ours = copied(tmp_path / "ours")
    hand_in = ("submit", theirs.results, "--scale", SCALE, "--allow-dirty", "--results", ours)
    refused = said(*hand_in)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "made with plug-in outsider, not loaded; read it, and name it by --plugin" in refused.stderr
    with registries():
        assert f"--plugin {OUTSIDER}" in said(*hand_in, "--plugin", OUTSIDER).good().stderr
    entries = read([ours]).entries
    found = examine(entries, (), Expected({"outside": scale(str(SCALE))}))
    assert found.problems == ()
    assert len(found.foreign) == sum(entry.cell.scale == "outside" for entry in entries) > 0
    checked = said("submit", "--check", "--results", ours).good()
    assert "remark: " in checked.stderr
    assert checked.stdout.endswith("nothing is wrong\n")
    said("leaderboard", "--results", ours).good()
    shown = (ours / "leaderboard.md").read_text()
    assert "records of plug-ins that are not loaded (4): " in shown
    assert f"{KEY} (made with plug-in outsider, not loaded)" in shown


def test_a_changed_plugin_makes_records_stale(theirs: Store, tmp_path: Path) -> None:
    """Its records are stale where the file is another one, whatever was changed in it."""
    plugin = "--plugin", str(changed(tmp_path))
    states = said("status", "--scale", SCALE, *plugin, *of(theirs), "--only", "*mine*").good()
    assert states.stdout.splitlines()[-1] == "2 stale"
    answer = said("submit", theirs.results, "--scale", SCALE, *plugin, "--results", tmp_path / "ours")
    assert "plugins.outsider is " in answer.stderr
    assert "(stale)" in answer.stderr


def test_records_of_another_plugin_of_these_names(theirs: Store, tmp_path: Path) -> None:
    """A table does not take the records of one plug-in for stale ones of another."""
    plugin = plugin_in(tmp_path, OUTSIDER.read_text(), "another")
    chosen = ("--scale", SCALE, "--plugin", plugin, "--collect", "--protocol", "second-mine")
    table = Command(theirs)("table1", *chosen, "--seeds", "0,1").good().stdout
    assert "records left out: 8, made with plug-in outsider, not loaded" in table
    assert "stale" not in table


def test_others_names_may_exist(tmp_path: Path) -> None:
    """What published.toml marks as of others stays so when a plug-in has that name."""
    body = OUTSIDER.read_text().replace('"noise"', '"fgsm-rs"').replace('"plain"', '"preactresnet18"')
    load_plugin(plugin_in(tmp_path, body))
    assert method("fgsm-rs").label == "Noise"
    rows = {row.id: row for row in published().rows}
    wong = rows["robustbench/cifar10/Wong2020Fast"]
    assert (wong.method, wong.arch, wong.ours) == ("other:fgsm-rs", "other:preactresnet18", False)


# --- loading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 +", "SyntaxError: invalid syntax, line 13"),
        ("\nimport nobodys", "ModuleNotFoundError: No module named 'nobodys', line 14"),
        ("\n\n1 / 0", "ZeroDivisionError: division by zero, line 15"),
        ("raise SystemExit(3)", "SystemExit: 3, line 13"),
        ("", "it adds nothing; call benchmark.add"),
        ("add.method(PgdAt())", "'pgd-at' exists; choose another name"),
        ("add.method(3)", "a method of class int has no type_name"),
        ("add.dataset(DATASETS['digits'], print)", "'digits' exists; choose another name"),
        ("add.network(FAMILIES['resnet10'])", "network 'resnet10' exists"),
        (
            "add.evaluation('Mine', EVALUATIONS['clean'])",
            "evaluation 'Mine': names are of lower-case letters, digits, dots and dashes",
        ),
        (
            "for _ in range(2): add.evaluation('a', EVALUATIONS['clean'])",
            "'a' exists; choose another name",
        ),
        (
            "add.tuning(Tuning('mine', 'x', LastLayer()))\nadd.tuning(TUNINGS['rift'])",
            "'rift' exists; choose another name",
        ),
        (
            "add.tuning(Tuning('mine-mirrored', 'x', LastLayer()))",
            "fine-tuning 'mine-mirrored': a name of this form means something else",
        ),
        (
            "class Own:\n    type_name = label = 'own'\n    version, paper = 1, None\n"
            "    recipe = inner = outer = hold = after_step = print\nadd.method(Own())",
            "a method of class Own has no selects_by",
        ),
        (
            "class Own:\n    version, label, summary = 1, 'own', 'own'\n    spec = run = print\n"
            "add.evaluation('own', Own())",
            "evaluation 'own' of class Own has no kind",
        ),
        (
            "class Own:\n    version, needs_criticality, select = 1, False, print\n"
            "add.tuning(Tuning('own', 'own', Own()))",
            "fine-tuning 'own': a selector of class Own has no everything",
        ),
        (
            "class Own(OwnTuning):\n    tune = print\n"
            "add.tuning(Tuning('own', 'own', LastLayer(), method=Own()))",
            "fine-tuning 'own': a part of class Own has no spec (Own cannot be part of a spec); it is",
        ),
        (
            "add.tuning(Tuning('own', 'own', LastLayer(), forward=FlipAverage))",
            "fine-tuning 'own': a part of class ABCMeta has no spec (ABCMeta cannot be part",
        ),
        (
            "class Own:\n    type_name = 'own'\n"
            "    version, label, paper, selects_by = 1, 'own', None, 'robust'\n"
            "    recipe, inner, outer, hold, after_step = (print,) * 5\n"
            "add.method(Own())",
            "a method of class Own has no spec (Own cannot be part of a spec); it is a frozen",
        ),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    """It is refused before any work, and leaves no name behind."""
    before = [dict(registry) for registry in REGISTRIES]
    path = plugin_in(tmp_path, text)
    refusal = said("list", "--plugin", path).refusal
    assert refusal.startswith(f"plug-in '{path}': {message}")
    assert before == [dict(registry) for registry in REGISTRIES]


def test_names_of_tunings_and_protocols_do_not_meet(tmp_path: Path) -> None:
    """A fine-tuning whose name another reads as a protocol's is refused."""
    text = "add.protocol(replace(PAPER, suffix='-2'))\nadd.tuning(Tuning('top', 'x', LastLayer()))\n"
    with pytest.raises(UserError, match="'top-2' exists"):
        load_plugin(plugin_in(tmp_path, text))
    with pytest.raises(UserError, match="unknown fine-tuning 'rift-2'"):
        finetune("rift-2")


def test_the_file_of_a_plugins_module() -> None:
    """Its method is found by the spec that the file holds, while the plug-in is loaded."""
    example = Path(__file__).parents[1] / "examples" / "own_forward.py"
    with registries():
        load_plugin(example)
        rounding: Any = TUNINGS["rounded"].forward
        coarser = replace(rounding, steps=(2.0, 1.0))
        assert of_spec(coarser.spec({"step": 1.0}), "x") == coarser
    with pytest.raises(UserError, match="'x' holds a module of rounded"):
        of_spec(coarser.spec({"step": 1.0}), "x")


def test_what_is_no_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, an odd name and an unknown entry point are refused in one line."""
    assert "cannot be read" in said("list", "--plugin", tmp_path / "none.py").refusal
    odd = plugin_in(tmp_path, "", "my-method")
    assert "such as my_method.py" in said("list", "--plugin", odd).refusal
    assert "neither a .py file nor installed" in said("list", "--plugin", "nobodys").refusal
    monkeypatch.setenv("BENCHMARK_PLUGINS", "gone.py")
    assert said("list").refusal.startswith("plug-in 'gone.py' cannot be read")
    monkeypatch.undo()
    with pytest.raises(UserError, match="`add` is for plug-ins"):
        plugins_add_outside()


def plugins_add_outside() -> None:
    """Add a method while no plug-in is imported."""
    from benchmark import add

    add.method(METHODS["pgd-at"])


def test_named_twice_and_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in is loaded once; another of its name is refused."""
    text = "add.evaluation('{}', EVALUATIONS['clean'])\n"
    one, two = (plugin_in(tmp_path, text.format(name), name) for name in ("one", "two"))
    monkeypatch.setenv("BENCHMARK_PLUGINS", os.pathsep.join(("", str(one), str(two))))
    said("list", "--plugin", one, "--plugin", two).good()
    assert list(LOADED) == ["one", "two"]
    other = plugin_in(tmp_path / "elsewhere", text.format("three"), "one")
    assert "another 'one' is loaded" in said("list", "--plugin", other).refusal


def test_a_plugin_that_loads_another(tmp_path: Path) -> None:
    """What each adds is its own; what the first adds afterwards counts, and alone is taken back."""
    text = "add.evaluation('{}', EVALUATIONS['clean'])\n"
    one = plugin_in(tmp_path, text.format("one"), "one")
    loads = f"load_plugin({str(one)!r})\n" + text
    with pytest.raises(UserError, match="ZeroDivisionError"):
        load_plugin(plugin_in(tmp_path, loads.format("broken") + "1 / 0", "broken"))
    load_plugin(plugin_in(tmp_path, loads.format("two"), "two"))
    added = {name: origin.name for (kind, name), origin in ORIGINS.items() if kind == "evaluation"}
    assert added == {"one": "one", "two": "two"} and "broken" not in EVALUATIONS


def test_a_worker_refuses_a_plugin_that_was_changed(store: Store, tmp_path: Path) -> None:
    """A process that is told another sha256 than the file has now makes nothing."""
    path = changed(tmp_path)
    old = Plugin("outsider", "0" * 64, str(path))
    with pytest.raises(UserError, match="was changed meanwhile"):
        load_again([old])
    load_again(list(LOADED.values()))
    chosen = scale(str(SCALE))
    tasks = tasks_for(store, chosen, [Cell.parse(KEY)])
    worker = Worker(chosen, Options(store, tmp_path, "cpu", 1, plugins=(old,)), lambda *_: None)
    (failure,) = worker.do(tasks[0], block=False)
    assert isinstance(failure, Failure)
    assert failure.user
    assert "outsider" in failure.message


def test_a_process_that_has_not_loaded_it_makes_its_cells(theirs: Store, store: Store) -> None:
    """What a worker is sent can be read there, and names what it has to load: the weights are equal."""
    cell = Cell.parse(KEY)
    with registries():
        load_plugin(OUTSIDER)
        tasks = tasks_for(store, chosen := scale(str(SCALE)), [cell.base, cell])
        how = Options(store, store.artifacts, "cpu", 1, Precision("fp32"))
        sent = pickle.dumps((tasks, chosen, how))
    assert not LOADED
    (task,), there, options = pickle.loads(sent)
    assert Worker(there, options, lambda *_: None).do(task, block=False) == []
    made, expected = (each.making(cell) for each in (store, theirs))
    assert made is not None and expected is not None
    assert made.provenance.weights_sha256 == expected.provenance.weights_sha256


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("(x, y), (x[:, :, 1:], y)", r"stripes2: images are \(7, 8, 1\)"),
        ("(x, y), (x, y + 9)", "stripes2: a label is 9, and there are 8 classes"),
        ("(x, y), (x[0], y)", "stripes2, test split: images are"),
        ("(x, y), (x.astype(float) * 9, y)", r"stripes2, test split: pixels are in \[9"),
        ("x, y", "stripes2: its load returns"),
        ("3", "stripes2: its load returns"),
        ("1 / 0", "stripes2: its load fails: ZeroDivisionError: division by zero .line"),
        ("(x, list('abcd')), (x, y)", "stripes2: its load fails: "),
    ],
)
def test_images_that_do_not_fit_their_facts(tmp_path: Path, returned: str, message: str) -> None:
    """Shape, pixels and labels of an own dataset are checked when it is read."""
    body = OUTSIDER.read_text().replace('"stripes"', '"stripes2"')
    start = "def stripes(_directory):\n"
    made = "    x, y = np.ones((4, 1, 8, 8), np.uint8), np.zeros(4, int)\n"
    load_plugin(plugin_in(tmp_path, body.replace(start, f"{start}{made}    return {returned}\n")))
    with pytest.raises(UserError, match=message):
        LOADERS["stripes2"](tmp_path)


def test_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plug-in is imported only if it is named; its hash is of all files, as installed."""
    text = "from benchmark import add\nfrom distant_part import EVALUATIONS\n"
    text += "def register():\n    add.evaluation('distant', EVALUATIONS['clean'])\n"
    part = tmp_path / "distant_part.py"
    part.write_text("from benchmark.evaluation import EVALUATIONS\n")
    (tmp_path / "distant_main.py").write_text(text)
    info = tmp_path / "distant-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: distant\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rift_benchmark.plugins]\ndistant = distant_main:register\n"
    )
    names = ("distant_main.py", "distant_part.py", "distant-1.0.dist-info/METADATA")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in (*names, f"{info.name}/RECORD")))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "installed; --plugin distant loads it" in said("list").good().stdout
    assert not LOADED
    with registries():
        first = load_plugin("distant")
        assert "distant" in EVALUATIONS
    (info / "INSTALLER").write_text("somebody")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in (*names, f"{info.name}/INSTALLER")))
    with registries():
        assert load_plugin("distant") == first
    part.write_text("from benchmark.evaluation import EVALUATIONS\n# changed\n")
    assert load_plugin("distant").sha256 != first.sha256


@pytest.mark.parametrize(
    "spec", [{"plugins": 3}, {"plugins": {"a": {}}}, [{"plugins": {"b": "c"}}], "plugins"]
)
def test_any_spec_is_read(spec: Any) -> None:
    """What others hand in may hold anything where plug-ins stand."""
    assert not_loaded(spec) in (
        None,
        "made with plug-in a, not loaded",
        "made with plug-in b, not loaded",
    )


def test_a_network_without_widths(tmp_path: Path) -> None:
    """Its one name is its start; no other is taken for it."""
    from benchmark.models import arch

    body = OUTSIDER.read_text().replace(':Plain", (), 8)', ':Plain", (), 8, suffix="")')
    load_plugin(plugin_in(tmp_path, body))
    assert arch("plain").width == 8
    with pytest.raises(UserError, match="unknown architecture 'plain-w16'"):
        arch("plain-w16")


def test_a_plugins_protocol_measures_in_a_place_of_its_own(store: Store) -> None:
    """Its settings may be others: neither drops what the other has measured, here or on Slurm."""
    from benchmark.jobs.cluster import steps
    from handmade import BY_HAND, cell_at

    load_plugin(OUTSIDER)
    cells = [cell_at(name) for name in ("rift", "rift-mine", "top-2-mine")]
    (task,) = tasks_for(store, BY_HAND, cells)
    names = [step.name for step in steps(task, BY_HAND, store, split=True)]
    measured = [f"{task.base.key}+criticality{suffix}" for suffix in ("", "-mine")]
    assert [name for name in names if "+criticality" in name] == measured
    assert finetune("top-2-official-code").measured_in("criticality-official") == "criticality-official"


def test_facts_in_numbers_of_numpy(tmp_path: Path) -> None:
    """A mean as a list or an array is a fact like any other: hashed, and equal to what files hold."""
    import json

    import numpy as np

    from benchmark.posthoc.mean_sparse import MeanSparse
    from benchmark.records.specs import spec_of
    from benchmark.submission.expected import first_difference

    given = "replace(DIGITS, mean=[0.5], std=np.ones(1), "
    body = OUTSIDER.read_text().replace("replace(DIGITS, ", given)
    load_plugin(plugin_in(tmp_path, body))
    info = DATASETS["stripes"]
    assert info in {info} and (info.mean, info.std) == ((0.5,), (1.0,))
    spec = spec_of(replace(info, mean=(np.float64(0.3),)))
    assert first_difference(json.loads(json.dumps(spec)), spec) is None
    numbers: Any = {"threshold": np.float32(0.5), "count": np.int64(3)}
    assert json.dumps(MeanSparse().spec(numbers)["numbers"]) == '{"threshold": 0.5, "count": 3.0}'


def test_a_network_that_reads_values_is_counted(tmp_path: Path) -> None:
    """As it is made, and of a constant of its file; names and shapes are known without values."""
    from benchmark.data.info import DIGITS
    from benchmark.engine.flops import of_image
    from benchmark.models import without_values

    text = (
        "import torch\nfrom torch import nn\n"
        "MEAN = torch.tensor(0.5)\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, blocks, width, info):\n"
        "        rate = torch.linspace(0, 0.1, 3)[1].item()\n"
        "        classifier = nn.Linear(info.channels * info.side**2, info.classes)\n"
        "        super().__init__(nn.Flatten(), nn.Dropout(rate), classifier)\n"
        "    def forward(self, x):\n        return super().forward(x - MEAN)\n"
        "add.network(Family('reads', 'reads', 'Reads', 'x', f'{__name__}:Net', (), 8))\n"
        "add.network(Family('fails', 'reads', 'Fails', 'x', f'{__name__}:Nobodys', (), 8))\n"
    )
    load_plugin(plugin_in(tmp_path, text))
    assert of_image("reads", DIGITS) == (2 * 64 * 10, 65 * 10, 1)
    assert {each.device.type for each in without_values("reads", DIGITS).parameters()} == {"meta"}
    with pytest.raises(UserError, match="fails fails on an image of 1x8x8: AttributeError: "):
        of_image("fails", DIGITS)


@pytest.mark.parametrize(
    "own", ["    def inner(self, model, *_): return model.nobodys(1)", "    given: list = None"]
)
def test_a_method_that_is_made_for_its_own_network_is_counted(tmp_path: Path, own: str) -> None:
    """As PGD-AT, before it is known whether it works where it belongs."""
    from benchmark.plans.cost import stages

    text = f"@dataclass(frozen=True)\nclass Own(PgdAt):\n    type_name = 'ours'\n{own}\n"
    text += f"add.method(Own({'given=[1]' if 'given' in own else ''}))\n"
    load_plugin(plugin_in(tmp_path, text))
    found = []
    for name in ("ours", "pgd-at"):
        cell = Cell("quick", "digits", "resnet10-w16", name, "none", 0)
        found.append(stages(Plan.of(cell, scale("quick")), ())["adversarial training"])
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_what_another_plugin_adds_is_named_too(tmp_path: Path) -> None:
    """A fine-tuning by the method, and one with the module, of another plug-in depend on both."""
    from handmade import BY_HAND, cell_at

    one = "class Own(PgdAt): type_name = 'ours'\nadd.method(Own())\n"
    one += "add.tuning(Tuning('flips', 'x', LastLayer(), forward=FlipAverage()))\n"
    two = "add.tuning(Tuning('by-ours', 'x', LastLayer(), method='ours'))\n"
    two += "add.tuning(Tuning('as-flips', 'x', LastLayer(), forward='flips'))\n"
    both = {load_plugin(plugin_in(tmp_path, text, n)).name for n, text in (("one", one), ("two", two))}
    assert named_in(Plan.of(cell_at("by-ours"), BY_HAND).tuning_spec).keys() == both
    assert named_in(Plan.of(cell_at("as-flips"), BY_HAND).spec).keys() == both
    assert named_in(Plan.of(cell_at("by-ours"), BY_HAND).criticality_spec) == {}


def test_a_module_that_was_evaluated_names_its_plugin() -> None:
    """Its record is of the plug-in that made it, also for who checks it; those of the suite are not."""
    from types import SimpleNamespace

    from benchmark.data.info import DIGITS
    from benchmark.models import arch
    from benchmark.plans.elsewhere import CheckpointPlan
    from benchmark.submission.expected import own_plan

    plugin = load_plugin(Path(__file__).parents[1] / "examples" / "own_forward.py")
    cell = Cell("own", "digits", "resnet18-w8", "mine", "none", 0)
    plan = CheckpointPlan(cell, DIGITS, arch("resnet18-w8"), "a" * 64, "rounded")
    spec = plan.evaluation_spec("clean")
    assert named_in(spec) == {"own_forward": plugin.sha256}
    made = SimpleNamespace(weights_sha256="a" * 64)
    record: Any = SimpleNamespace(cell=SimpleNamespace(cell=cell), spec=spec, provenance=made)
    assert own_plan(record).evaluation_spec("clean") == spec
    plain = replace(plan, forward="").evaluation_spec("clean")
    assert replace(plan, forward="mean-sparse").evaluation_spec("clean") == plain
    assert named_in(plain) == {}


@pytest.mark.parametrize("own", ["MeanSparse", "Rounding"])
def test_a_type_is_of_one_class(tmp_path: Path, own: str) -> None:
    """Modules are known by the type of their method: another class of that type is refused."""
    load_plugin(Path(__file__).parents[1] / "examples" / "own_forward.py")
    text = (
        "from benchmark.posthoc.mean_sparse import MeanSparse\n"
        "from rift_plugin_own_forward import Rounding\n"
        f"class Own({own}): pass\n"
        "add.tuning(Tuning('mine', 'mine', Untouched(), forward=Own()))\n"
    )
    with pytest.raises(UserError, match="already; give Own a type_name of its own"):
        load_plugin(plugin_in(tmp_path, text))
    load_plugin(plugin_in(tmp_path, text.replace("): pass", "): type_name = 'own'")))
