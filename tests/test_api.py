"""The Python door: the suite's own steps on a network and images that somebody brings."""

import copy
from contextlib import ExitStack
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.data import DataLoader, TensorDataset

import benchmark
from benchmark.algorithm.selection import Selector
from benchmark.algorithm.tunings import TUNINGS, Tuning
from benchmark.data.images import Dataset
from benchmark.data.info import DIGITS, LinfAttack
from benchmark.engine.precision import used
from benchmark.engine.recipes import Recipe
from benchmark.engine.weights import Weights, load_tensors
from benchmark.errors import UserError
from benchmark.jobs.aside import own_draws
from benchmark.jobs.given import Question
from benchmark.models import build
from benchmark.plans.named import scale
from benchmark.plans.plan import Plan
from benchmark.plans.running import Run
from benchmark.progress import silent
from benchmark.records.cells import Cell
from benchmark.run import rift
from invoking import MINI

CELL = Cell("mini", "digits", "resnet18-w8", "pgd-at", "rift", 0)
FEW = {"epochs": 1, "milestones": (), "select_last": 1, "lr": 0.01}
QUIETLY = {"progress": False, "recipe": FEW, "mrc": {"images": 32, "steps": 1}}


class Plain(nn.Module):
    """A network of nobody's names; blocks are unknown to the suite, batch norm cannot be folded."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.body = nn.Conv2d(8, 8, 3, stride=2)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        return self.head(self.body(x).relu().mean((2, 3)))


@pytest.fixture
def plain():
    """`Plain` with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Plain().eval()


@pytest.fixture
def images(digits):
    """128 training and 64 other images as (N, C, H, W) in [0,1], with their labels."""
    return digits.train.first(128).batch(0, 128), digits.test.first(64).batch(0, 64)


def test_the_same_as_a_cell_of_the_suite(mini, store, digits):
    """Same weights, images and draws through both doors: equal MRC, weights and alpha*."""
    some = Dataset(digits.info, digits.train.first(128), digits.test.first(40))
    plan = Plan.of(CELL, scale(str(MINI)))
    run = Run(plan, some, store, silent)
    theta_at = Weights.of(load_tensors(mini.work(CELL.base) / "weights.safetensors")[0])
    theta = rift(run, theta_at)
    expected = store.making(CELL).details
    model = build(CELL.arch, digits.info)
    model.load_state_dict(theta_at.state)
    found = benchmark.rift(
        model,
        some.train,
        some.test,
        attack=digits.info.threat,
        recipe=plan.recipe,
        mrc={"images": plan.criticality.images},
        augmentation=digits.info.augmentation,
        seed=CELL,
        progress=False,
    )
    assert found.modules == expected.modules
    assert found.alpha == expected.alpha
    assert found.details.criticality == expected.criticality
    assert found.details.curve == expected.curve
    assert Weights.of(dict(found.model.state_dict())).sha256 == theta.sha256


def test_any_network(plain, images, tmp_path):
    """Frames, summary, plot and file of a network that the suite has never seen; it stays as it was."""
    before = Weights.of(plain.state_dict()).sha256
    train, others = images
    found = benchmark.rift(plain, train, others, **QUIETLY)
    assert Weights.of(plain.state_dict()).sha256 == before
    assert list(found.criticality["module"]) == ["stem", "body", "head"]
    assert found.modules == [found.criticality.sort_values("MRC")["module"].iloc[0]]
    assert len(found.curve) == 21 and found.curve["clean"].notna().all()
    assert f"alpha* = {found.alpha:.2f}" in found.summary()
    assert found.plot().axes[0].get_title() == f"alpha* = {found.alpha:.2f}"
    found.save(tmp_path / "mine.safetensors")
    plain.load_state_dict(load_tensors(tmp_path / "mine.safetensors")[0])
    assert "fine-tuned" in (tmp_path / "mine.md").read_text()


def test_forms_of_images(plain, images):
    """Tensors and a Dataset are the same images; floating point is never rounded to grey levels."""
    (x, labels), _ = images
    x = (x + 0.3 / 255).clamp(0, 1)
    frames = [
        benchmark.criticality(plain, given, mrc={"steps": 1}, progress=False)
        for given in ((x, labels), TensorDataset(x, labels), DataLoader(TensorDataset(x, labels), 50))
    ]
    assert frames[0].equals(frames[1]) and frames[0].equals(frames[2])
    rounded = ((x * 255).round().to(torch.uint8), labels)
    other = benchmark.criticality(plain, rounded, mrc={"steps": 1}, progress=False)
    assert not np.allclose(frames[0]["MRC"], other["MRC"], rtol=1e-7, atol=0)


