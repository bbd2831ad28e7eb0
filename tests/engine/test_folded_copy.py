"""The cheaper copy that attacks run against: same function, same gradients, always up to date."""

import gc
import weakref
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

from benchmark.data import dataset_info
from benchmark.data.info import DIGITS, DatasetInfo, LinfAttack
from benchmark.engine import folded_copy
from benchmark.engine.folded_copy import AttackCopy, MixedPrecision, _copies, cheaper, trained
from benchmark.engine.pgd import example_starts, linf_pgd, training_mode
from benchmark.engine.precision import Precision, has_compiler
from benchmark.models import build

CPU = torch.device("cpu")
NETWORKS = [
    ("resnet18-w8", "digits"),
    ("resnet34-w8", "digits"),
    ("wrn-34-1", "digits"),
    ("preact-resnet18-w8", "digits"),
    ("resnet18-w8", "cifar10"),
]


def network(arch: str, info: DatasetInfo, seed: int = 0) -> nn.Module:
    """A network in training mode whose batch norms have statistics and weights of their own."""
    torch.manual_seed(seed)
    model = build(arch, info)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
            ):
                assert tensor is not None
                nn.init.uniform_(tensor, low, high)
    return model.to(memory_format=torch.channels_last)


def pictures(info: DatasetInfo, count: int = 6) -> Tensor:
    """Random pixels in channels-last order."""
    x = torch.rand(count, info.channels, info.side, info.side)
    return x.contiguous(memory_format=torch.channels_last)


def gradient(model: nn.Module | AttackCopy, x: Tensor, labels: Tensor) -> Tensor:
    """Of the summed cross-entropy by the pixels."""
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.layer1[0], "bn1", nn.GroupNorm(2, 8)),
        lambda model: weight_norm(model.layer1[0].conv1),
        lambda model: prune.identity(model.layer1[0].conv1, "weight"),
        lambda model: setattr(model, "bn1", nn.BatchNorm2d(8, track_running_stats=False)),
    ],
    ids=["group norm", "weight norm", "pruned", "no statistics"],
)
def test_a_changed_network_runs_as_it_is(change):
    """What a user made of a network of this suite is not folded where that cannot be."""
    model, x = network("resnet18-w8", DIGITS), pictures(DIGITS)
    change(model)
    assert cheaper(model.eval(), CPU) is model
    assert linf_pgd(model, x, torch.arange(len(x)), DIGITS.threat, torch.zeros_like(x)).isfinite().all()


