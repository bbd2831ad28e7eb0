"""RobustBench through the adapter: its import, its networks with a user's file, and its numbers."""

import sys
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import pyautoattack
import pytest
import safetensors.torch
import torch
from torch import nn

from benchmark.checkpoints.robustbench import (
    CONSTANTS,
    WITHOUT_CONSTANTS,
    import_robustbench,
    load_zoo_checkpoint,
    zoo_arch,
    zoo_model,
)
from benchmark.data.images import Dataset, Split
from benchmark.data.info import CIFAR10
from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.evaluation.autoattack import PARAMETERS
from benchmark.models import build
from benchmark.records.cells import Cell
from benchmark.records.store import Journal
from invoking import said

STAND_INS = ("pkg_resources", "autoattack", "autoattack.state")
TINY = "Tiny2024Robust_WRN-10-1"
RICE = "Rice2020Overfitting"
COPIES = "Andriushchenko2020Understanding"


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if RobustBench had not been imported yet; afterwards it is the one it was."""
    import_robustbench()
    for name in its_modules():
        monkeypatch.delitem(sys.modules, name)


def its_modules() -> list[str]:
    """What of RobustBench is imported."""
    return [name for name in sys.modules if name.partition(".")[0] == "robustbench"]


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch):
    """CIFAR-10's Linf zoo with small networks for `TINY`, `RICE` and others; nothing is downloaded."""
    import_robustbench()
    from robustbench import utils
    from robustbench.model_zoo import cifar10, model_dicts
    from robustbench.model_zoo.architectures.wide_resnet import WideResNet as TheirWideResNet
    from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel

    tiny = partial(TheirWideResNet, depth=10, widen_factor=1, sub_block1=True)
    rice = partial(cifar10.Rice2020OverfittingNet, depth=10, widen_factor=1)
    models = model_dicts[BenchmarkDataset.cifar_10][ThreatModel.Linf]
    for name, model in ((TINY, tiny), (COPIES, tiny), (RICE, rice), ("Other2024", rice)):
        monkeypatch.setitem(models, name, {"model": model, "gdrive_id": "none"})
    monkeypatch.setattr(utils, "download_gdrive_new", lambda *_, **__: pytest.fail("a download"))
    return models


def model_of(name: str, dataset: str = "cifar10") -> nn.Module:
    """The zoo's network of that id."""
    return zoo_model(zoo_arch(name, dataset))


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """`model` with drawn weights and statistics, always the same."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var") or name in CONSTANTS:
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.2, generator=generator)
        else:
            tensor.fill_(391)
    return model.eval()


def by_robustbench(name: str, content: object, folder: Path) -> dict[str, torch.Tensor]:
    """The state that RobustBench's own loader makes of a file with `content`."""
    from robustbench.utils import load_model

    path = folder / "zoo" / "cifar10" / "Linf" / f"{name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return load_model(name, model_dir=folder / "zoo").state_dict()