def test_a_loader_is_not_held_in_memory(plain, images):
    """Of a loader's first pass whole batches are kept until criticality has its images, no more."""
    (x, labels), others = images
    loader, given = DataLoader(TensorDataset(x, labels), 24), []
    asked = Question(plain, loader, others, benchmark.LinfAttack(0.1, 0.025), mrc={"images": 40})
    assert len(asked.splits[0]) == 48
    for batch, _ in asked.splits[0].epoch(24, None, torch.Generator()):
        given.append(len(batch))
    assert sum(given) == len(x) == 128
    part = benchmark.criticality(plain, loader, mrc={"images": 40, "steps": 1}, progress=False)
    whole = benchmark.criticality(plain, (x, labels), mrc={"images": 40, "steps": 1}, progress=False)
    assert part.equals(whole)


def test_fine_tuning_alone_reads_a_loader_batch_by_batch(plain, images):
    """One batch tells what the network makes of them; then an epoch takes each image once."""
    (x, labels), others = images
    read = []

    class Read(TensorDataset):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    loader = DataLoader(Read(x, labels), 16)
    benchmark.finetune(plain, loader, others, ["head"], recipe=FEW, progress=False)
    assert len(read) == 16 + 128


def test_the_seed_decides(plain, images):
    """Dropout and what a loader draws follow the seed, and torch's own generator is left as it was."""
    (x, labels), others = images
    model = nn.Sequential(nn.Dropout(0.3), plain)

    class Noisy(TensorDataset):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return (image * torch.rand(1)).clamp(0, 1), label

    def tuned(seed):
        loader = DataLoader(Noisy(x, labels), 32, shuffle=True)
        found = benchmark.finetune(
            model, loader, others, ["1.head"], recipe=FEW, seed=seed, progress=False
        )
        return Weights.of(found.state_dict()).sha256

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = tuned(0)
    assert torch.equal(torch.rand(1), expected)
    assert tuned(0) == first != tuned(1)