@pytest.mark.parametrize(("arch", "dataset"), NETWORKS)
def test_the_copy_is_the_same_function(arch, dataset):
    """Logits and gradients by pixels are those of the network in evaluation mode, but for rounding, and
    at most the norms that do not follow a convolution alone remain: the first of a pre-activation block
    and the one before the head."""
    info = dataset_info(dataset)
    model, x = network(arch, info), pictures(info)
    labels = torch.arange(len(x)) % info.classes
    copied = AttackCopy(model, torch.float32)
    kept = [n for n, m in copied.network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(name.endswith(("bn1", "bn")) for name in kept)
    assert bool(kept) != arch.startswith("resnet")
    with training_mode(model, False):
        torch.testing.assert_close(copied(x), model(x), rtol=1e-4, atol=1e-5)
        exact = gradient(model, x, labels)
    torch.testing.assert_close(gradient(copied, x, labels), exact, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("arch", "dataset"), NETWORKS[:4])
def test_the_copy_follows_every_tensor(arch, dataset):
    """After any weight or buffer has changed, `follow` gives the bits of a fresh copy."""
    info = dataset_info(dataset)
    model, x = network(arch, info, 1), pictures(info)
    copied = AttackCopy(model, torch.float32)
    model.load_state_dict(network(arch, info, 2).state_dict())
    copied.follow(model)
    assert torch.equal(copied(x), AttackCopy(model, torch.float32)(x))


def test_the_copy_leaves_the_network_alone():
    """Neither bits, modes nor gradients of the network change, and the copy asks for none."""
    info = dataset_info("digits")
    model, x = network("resnet18-w8", info), pictures(info)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    labels = torch.zeros(len(x), dtype=torch.int64)
    linf_pgd(model, x, labels, LinfAttack(0.1, 0.025, 2), torch.zeros_like(x))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(p.requires_grad for p in _copies[model].network.parameters())


def test_a_copy_is_made_once_and_goes_with_its_network(in_bf16):
    """Attacks on one network share a copy; nothing keeps it when the network is gone."""
    info = dataset_info("digits")
    model = network("resnet18-w8", info)
    copied = cheaper(model, CPU)
    assert cheaper(model, CPU) is copied
    in_bf16()
    assert cheaper(model, CPU) is not copied
    watched = weakref.ref(_copies[model].network)
    del model, copied
    gc.collect()
    assert watched() is None


def test_other_makers_networks_run_as_they_are(in_bf16):
    """A network that cannot be folded is attacked itself, in bf16 by autocast, with fp32 logits."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10)).eval()
    x = pictures(dataset_info("digits"))
    assert cheaper(model, CPU) is model
    in_bf16()
    logits = cheaper(model, CPU)(x)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, model(x), rtol=0.05, atol=0.05)
    assert not torch.equal(logits, model(x))


def crafted_in_batches(arch: str) -> tuple[Tensor, list[Tensor]]:
    """Examples of 24 images crafted together, and the same in batches of 1 and of 7."""
    info = dataset_info("digits")
    model, x = network(arch, info), pictures(info, 24)
    labels = torch.arange(24) % info.classes
    start = example_starts(5, 0, 24, tuple(x.shape[1:]), 0.1)
    start = start.contiguous(memory_format=torch.channels_last)

    def crafted(size: int) -> Tensor:
        rows = [slice(i, i + size) for i in range(0, 24, size)]
        attack = LinfAttack(0.1, 0.025, 3)
        return torch.cat([linf_pgd(model, x[r], labels[r], attack, start[r]) for r in rows])

    return crafted(24), [crafted(size) for size in (1, 7)]


@pytest.mark.parametrize("arch", ["resnet18-w8", "wrn-34-1", "preact-resnet18-w8"])
def test_attacks_do_not_depend_on_the_batch(arch):
    """Examples crafted on the copy are the same bits whatever they share a batch with."""
    whole, parts = crafted_in_batches(arch)
    assert all(torch.equal(part, whole) for part in parts)


@pytest.mark.parametrize("arch", ["resnet18-w8", "wrn-34-1"])
def test_bf16_attacks_hardly_depend_on_the_batch(arch, in_bf16):
    """Kernels for bf16 may sum in an order that depends on the batch (AMX): it turns signs of gradients
    near zero, at fewer pixels than where rounding to bf16 does."""
    exact, _ = crafted_in_batches(arch)
    in_bf16()
    whole, parts = crafted_in_batches(arch)
    rounded = (whole != exact).float().mean()
    assert all((part != whole).float().mean() < rounded for part in parts)


def test_bf16_gradients_have_the_signs_of_fp32_ones():
    """Signs agree at nearly all pixels; where they do not, the gradient is small."""
    info = dataset_info("cifar10")
    model, x = network("resnet18-w8", info).eval(), pictures(info, 8)
    labels = torch.arange(8) % 10
    exact, bf16 = gradient(model, x, labels), gradient(AttackCopy(model, torch.bfloat16), x, labels)
    differ = exact.sign() != bf16.sign()
    assert 0 < differ.float().mean() < 0.1
    assert exact[differ].abs().mean() < 0.2 * exact.abs().mean()


def test_training_in_fp32_needs_no_wrapper(in_bf16):
    """The network itself is trained, and in bf16 a wrapper with its parameters."""
    model = network("resnet18-w8", dataset_info("digits"))
    assert trained(model, CPU) is model
    in_bf16()
    wrapped = trained(model, CPU)
    assert isinstance(wrapped, MixedPrecision)
    assert [id(p) for p in wrapped.parameters()] == [id(p) for p in model.parameters()]


def test_mixed_precision_keeps_weights_statistics_and_logits_in_fp32():
    """Gradients of weights are nearly those in fp32, and a changed weight counts at once: no cast of an
    old one is kept."""
    info = dataset_info("digits")
    model, x = network("resnet18-w8", info), pictures(info, 32)
    mixed, labels = MixedPrecision(model, Precision("bf16")), torch.arange(32) % 10
    logits, weight = mixed(x), model.get_parameter("linear.weight")
    assert logits.dtype == torch.float32
    assert all(t.dtype == torch.float32 for t in model.buffers() if t.is_floating_point())
    (rough,) = torch.autograd.grad(F.cross_entropy(logits, labels), weight)
    (exact,) = torch.autograd.grad(F.cross_entropy(model(x), labels), weight)
    assert rough.dtype == torch.float32
    assert F.cosine_similarity(rough.flatten(), exact.flatten(), dim=0) > 0.99
    with torch.no_grad():
        model.get_parameter("linear.weight").zero_()
        model.get_parameter("linear.bias").zero_()
    assert torch.equal(mixed(x), torch.zeros(32, 10))


def test_attacks_see_through_the_wrapper(in_bf16):
    """The copy of a wrapped network is that of the network."""
    model = network("resnet18-w8", dataset_info("digits"))
    in_bf16()
    assert cheaper(trained(model, CPU), CPU) is cheaper(model, CPU)


@pytest.mark.parametrize("sizes", [(85, 55, 128), (55, 128, 85)])
def test_whether_a_batch_is_compiled_depends_on_its_size_alone(monkeypatch, sizes):
    """Not on what came first: a resumed run may begin with the last, smaller batch."""
    compiled = []
    noted = lambda run, _: lambda x: compiled.append(len(x)) or run(x)  # noqa: E731
    monkeypatch.setattr(folded_copy, "_compile", noted)
    info = dataset_info("cifar10")
    made = AttackCopy(network("resnet18-w8", info), torch.float32, compiled=True)
    for size in sizes:
        made(pictures(info, size))
    assert sorted(compiled) == [85, 128]


@pytest.mark.parametrize("on_cuda", [True, False])
def test_no_race_chooses_kernels_on_cuda(monkeypatch, on_cuda):
    """Those of reductions add in different orders; on a processor none are timed."""
    from torch._inductor import config

    def compiled(function, *, dynamic, options):
        with config.patch(options or {}):
            assert config.deterministic is on_cuda
        return function

    monkeypatch.setattr(torch, "compile", compiled)
    network = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(is_cuda=on_cuda)]))
    assert folded_copy._compile(abs, network) is abs


@pytest.mark.slow
def test_compiling_leaves_the_casts_in_the_copy(monkeypatch):
    """What is compiled takes the attack's own leaf, since torch warns of others; traced without
    kernels, it gives the bits of the copy as it is."""
    info = dataset_info("digits")
    model, x = network("resnet18-w8", info), pictures(info)
    labels = torch.arange(len(x)) % info.classes
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled, plain = (AttackCopy(model, torch.bfloat16, compiled=each) for each in (True, False))
    assert torch.equal(gradient(compiled, x, labels), gradient(plain, x, labels))


@pytest.mark.slow
def test_all_networks_of_a_process_are_compiled(monkeypatch):
    """However many kinds there are: torch by itself compiles eight of a line of code, and runs the rest
    as they are."""
    from torch._dynamo import config, reset

    kernels = []

    def backend(graph, _inputs):
        kernels.append(graph)
        return graph.forward

    reset()
    monkeypatch.setattr(config, "recompile_limit", 8)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    for classes in range(1, 11):
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, classes))
        mixed = MixedPrecision(model, Precision("fp32", compiled=True))
        assert mixed(torch.rand(2, 3, 2, 2)).shape == (2, classes)
    assert len(kernels) == 10


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler here")
def test_a_compiled_copy_is_the_same_function():
    """Logits and gradients agree with those of the copy as it is, also after it has followed other
    weights, and another batch shape runs uncompiled."""
    info = dataset_info("digits")
    model, x = network("resnet18-w8", info, 1), pictures(info, 16)
    labels = torch.arange(16) % 10
    compiled = AttackCopy(model, torch.float32, compiled=True)
    compiled(x)
    model.load_state_dict(network("resnet18-w8", info, 2).state_dict())
    compiled.follow(model)
    plain = AttackCopy(model, torch.float32)
    torch.testing.assert_close(compiled(x), plain(x), rtol=1e-4, atol=1e-5)
    exact = gradient(plain, x, labels)
    torch.testing.assert_close(gradient(compiled, x, labels), exact, rtol=1e-3, atol=1e-5)
    assert torch.equal(compiled(x[:3]), plain(x[:3]))