def assert_same(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Names in order, and every number."""
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in state)


class TestImport:
    """What RobustBench misses is there while it is imported, and only then."""

    @pytest.fixture
    def missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither `pkg_resources` nor `autoattack` can be imported."""
        for name in STAND_INS:
            monkeypatch.setitem(sys.modules, name, None)

    @pytest.mark.usefixtures("forgotten", "missing")
    def test_leaves_no_stand_in(self) -> None:
        """`sys.modules` is as before but for RobustBench, whose own references remain."""
        before = dict(sys.modules)
        package = import_robustbench()
        assert import_robustbench() is package
        assert all(sys.modules[name] is None for name in STAND_INS)
        assert {name for name in before if sys.modules[name] is not before[name]} == set()
        assert package.eval.AutoAttack is pyautoattack.AutoAttack
        assert package.eval.EvaluationState.__module__ == "pyautoattack.state"
        file = "helper_files/imagenet_test_image_ids.txt"
        path = package.loaders.pkg_resources.resource_filename("robustbench.loaders", file)
        assert Path(path).is_file()

    @pytest.mark.usefixtures("forgotten")
    def test_takes_the_real_ones_where_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Modules that can be imported are neither replaced nor taken away."""
        real = {name: ModuleType(name) for name in STAND_INS}
        real["autoattack"].AutoAttack = object()
        real["autoattack.state"].EvaluationState = object()
        for name, module in real.items():
            monkeypatch.setitem(sys.modules, name, module)
        package = import_robustbench()
        assert package.eval.AutoAttack is real["autoattack"].AutoAttack
        assert package.eval.EvaluationState is real["autoattack.state"].EvaluationState
        assert package.loaders.pkg_resources is real["pkg_resources"]
        assert all(sys.modules[name] is module for name, module in real.items())

    @pytest.mark.usefixtures("forgotten", "missing")
    @pytest.mark.parametrize(
        ("absent", "message"),
        [("robustbench", "not installed"), ("pyautoattack", "cannot be imported")],
    )
    def test_says_how_to_install(
        self, monkeypatch: pytest.MonkeyPatch, absent: str, message: str
    ) -> None:
        """Without RobustBench, or a package it needs, one line names the extra; nothing is left."""
        for name in (absent, f"{absent}.state"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=message) as error:
            import_robustbench()
        assert "`pip install 'rift-benchmark[robustbench]'`" in str(error.value)
        assert all(sys.modules[name] is None for name in STAND_INS)


class TestArchitectures:
    """Networks of the zoo by id, without their weights."""

    @pytest.mark.parametrize(
        ("name", "weight", "shape"),
        [
            ("Zhang2019Theoretically", "sub_block1.layer.4.conv2.weight", (160, 160, 3, 3)),
            ("Wu2020Adversarial", "block3.layer.4.conv2.weight", (640, 640, 3, 3)),
            ("Pang2022Robustness_WRN28_10", "layer.2.block.3.conv_1.weight", (640, 640, 3, 3)),
            ("Debenedetti2022Light_XCiT-S12", "model.head.weight", (10, 384)),
        ],
    )
    def test_are_built_by_id(self, name: str, weight: str, shape: tuple[int, ...]) -> None:
        """An id is the architecture of its publication, whoever builds it (here without memory)."""
        with torch.device("meta"):
            model = model_of(name)
        assert not model.training
        assert tuple(model.state_dict()[weight].shape) == shape

    def test_nothing_else_is_touched(self, zoo) -> None:
        """Building draws from no random state but its own, and normalises inside: pixels go in."""
        before = torch.get_rng_state()
        model = seeded(model_of(RICE))
        assert torch.equal(torch.get_rng_state(), before)
        x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        plain = seeded(zoo[TINY]["model"]())
        plain.load_state_dict(model.state_dict(), strict=False)
        with torch.no_grad():
            torch.testing.assert_close(model(x), plain((x - model.mu) / model.sigma))

    def test_have_parts_of_keys_for_names(self, zoo) -> None:
        """A name is a part of a key and tells threat and id; ids of one zoo have names of their own."""
        assert zoo_arch(TINY, "cifar10").name == "robustbench-tiny2024robust-wrn-10-1"
        assert zoo_arch("robustbench:L2/Rice2020Overfitting", "cifar10").name == (
            "robustbench-l2-rice2020overfitting"
        )
        singles = [name for name, entry in zoo.items() if not isinstance(entry["gdrive_id"], list)]
        names = {zoo_arch(name, "cifar10").name for name in singles}
        assert len(names) == len(singles)
        cell = Cell("own", "cifar10", zoo_arch(TINY, "cifar10").name, "mine", "none", 0)
        assert Cell.parse(cell.key) == cell

    @pytest.mark.parametrize(
        ("text", "dataset", "message"),
        [
            ("zhang2019theoreticaly", "cifar10", "close to it: Zhang2019Theoretically"),
            ("Augustin2020Adversarial", "cifar10", "there is robustbench:L2/Augustin2020Adversarial"),
            ("L7/Zhang2019Theoretically", "cifar10", "'L7'; it has Linf, L2, corruptions"),
            ("Zhang2019Theoretically", "digits", "no networks for Digits; it has cifar10 and cifar100"),
            ("Chen2020Adversarial", "cifar10", "is made of 3 files"),
        ],
    )
    def test_unknown_ones_are_one_line(self, text: str, dataset: str, message: str) -> None:
        with pytest.raises(UserError) as error:
            zoo_arch(f"robustbench:{text}", dataset)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


class TestOurLayerNames:
    """RobustBench's ResNet-18 and WideResNet are our networks under the same names."""

    @pytest.mark.parametrize("kind", ["resnet18", "wrn-10-1"])
    def test_logits(self, kind: str, zoo) -> None:
        theirs = model_of(TINY if kind == "wrn-10-1" else "Sehwag2021Proxy_R18")
        own = build(kind, CIFAR10)
        state = seeded(theirs).state_dict()
        own.load_state_dict({k: v for k, v in state.items() if not k.startswith("sub_block1.")})
        x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        mean, std = (torch.tensor(c).view(3, 1, 1) for c in (CIFAR10.mean, CIFAR10.std))
        with torch.no_grad():
            expected = theirs((x - mean) / std)
            torch.testing.assert_close(own.eval()(x), expected, rtol=1e-4, atol=1e-4)
        assert expected.std() > 0.1


class TestFiles:
    """A user's file gives the weights that RobustBench's own loader takes from it, or is refused."""

    @pytest.mark.parametrize("wrapping", ["bare", "state_dict", "module.", "module.model.", "counters"])
    def test_wrappings(self, zoo, tmp_path: Path, wrapping: str) -> None:
        """All that `load_model` unwraps is unwrapped."""
        state = seeded(zoo[TINY]["model"](), 1).state_dict()
        content = {
            "bare": state,
            "state_dict": {"state_dict": state, "epoch": 76},
            "module.": {"state_dict": {f"module.{k}": v for k, v in state.items()}},
            "module.model.": {f"module.model.{k}": v for k, v in state.items()},
            "counters": {k: v for k, v in state.items() if "num_batches" not in k},
        }[wrapping]
        torch.save(content, tmp_path / "user.pt")
        model = model_of(TINY)
        loaded = load_zoo_checkpoint(tmp_path / "user.pt", zoo_arch(TINY, "cifar10"), model)
        assert_same(loaded.state, by_robustbench(TINY, content, tmp_path))

    def test_copies_of_layers(self, zoo, tmp_path: Path) -> None:
        """An entry and a prefix that RobustBench takes and skips by itself are named by the user."""
        last, best = (dict(seeded(zoo[COPIES]["model"](), seed).state_dict()) for seed in (1, 2))
        content = {"last": last | {"model_preact_hl1.1.weight": last["conv1.weight"]}, "best": best}
        torch.save(content, tmp_path / "user.pt")
        arch, model = zoo_arch(COPIES, "cifar10"), model_of(COPIES)
        for options, message in (({}, "'last'"), ({"entry": "last"}, "'model_preact_hl1.1.weight'")):
            with pytest.raises(UserError, match=message):
                load_zoo_checkpoint(tmp_path / "user.pt", arch, model, **options)
        loaded = load_zoo_checkpoint(
            tmp_path / "user.pt", arch, model, entry="last", drop=["model_preact_hl1."]
        )
        assert_same(loaded.state, by_robustbench(COPIES, content, tmp_path))

    @pytest.mark.parametrize(("stored", "front"), [(True, ""), (True, "module."), (False, "")])
    def test_normalisation_of_file_or_code(self, zoo, tmp_path: Path, stored: bool, front: str) -> None:
        """The constants are the file's, or where it has none, and may, those of RobustBench's code."""
        state = seeded(zoo[RICE]["model"](), 1).state_dict()
        content = {front + k: v for k, v in state.items() if stored or k not in CONSTANTS}
        torch.save({"state_dict": content}, tmp_path / "user.pt")
        arch, model = zoo_arch(RICE, "cifar10"), model_of(RICE)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        loaded = load_zoo_checkpoint(tmp_path / "user.pt", arch, model)
        assert_same(model.state_dict(), before)
        assert_same(loaded.state, by_robustbench(RICE, content, tmp_path))
        assert torch.equal(loaded.state["mu"], (state if stored else before)["mu"])
        assert any("RobustBench's code" in note for note in loaded.notes) is not stored
        model.load_state_dict(loaded.state)

    @pytest.mark.parametrize(
        ("name", "without", "more", "message"),
        [
            ("Other2024", CONSTANTS, {}, "'mu' (1, 3, 1, 1) is in the network only"),
            (RICE, "sigma", {}, "'sigma' (1, 3, 1, 1) is in the network only"),
            (RICE, CONSTANTS, {"extra.weight": torch.ones(3)}, "'extra.weight' (3,) is in the file"),
            (RICE, (), {}, "'mu' (1, 3, 1, 1) is in the network only"),  # as 0.mu, beside 1.*
        ],
    )
    def test_misfits(self, zoo, tmp_path: Path, name: str, without, more, message: str) -> None:
        """Nothing else may be missing, be too much or be no number, and the network stays whole."""
        state = seeded(zoo[RICE]["model"](), 1).state_dict()
        state = {key: value for key, value in state.items() if key not in without} | more
        if not (without or more):
            state = {f"{int(key not in CONSTANTS)}.{key}": value for key, value in state.items()}
        safetensors.torch.save_file(state, tmp_path / "user.safetensors")
        arch, model = zoo_arch(name, "cifar10"), model_of(name)
        with pytest.raises(UserError) as error:
            load_zoo_checkpoint(tmp_path / "user.safetensors", arch, model)
        assert message in str(error.value)
        assert set(CONSTANTS) <= model.state_dict().keys()

    @pytest.mark.slow
    def test_constants_may_lack_where_they_may_there(self) -> None:
        """`WITHOUT_CONSTANTS` are the ids for which RobustBench's loader does without them."""
        import_robustbench()
        from robustbench import utils
        from robustbench.model_zoo import model_dicts

        lenient = set()
        known = [
            (dataset, name, entry)
            for dataset, threats in model_dicts.items()
            for models in threats.values()
            for name, entry in models.items()
            if dataset.value.startswith("cifar") and isinstance(entry["gdrive_id"], str)
        ]
        for dataset, name, entry in known:
            with torch.device("meta"):
                model = None if name == "Kang2021Stable" else entry["model"]()
            state = {} if model is None else model.state_dict()
            if set(CONSTANTS) <= state.keys():
                bare = {k: v for k, v in state.items() if k not in CONSTANTS}
                with suppress(RuntimeError):
                    utils._safe_load_state_dict(model, name, bare, dataset)
                    lenient.add(name)
        assert lenient == WITHOUT_CONSTANTS


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> Split:
    """Twelve images that the command takes for CIFAR-10."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 32, 32, 3), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.randint(0, 10, (12,), generator=generator))
    monkeypatch.setattr(
        "benchmark.jobs.checkpoint.load",
        lambda _name, directory: Dataset(CIFAR10, split, split, directory),
    )
    return split


class TestCommand:
    """`evaluate --arch robustbench:ID`."""

    @pytest.fixture
    def evaluate(self, zoo, few_images, store, tmp_path: Path):
        """A function that evaluates a file of the zoo's `RICE`, with further arguments."""
        model = seeded(zoo[RICE]["model"](), 1)
        state = {k: v for k, v in model.state_dict().items() if k not in CONSTANTS}
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "rice.pt")

        def run(*arguments: str):
            places = ["--results", str(store.results), "--artifacts", str(store.artifacts)]
            own = ["--weights", str(tmp_path / "rice.pt"), "--arch", f"robustbench:{RICE}"]
            given = ["--dataset", "cifar10", "--evaluations", "clean", "--threads", "1"]
            return said("evaluate", *own, *given, *places, *arguments)

        return run

    def test_a_record(self, evaluate, zoo, few_images, store, tmp_path: Path) -> None:
        """The record counts what RobustBench's network gets right, and says which network it is."""
        answer = evaluate("--name", "mine")
        assert answer.exit_code == 0, answer.stderr
        cell = Cell("own", "cifar10", "robustbench-rice2020overfitting", "mine", "none", 0)
        record = store.record(cell, "clean")
        expected = zoo[RICE]["model"]().eval()
        expected.load_state_dict(
            by_robustbench(RICE, torch.load(tmp_path / "rice.pt", weights_only=True), tmp_path)
        )
        with torch.no_grad():
            logits = expected(few_images.images.permute(0, 3, 1, 2) / 255)
        bits = (logits.argmax(1) == few_images.labels).numpy()
        np.testing.assert_array_equal(store.bits(record)["clean"], bits)
        assert record.spec["model"]["arch"] == {
            "type": "robustbench",
            "version": 1,
            "zoo_id": RICE,
            "dataset": "cifar10",
            "threat": "Linf",
            "package": version("robustbench"),
        }
        dataset = record.spec["model"]["dataset"]
        assert (dataset["mean"], dataset["std"]) == ([0.0] * 3, [1.0] * 3)
        assert any("RobustBench's code" in remark for remark in record.remarks)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--arch", "robustbench:Rice2020Overfiting"), "close to it: Rice2020Overfitting"),
            (("--arch", f"robustbench:{TINY}"), "does not fit the network: "),
            (("--normalization", "cifar10"), "networks of RobustBench normalise pixels themselves"),
        ],
    )
    def test_wrong_input_is_one_line(self, evaluate, store, arguments, message: str) -> None:
        answer = evaluate(*arguments)
        assert answer.exit_code == 2
        errors = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert message in errors[0]
        assert not list(store.results.rglob("*.json"))