def test_images_that_are_not_square():
    """Nothing is cut from them, with augmentation or without."""
    seen = []

    class Shapes(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(60, 10)

        def forward(self, x):
            seen.append(tuple(x.shape[1:]))
            return self.body(x.flatten(1))

    x, labels = torch.rand(64, 1, 6, 10), torch.arange(64) % 10
    for how in (None, benchmark.Augmentation(2, "reflect", flip=True)):
        benchmark.rift(Shapes(), (x, labels), (x, labels), augmentation=how, **QUIETLY)
    assert set(seen) == {(1, 6, 10)}


def test_the_general_path_is_told_once(plain, images):
    """A network of nobody's says that it is slower; one of the suite does not."""
    train, others = images
    told = []
    how = QUIETLY | {"progress": lambda stage, *rest: told.append(stage)}
    benchmark.rift(plain, train, others, **how)
    assert told.count("general path") == 1
    told.clear()
    benchmark.rift(build("resnet10-w8", DIGITS), train, others, modules=["linear"], **how)
    assert "general path" not in told


def test_files_and_cards(plain, images, tmp_path):
    """What is saved loads into the same network alone, and the card is what Hugging Face reads."""
    yaml = pytest.importorskip("yaml")
    file = tmp_path / "own.safetensors"
    scores = benchmark.evaluate(plain, images[1], progress=False)
    benchmark.save_checkpoint(plain, file, scores)
    with torch.random.fork_rng(devices=[]):
        other = Plain()
    before = Weights.of(other.state_dict()).sha256
    loaded = benchmark.load_checkpoint(file, other)
    assert Weights.of(loaded.state_dict()).sha256 == Weights.of(plain.state_dict()).sha256
    assert Weights.of(other.state_dict()).sha256 == before and not loaded.training
    front = yaml.safe_load((tmp_path / "own.md").read_text().split("---")[1])
    assert front["library_name"] == "pytorch" and "rift" in front["tags"] and "license" not in front
    metrics = front["model-index"][0]["results"][0]["metrics"]
    assert [m["value"] for m in metrics] == pytest.approx(scores["accuracy"].tolist())
    other.head = nn.Linear(8, 5)
    with pytest.raises(UserError, match=r"'head.weight' is .10, 8. in the file and .5, 8."):
        benchmark.load_checkpoint(file, other)
    with pytest.raises(UserError, match="say of which network"):
        benchmark.load_checkpoint(file)
    torch.save(plain.state_dict(), tmp_path / "pickled.safetensors")
    with pytest.raises(UserError, match="no whole safetensors file"):
        benchmark.load_checkpoint(tmp_path / "pickled.safetensors", plain)
    with pytest.raises(UserError, match=r"does not end in [.]safetensors"):
        benchmark.save_checkpoint(plain, tmp_path / "own.pt")


def test_lazy_networks_are_called_once_first(plain, images, tmp_path):
    """Nothing is known of their shapes before that, whichever module is asked for."""
    file = tmp_path / "own.safetensors"
    plain.head = nn.Linear(8, 10)
    benchmark.save_checkpoint(plain, file)
    lazy = copy.deepcopy(plain)
    lazy.head = nn.LazyLinear(10)
    told = r"'head.weight' has no weight yet; call the model once"
    with pytest.raises(UserError, match=told):
        benchmark.load_checkpoint(file, lazy)
    with pytest.raises(UserError, match=told):
        benchmark.evaluate(lazy, images[1], "clean", progress=False)
    with pytest.raises(UserError, match=told):
        benchmark.rift(lazy, *images, modules=["stem"], **QUIETLY)
    lazy(images[1][0])
    assert torch.equal(benchmark.load_checkpoint(file, lazy).head.weight, plain.head.weight)


def test_a_weight_of_two_modules(plain, images, tmp_path):
    """A network that uses a weight twice is fine-tuned, saved and loaded like others."""
    plain.again = plain.head
    found = benchmark.rift(plain, *images, modules=["head"], **QUIETLY)
    found.save(tmp_path / "tied.safetensors")
    loaded = benchmark.load_checkpoint(tmp_path / "tied.safetensors", plain)
    assert torch.equal(loaded.head.weight, found.model.again.weight)


def test_a_loader_is_iterated_anew(plain, images):
    """Each epoch takes what the loader gives then, in its own batches; criticality its first pass."""
    (x, labels), others = images
    passes = []

    class Loader(DataLoader):
        def __iter__(self):
            passes.append(len(passes))
            return super().__iter__()

    loader = Loader(TensorDataset(x, labels), 64)
    recipe = FEW | {"epochs": 3, "batch_size": 63}  # of 64 held images
    benchmark.rift(plain, loader, others, **QUIETLY | {"recipe": recipe})
    assert len(passes) == 1 + 3


def test_a_killed_call_continues(plain, images, tmp_path):
    """With a folder the second call finds everything, and says so if the model is another."""
    train, others = images

    def stops(stage, done, total, note=""):
        if stage.startswith("interpolation: robust"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark.rift(plain, train, others, workdir=tmp_path, **QUIETLY | {"progress": stops})
    stages = []
    told = QUIETLY | {"progress": lambda stage, *_: stages.append(stage)}
    found = benchmark.rift(plain, train, others, workdir=tmp_path, **told)
    assert not any(stage.startswith("fine-tuning") for stage in stages)
    whole = benchmark.rift(plain, train, others, **QUIETLY)
    assert found.details == whole.details
    with torch.no_grad():
        plain.head.bias.add_(1)
    with pytest.raises(UserError, match="name another workdir"):
        benchmark.rift(plain, train, others, workdir=tmp_path, **QUIETLY)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: nn.Sequential(nn.Dropout(0.5), model[1]),
        lambda model: model.register_buffer("mean", torch.ones(1), persistent=False) or model,
    ],
)
def test_a_workdir_is_of_one_network(plain, images, tmp_path, change):
    """Also where two have the same names and weights, as with another Normalize in front."""
    model = nn.Sequential(nn.Dropout(0.1), plain)
    model.register_buffer("mean", torch.zeros(1), persistent=False)
    how = {"mrc": QUIETLY["mrc"], "progress": False, "workdir": tmp_path}
    first = benchmark.criticality(model, images[0], **how)
    assert benchmark.criticality(copy.deepcopy(model), images[0], **how).equals(first)
    with pytest.raises(UserError, match="another network, images or settings; name another workdir"):
        benchmark.criticality(change(model), images[0], **how)


def test_a_finished_call_is_read_again(plain, images, tmp_path, monkeypatch):
    """Whatever the threads, by which its weights would not be made again bit by bit."""
    train, others = images
    first = benchmark.rift(plain, train, others, workdir=tmp_path, **QUIETLY)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    stages = []
    told = QUIETLY | {"progress": lambda stage, *_: stages.append(stage)}
    again = benchmark.rift(plain, train, others, workdir=tmp_path, **told)
    assert again.details == first.details and set(stages) == {"general path"}
    assert Weights.of(again.model.state_dict()).sha256 == Weights.of(first.model.state_dict()).sha256