class Patterns(nn.Module):
    """Scores x (B, 3, 32, 32) by its likeness to patterns of +1 and -1 around a grey level."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, (10, 3 * 32 * 32), generator=generator) * 2.0 - 1
        self.grey = 128 / 255
        self.linear = nn.Linear(3 * 32 * 32, 10, bias=False)
        self.linear.weight.data = 0.05 * signs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear((x - self.grey).flatten(1))
        return logits

    def image(self, label: int, grey_levels: int) -> torch.Tensor:
        """uint8 (32, 32, 3), the pattern of `label` with that many grey levels up and down.

        Against every other class its margin is the contrast times ||w_label - w_other||_1, of which
        an L-infinity attack takes eps times that norm: it is broken if and only if eps is larger.
        """
        signs = self.linear.weight[label].sign().view(3, 32, 32).permute(1, 2, 0)
        return (128 + grey_levels * signs).to(torch.uint8)


@pytest.fixture
def settled() -> tuple[Patterns, Split, int, int]:
    """A network, images, and how many are right and robust at 8/255 whatever the random starts."""
    model = Patterns().eval()
    kinds = [(3, 0), (16, 0), (16, 3), (3, 0), (16, 0), (3, 5), (16, 0), (3, 0)]
    images = torch.stack([model.image(label, levels) for label, (levels, _) in enumerate(kinds)])
    labels = torch.tensor([(label + wrong) % 10 for label, (_, wrong) in enumerate(kinds)])
    right = sum(wrong == 0 for _, wrong in kinds)
    robust = sum(wrong == 0 and levels > 8 for levels, wrong in kinds)
    return model, Split(images, labels), right, robust


def by_benchmark(
    model: nn.Module, split: Split, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[float, float]:
    """Clean and robust accuracy by `robustbench.eval.benchmark` with `split` for CIFAR-10's test."""
    robustbench = import_robustbench()
    from PIL import Image

    class Cifar10(torch.utils.data.Dataset):
        def __init__(self, root: str, train: bool, transform, download: bool) -> None:
            assert root == str(folder)
            assert not train
            self.transform = transform

        def __len__(self) -> int:
            return len(split)

        def __getitem__(self, index: int):
            image = Image.fromarray(split.images[index].numpy())
            return self.transform(image), int(split.labels[index])

    class AutoAttack:
        """`pyautoattack.AutoAttack` as `benchmark` calls fra31/auto-attack."""

        def __init__(self, model: nn.Module, *, log_path: Path | None, **settings) -> None:
            self.attack = pyautoattack.AutoAttack(model, **settings)

        def run_standard_evaluation(self, x, y, *, bs: int = 250, state_path: Path | None = None):
            return self.attack.run_standard_evaluation(x, y, batch_size=bs, state_path=state_path)[0]

    monkeypatch.setattr(robustbench.eval, "AutoAttack", AutoAttack)
    monkeypatch.setattr(robustbench.data.datasets, "CIFAR10", Cifar10)
    with torch.random.fork_rng(devices=[]):
        clean, robust = robustbench.eval.benchmark(
            model, n_examples=len(split), dataset="cifar10", threat_model="Linf", eps=8 / 255,
            data_dir=str(folder),
        )  # fmt: skip
    return clean, robust