def test_steps_one_by_one(plain, images):
    """Criticality, fine-tuning and interpolation alone are those of the whole."""
    train, others = images
    whole = benchmark.rift(plain, train, others, **QUIETLY)
    frame = benchmark.criticality(plain, train, mrc=QUIETLY["mrc"], progress=False)
    assert frame.equals(whole.criticality)
    tuned = benchmark.finetune(plain, train, others, whole.modules, recipe=FEW, progress=False)
    moved = {
        name.rpartition(".")[0]
        for name, value in tuned.named_parameters()
        if not torch.equal(value, plain.get_parameter(name))
    }
    assert moved == set(whole.modules)
    model, alpha = benchmark.interpolate(plain, tuned, others, progress=False)
    assert alpha == whole.alpha
    assert Weights.of(model.state_dict()).sha256 == Weights.of(whole.model.state_dict()).sha256


def test_second_networks_and_seeds_are_told_too(plain, images):
    """What `rift` refuses of a model and of a seed, the others refuse of theirs."""
    train, others = images
    with pytest.raises(UserError, match="the model is a NoneType"):
        benchmark.interpolate(plain, None, others, progress=False)
    few = tuple(part[:4] for part in others)
    with pytest.raises(UserError, match="judge: 4 images are too few to choose by"):
        benchmark.interpolate(plain, plain, few, progress=False)
    with pytest.raises(UserError, match="the model is a int"):
        benchmark.apply_method(plain, "output-mix", train, others, clean=3, progress=False)
    for seed in (-1, 10**18):
        with pytest.raises(UserError, match=f"seed is {seed}; a whole number"):
            benchmark.evaluate(plain, others, "clean", seed=seed, progress=False)


class Viewed(nn.Module):
    """A network that asks for a view of contiguous activations, as many do."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, stride=2), nn.Linear(36, 10)
        self.register_buffer("mask", torch.tensor([[[[[1.0]]]], [[[[-torch.inf]]]]]))
        self.register_buffer("kept", torch.tensor([True, False]))

    def forward(self, x):
        x = self.conv(x).relu()
        return self.head(x.view(len(x), -1))


def test_networks_of_any_kind(images, tmp_path):
    """Views of activations, masks that are infinite, bool or of five dimensions: in, out and on disk;
    an activation that a network keeps, which cannot be copied, is told."""
    train, others = images
    model = Viewed()
    found = benchmark.rift(model, train, others, **QUIETLY)
    assert set(benchmark.evaluate(found.model, others, progress=False)["answers"]) == {64}
    found.save(tmp_path / "viewed.safetensors")
    loaded = benchmark.load_checkpoint(tmp_path / "viewed.safetensors", Viewed())
    assert torch.equal(loaded.mask, model.mask) and loaded.kept.dtype == torch.bool
    assert not found.model._forward_pre_hooks
    model.seen = model.conv(train[0][:2])
    with pytest.raises(UserError, match=r"the model fails on images .* deepcopy"):
        benchmark.evaluate(model, others, progress=False)


def test_hooks_of_the_user_see_images_in_order():
    """One that flattens them by `view` is called with contiguous images, too."""
    model, labels = nn.Sequential(nn.Linear(48, 10)), torch.arange(20) % 10
    model.register_forward_pre_hook(lambda _model, inputs: (inputs[0].view(len(inputs[0]), -1),))
    table = benchmark.evaluate(model, (torch.rand(20, 3, 4, 4), labels), "pgd10x3", progress=False)
    assert set(table["answers"]) == {20}


def test_a_network_is_scored_whatever_computes_its_weights(images):
    """A score asks for no module; criticality does, where it may be measured."""
    train, others = images
    normed = Viewed()
    weight_norm(normed.head)
    assert len(benchmark.evaluate(normed, others, "clean", progress=False)) == 1
    assert benchmark.rift(normed, train, others, modules=["conv"], **QUIETLY).modules == ["conv"]
    with pytest.raises(UserError, match="weight of 'head' is computed from others"):
        benchmark.rift(normed, train, others, **QUIETLY)


class TwoHeads(Plain):
    """Two heads that write into one tensor of fp32, which torch refuses where they are in bf16."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(8, 5)
        self.register_buffer("even", torch.arange(0, 10, 2))

    def forward(self, x):
        features = self.body(self.norm(self.stem(x)).relu()).relu().mean((2, 3))
        logits = torch.zeros(len(x), 10)
        logits[:, self.even] = self.other(features)
        logits[:, self.even + 1] = self.head(features)[:, :5]
        return logits


def test_a_network_that_fails_in_bf16(images, in_bf16):
    """It is attacked in fp32, which is said, and the process is as it was."""
    model, told = TwoHeads(), []
    expected = benchmark.evaluate(model, images[1], "pgd10x3", progress=False)
    measured = benchmark.criticality(model, images[0], mrc=QUIETLY["mrc"], progress=False)
    in_bf16()
    before = used()
    how = {"progress": lambda stage, *_: told.append(stage)}
    assert benchmark.evaluate(model, images[1], "pgd10x3", **how).equals(expected)
    assert benchmark.criticality(model, images[0], mrc=QUIETLY["mrc"], **how).equals(measured)
    assert told.count("precision") == 2 and used() == before


class Inside(nn.Module):
    """A network in a list, which makes it no submodule."""

    def __init__(self, network):
        super().__init__()
        self.networks = [network]

    def forward(self, x):
        return self.networks[0](x)


def test_the_callers_default_type(plain, images):
    """An attack that draws by torch's default type is the same in any, and leaves it."""
    expected = benchmark.evaluate(plain, images[1], "apgd", limit=40, progress=False)
    torch.set_default_dtype(torch.float64)
    try:
        found = benchmark.evaluate(plain, images[1], "apgd", limit=40, progress=False)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.equals(expected)


def test_images_and_buffers_of_16_bits(plain, images):
    """Both are hashed by their bytes, and work like any other."""
    (x, labels), others = images
    plain.register_buffer("mark", torch.ones(3, dtype=torch.bfloat16))
    tuned = benchmark.finetune(plain, (x.bfloat16(), labels), others, ["head"], progress=False)
    assert tuned.mark.dtype == torch.bfloat16


def test_weights_of_16_bits_and_weights_that_are_hidden(plain, images):
    """Both are scored; small steps do not move the former, and of the latter there are none to move."""
    train, others = images
    half = Viewed().bfloat16()
    half.register_forward_pre_hook(lambda _model, inputs: (inputs[0].bfloat16(),))
    assert len(benchmark.evaluate(half, others, "clean", progress=False)) == 1
    with pytest.raises(UserError, match=r"weights are torch[.]bfloat16; give model[.]float"):
        benchmark.rift(half, train, others, **QUIETLY)
    assert len(benchmark.evaluate(Inside(plain), others, ["clean", "pgd10x3"], progress=False)) == 2


def test_refusals_come_before_the_first_attack(plain, images):
    """An evaluation that the images do not fit ends the call before another has run."""
    stages = []
    with pytest.raises(UserError, match="square images of uint8"):
        benchmark.evaluate(
            plain,
            images[1],
            ["clean", "corruptions-15-gen-v2"],
            progress=lambda stage, *_: stages.append(stage),
        )
    assert stages == []


def test_files_for_images_of_ones_own(plain, images, tmp_path):
    """Frost pictures are read from the data folder; published copies there are none."""
    x, labels = images[1]
    own, frost = ((x * 255).byte(), labels), "corruptions-15-gen-v2-pictures"
    with pytest.raises(UserError, match="no published corrupted copies of own images"):
        benchmark.evaluate(plain, own, "corruptions-15", progress=False)
    with pytest.raises(UserError, match=f"there is no folder '{tmp_path / 'frost'}'"):
        benchmark.evaluate(plain, own, frost, data_dir=tmp_path, progress=False)


def test_draws_of_the_caller_go_on(plain, images):
    """A loader that shuffles draws by the seed, and the caller's draws are as if nothing had been."""
    (x, labels), _ = images
    loader = DataLoader(TensorDataset(x, labels), 32, shuffle=True)
    torch.manual_seed(3)
    expected = torch.rand(2)
    scores = set()
    for _ in range(2):
        torch.manual_seed(3)
        scores.add(benchmark.evaluate(plain, loader, "clean", limit=40, progress=False)["right"].item())
        assert torch.equal(torch.rand(2), expected)
    assert len(scores) == 1


def test_a_loader_is_read_by_the_seed(plain, images, tmp_path):
    """Also where a frozen part or the number of classes is asked about first: both calls continue."""
    (x, labels), others = images
    plain.stem.requires_grad_(False)
    loader = DataLoader(TensorDataset(x, labels), 32, shuffle=True)
    how = {"progress": False, "workdir": tmp_path}
    for drawn in range(2):
        torch.manual_seed(drawn)
        expected = torch.get_rng_state()
        benchmark.apply_method(plain, "flip-average", loader, others, **how)
        benchmark.rift(plain, loader, others, protocol="last-layer", recipe=FEW, **how)
        assert torch.equal(torch.get_rng_state(), expected)