def ours(name: str, model: nn.Module, split: Split, folder: Path) -> float:
    """The value of one of our evaluations."""
    data = Dataset(CIFAR10, split, split)
    cell = Cell("own", "cifar10", "patterns", "mine", "none", 0)
    journal = Journal(folder / name, "a test")
    outcome = evaluation(name).run(model, data, cell, journal, lambda *_arguments: None)
    return outcome.value.fraction


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["short", "standard"])
def lengths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard attacks, or the same with 10 iterations and 50 queries, there and here."""
    if request.param:
        return
    standard = pyautoattack.AutoAttack._set_version

    def shortened(self, version: str) -> None:
        standard(self, version)
        assert version == "standard"
        for attack in (self.apgd, self.apgd_targeted, self.fab):
            attack.n_iter = 10
        self.square.n_queries = 50

    monkeypatch.setattr(pyautoattack.AutoAttack, "_set_version", shortened)
    for attack in ("apgd-ce", "apgd-t", "fab-t"):
        monkeypatch.setitem(PARAMETERS[attack], "n_iter", 10)
    monkeypatch.setitem(PARAMETERS["square"], "n_queries", 50)


@pytest.mark.usefixtures("lengths")
def test_benchmark_agrees(settled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RobustBench's `benchmark` and our evaluations give the same clean and AutoAttack accuracy.

    Their random starts differ. Hence a linear network and images whose margins are, by a closed form,
    either twice what eps = 8/255 can take or three eighths of it: no attack decides by luck, and both
    have to find the numbers known beforehand.
    """
    model, split, right, robust = settled
    clean, adversarial = by_benchmark(model, split, tmp_path, monkeypatch)
    assert clean == ours("clean", model, split, tmp_path) == right / len(split)
    assert adversarial == ours("autoattack", model, split, tmp_path) == robust / len(split)
    assert 0 < robust < right < len(split)