@pytest.mark.parametrize("interface", ["older", "newer"])
def test_flags_of_the_caller_stay(plain, images, interface):
    """By either of torch's interfaces: fp32 is fp32 inside, and afterwards what the caller said."""
    products, on_cpu, seen = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul, []
    before = products.fp32_precision, on_cpu.fp32_precision

    def look(*_):
        seen.append({products.fp32_precision, on_cpu.fp32_precision})

    plain.register_forward_hook(look)
    try:
        if interface == "older":
            torch.set_float32_matmul_precision("medium")
        else:
            products.fp32_precision, on_cpu.fp32_precision = "tf32", "bf16"
        benchmark.evaluate(plain, images[1], "clean", progress=False)
        after = products.fp32_precision, on_cpu.fp32_precision
        asked = torch.get_float32_matmul_precision() if interface == "older" else "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
        products.fp32_precision, on_cpu.fp32_precision = before
    assert (after, asked) == (("tf32", "bf16"), "medium")
    assert seen and all(each == {"ieee"} for each in seen)


def test_convolutions_add_in_a_fixed_order(plain, images, monkeypatch):
    """Inside, by no kernel that a race found; afterwards as the caller said."""
    cudnn, seen = torch.backends.cudnn, []
    monkeypatch.setattr(cudnn, "deterministic", False)
    monkeypatch.setattr(cudnn, "benchmark", True)
    plain.register_forward_hook(lambda *_: seen.append((cudnn.deterministic, cudnn.benchmark)))
    benchmark.evaluate(plain, images[1], "clean", progress=False)
    assert seen and set(seen) == {(True, False)}
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)


def test_attention_on_cuda_adds_in_a_fixed_order():
    """Inside, by plain products; afterwards by the kernels that the caller had."""
    on, kernels = torch.backends.cuda, ("flash", "mem_efficient", "cudnn", "math")
    before = [getattr(on, f"{name}_sdp_enabled")() for name in kernels]
    with ExitStack() as stack:
        own_draws(stack, 0, torch.device("cuda"))
        assert [getattr(on, f"{name}_sdp_enabled")() for name in kernels] == [False, False, False, True]
    assert [getattr(on, f"{name}_sdp_enabled")() for name in kernels] == before


def test_cuda_begins_at_the_seed_of_the_caller(plain, images, monkeypatch):
    """Also where it begins after the call: torch keeps the last seed that was said."""
    if torch.cuda.is_initialized():
        pytest.skip("CUDA has begun")
    seeds = []
    torch.manual_seed(3)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    benchmark.evaluate(plain, images[1], "clean", seed=7, progress=False)
    assert seeds[0] == 7 and seeds[-1] == torch.initial_seed() == 3


def test_tied_weights_are_trained_by_either_name(images):
    """A module whose weight has its name elsewhere trains that weight, not its bias alone."""
    train, others = images
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 10)
    )
    model[3].weight = model[1].weight
    tuned = benchmark.finetune(model, train, others, ["3"], recipe=FEW, progress=False)
    assert not torch.equal(tuned[1].weight, model[1].weight)
    assert torch.equal(tuned[1].bias, model[1].bias) and not torch.equal(tuned[3].bias, model[3].bias)


def test_an_unknown_filling_is_refused():
    """torch's own words for modes are not taken for another mode."""
    with pytest.raises(UserError, match="unknown augmentation mode 'constant'"):
        benchmark.Augmentation(2, "constant", flip=True)


def test_what_measures_nothing_takes_a_head_that_nothing_uses(plain, images):
    """An auxiliary head, which has no criticality, is in the way of neither end nor of a score."""
    _, others = images
    model = copy.deepcopy(plain)
    model.aux = nn.Linear(2, 2)
    same, alpha = benchmark.interpolate(model, copy.deepcopy(model), others, progress=False)
    assert alpha == 0 and torch.equal(same.aux.weight, model.aux.weight)
    assert len(benchmark.evaluate(model, others, "clean", progress=False)) == 1


class TalksInTraining(Plain):
    """Its auxiliary head answers in training mode alone."""

    def forward(self, x):
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


def test_what_fine_tuning_would_fail_on_is_told_first(plain, images):
    """A tuple in training mode, a last batch of one, and batch norm that is not there."""
    (x, labels), others = images
    stages = []
    how = QUIETLY | {"progress": lambda stage, *_: stages.append(stage)}
    with pytest.raises(UserError, match="in training mode the model returns tuple for 8 images"):
        benchmark.rift(TalksInTraining(), (x, labels), others, **how)
    with pytest.raises(UserError, match="batch_size 127 of 128 images leaves a batch of one"):
        benchmark.rift(plain, (x, labels), others, **how | {"recipe": FEW | {"batch_size": 127}})
    with pytest.raises(UserError, match="bn-only is about batch-norm statistics, and the model has"):
        benchmark.rift(Viewed(), (x, labels), others, protocol="bn-only", **how)
    loader, mirrored = DataLoader(TensorDataset(x, labels), 64), benchmark.Augmentation(0, "zero", True)
    with pytest.raises(UserError, match="train: a DataLoader augments by itself"):
        benchmark.rift(plain, loader, others, augmentation=mirrored, **how)
    assert stages == []
    model, mrc = TalksInTraining(), QUIETLY["mrc"]
    assert len(benchmark.criticality(model, (x, labels), mrc=mrc, progress=False)) == 3


def test_evaluate(model, images):
    """Accuracies of a module in memory, on images of one's own and on a dataset of the suite."""
    _, (x, labels) = images
    frame = benchmark.evaluate(model, (x, labels), ["clean", "pgd10x3"], progress=False)
    wider = benchmark.evaluate(model, (x, labels), "pgd10x3", attack=DIGITS.threat, progress=False)
    clean = float((model(x).argmax(1) == labels).float().mean())
    assert frame.loc["clean", "accuracy"] == pytest.approx(clean)
    assert wider.loc["pgd10x3", "right"] < frame.loc["pgd10x3", "right"] < frame.loc["clean", "right"]
    assert frame["low"].le(frame["accuracy"]).all()
    named = benchmark.evaluate(model, "digits", ["clean"], limit=64, progress=False)
    assert named.loc["clean", "accuracy"] == pytest.approx(clean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, x, y: (m, (x * 2, y)), r"pixels are in \[0, 2\], not in \[0, 1\]"),
        (lambda m, x, y: (m, (x * (1 + 2e-7), y)), r"pixels are in \[0, 1[.]00000024\], not in"),
        (lambda m, x, y: (m, (x, y + 9)), "a label is 1., and there are 10 classes"),
        (lambda m, x, y: (m, (x, y.float())), "labels are whole numbers"),
        (lambda m, x, y: (m, (x, y.to(torch.complex64))), "labels are whole numbers"),
        (lambda m, x, y: (m, TensorDataset(x, y + 0.5)), r"does not give pairs .*TypeError"),
        (lambda m, x, y: (m, (x[0], y)), r"images are \(N, C, H, W\)"),
        (lambda m, x, y: (m, "cifar10"), "train is a str; give"),
        (lambda m, x, y: (nn.Flatten(), (x, y)), "no Conv2d or Linear module"),
        (lambda m, x, y: (Logistic(64, 10), (x, y)), "no Conv2d or Linear module"),
        (lambda m, x, y: (nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Nan()), (x, y)), "are NaN"),
    ],
)
def test_bad_input_is_told(plain, images, change, message):
    """One clear exception, before any work."""
    (x, labels), others = images
    model, train = change(plain, x, labels)
    with pytest.raises(UserError, match=message):
        benchmark.rift(model, train, others, **QUIETLY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used here"),
        ({"modules": "head"}, r'modules is a list of names, such as \["head"\]'),
        ({"seed": -1}, "seed is -1; a whole number"),
        ({"attack": 8 / 255}, "say LinfAttack"),
        ({"attack": LinfAttack(float("nan"), 0.1)}, "attack: eps: "),
        ({"recipe": {"lr": float("inf")}}, "recipe: lr: "),
        ({"recipe": Recipe(momentum=-1)}, "recipe: momentum: "),
        ({"mrc": {"radius": float("nan")}}, "mrc: radius: "),
        ({"augmentation": "flip"}, "augmentation is 'flip'; say Augmentation"),
        ({"augmentation": benchmark.Augmentation(-1, "zero", flip=False)}, "augmentation: pad: "),
        ({"augmentation": benchmark.Augmentation(8, "reflect", flip=True)}, "cannot be reflected so"),
        ({"judge": lambda x, y: (x[:4], y[:4])}, "judge: 4 images are too few to choose by"),
        ({"judge": lambda x, y: None}, "judge is a NoneType; give"),
        ({"judge": lambda x, y: (x.expand(-1, 3, -1, -1), y)}, r"fails on images .*[(]8, 3, 8, 8[)]"),
        ({"protocol": "rift+flip-average"}, "rift[+]flip-average makes a module; apply_method"),
    ],
)
def test_bad_settings_are_told(plain, images, change, message):
    """Devices that are not here, texts for lists, and judges that cannot judge."""
    train, others = images
    if (cut := change.get("judge")) is not None:
        change = {"judge": cut(*others)}
    with pytest.raises(UserError, match=message):
        benchmark.rift(plain, train, **{"judge": others} | QUIETLY | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: "resnet18", "the model is a str; give a torch.nn.Module"),
        (lambda m: m.to("meta"), "on the meta device"),
        (lambda m: m.double(), "the model fails on images .*float32"),
        (lambda m: nn.Sequential(m, nn.Flatten(0)), r"returns .80,. for 8 images"),
        (lambda m: setattr(m, "aux", nn.Linear(2, 2)) or m, "logits do not depend on 'aux'"),
        (lambda m: weight_norm(m.body) and m, "weight of 'body' is computed from others"),
        (lambda m: setattr(m.stem, "weight", nn.Parameter(m.stem.weight.to("meta"))) or m, "several"),
        (lambda m: m.stem.requires_grad_(False) and m, r"'stem.weight' is frozen"),
        (lambda m: Blind(m), "no gradient with respect to the pixels"),
    ],
)
def test_models_that_cannot_be_used(plain, images, change, message):
    """One clear exception for what no step of RiFT could work with."""
    with pytest.raises(UserError, match=message):
        benchmark.rift(change(plain), *images, **QUIETLY)


class Logistic(nn.Linear):
    """A network that is itself a module of a kind that is measured."""

    def forward(self, x):
        return super().forward(x.flatten(1))


class Blind(nn.Module):
    """Answers without a gradient."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x).detach()


class Nan(nn.Module):
    """Answers nothing."""

    def forward(self, x):
        return x * float("nan")


def test_modules_that_cannot_be_tuned(plain, images):
    """A name that is no module, and a module that is frozen."""
    train, others = images
    with pytest.raises(UserError, match=r"module of the model 'tail'; known: stem, body, head"):
        benchmark.rift(plain, train, others, modules=["tail"], **QUIETLY)
    plain.head.requires_grad_(False)
    with pytest.raises(UserError, match=r"'head[.]weight' is frozen"):
        benchmark.rift(plain, train, others, modules=["head"], **QUIETLY)
    with pytest.raises(UserError, match=r"'head[.]weight' is frozen"):
        benchmark.finetune(plain, train, others, ["head.weight"], progress=False)
    plain.head.requires_grad_(True)
    plain.norm.requires_grad_(False)
    for protocol in ("all-layers-alpha-1", "bn-affine"):
        with pytest.raises(UserError, match=r"'norm[.]weight' is frozen and may be chosen"):
            benchmark.rift(plain, train, others, protocol=protocol, **QUIETLY)


@dataclass(frozen=True)
class Biases(Selector):
    """Every bias, as in docs/own-posthoc.md."""

    version: ClassVar[int] = 1

    def select(self, given):
        return [name for name, _ in given.network.named_parameters() if name.endswith("bias")]


def test_frozen_parts_that_nothing_chooses(plain, images, monkeypatch):
    """A frozen backbone under its classifier is as good as another; what is chosen is not frozen."""
    plain.stem.requires_grad_(False)
    plain.body.weight.requires_grad_(False)
    found = benchmark.rift(plain, *images, protocol="last-layer", **QUIETLY)
    assert found.modules == ["head"] and not found.model.stem.weight.requires_grad
    monkeypatch.setitem(TUNINGS, "biases", Tuning("biases", "all biases", Biases()))
    with pytest.raises(UserError, match=r"'stem[.]bias' is frozen and may be chosen"):
        benchmark.rift(plain, *images, protocol="biases", **QUIETLY)
    plain.stem.bias.requires_grad_(True)
    assert "stem.bias" in benchmark.rift(plain, *images, protocol="biases", **QUIETLY).modules
    plain.norm.bias.requires_grad_(False)
    with pytest.raises(UserError, match=r"'norm[.]bias' is frozen and may be chosen"):
        benchmark.rift(plain, *images, protocol="biases", **QUIETLY)


def test_exports_are_no_modules_and_stay():
    """No module hides a name, which is the same after its first use."""
    for name in benchmark.__all__:
        first = getattr(benchmark, name)
        assert not isinstance(first, ModuleType) and getattr(benchmark, name) is first, name


def test_checkpoints_load_by_name():
    """The committed network is a module from pixels to logits."""
    model = benchmark.load_checkpoint("narrow-cifar10-resnet18-w16-pgd-at-seed0")
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert not model.training
