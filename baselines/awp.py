"""AWP (Wu et al., NeurIPS 2020): adversarial weight perturbation around any method's step."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from baselines.pgd_at import PgdAt
from benchmark.data.info import LinfAttack
from benchmark.engine.method import Method
from benchmark.engine.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Awp(Method):
    """min over w of the wrapped loss at w + v; v of each layer ascends it, ||v|| = gamma ||w||.

    As csdongxian/AWP, utils_awp.py: x' is crafted at w; one gradient g of the wrapped loss at x', in
    training mode, gives v = gamma ||w|| / (||g|| + 1e-20) g for every convolution and linear weight
    (Frobenius norms of whole tensors; neither BN nor biases); loss, backward and optimiser step,
    with momentum and weight decay, happen at w + v, and the same v is subtracted after the step.
    The BN statistics of the network are those of the passes at w + v (and of crafting), while the pass
    for g leaves no trace: the authors run it on a proxy network with w's state and an SGD step of its
    own, whose learning rate cancels; here g is taken on the network itself and its buffers are put
    back, which is the same v but for the proxy's rounding. The first `warmup` epochs have no v.

    Wrapped here is PGD-AT, as in RiFT ("AT-AWP"), with its clean pass after the step, and without the
    eleventh attack pass that the authors' code makes too (`PgdAt`). Recipe, AT_AWP/train_cifar10.py and
    train_cifar100.py: 200 epochs from 0.1, divided by 10 at 100 and 150, weight decay 5e-4, 10 steps of
    2/255, gamma 0.01, no warm-up (TRADES-AWP: see `TradesAwp`). The RiFT paper does not say whether it
    shortened this to its 110 epochs. The authors' CIFAR-100 script also rotates images; here the
    dataset's augmentation is kept. In their CIFAR-10 script the first batch of an epoch is attacked in
    evaluation mode (nothing sets the training mode before it); their CIFAR-100 script and this one
    always craft in training mode.
    """

    type_name: ClassVar[str] = "awp"
    version: ClassVar[int] = 1
    label: ClassVar[str] = "AWP"
    paper: ClassVar[tuple[str, str] | None] = ("Wu et al., 2020", "https://arxiv.org/abs/2004.05884")
    method: Method = field(default_factory=PgdAt)
    gamma: float = 0.01
    warmup: int = 0

    def recipe(self, dataset: str) -> Recipe:
        return Recipe(epochs=200, milestones=(100, 150), select_last=200)

    def inner(
        self,
        model: "nn.Module",
        x: "Tensor",
        labels: "Tensor",
        attack: LinfAttack,
        generator: "torch.Generator",
    ) -> "Tensor":
        return self.method.inner(model, x, labels, attack, generator)

    def outer(self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor") -> "Tensor":
        return self.method.outer(model, x, x_adv, labels)

    @contextmanager
    def hold(
        self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor", epoch: int
    ) -> Iterator[None]:
        import torch

        with self.method.hold(model, x, x_adv, labels, epoch):
            if epoch < self.warmup:
                yield
                return
            step = self.perturbation(model, x, x_adv, labels)
            weights = perturbed_weights(model)
            with torch.no_grad():
                for name, v in step.items():
                    weights[name].add_(v)
            try:
                yield
            finally:
                with torch.no_grad():
                    for name, v in step.items():
                        weights[name].sub_(v)

    def perturbation(
        self, model: "nn.Module", x: "Tensor", x_adv: "Tensor", labels: "Tensor"
    ) -> "dict[str, Tensor]":
        """v of each perturbed weight; the model's weights, buffers and gradients stay as they are."""
        import torch

        weights = perturbed_weights(model)
        before = [(buffer, buffer.clone()) for buffer in model.buffers()]
        loss = self.method.outer(model, x, x_adv, labels)
        gradients = torch.autograd.grad(
            loss, list(weights.values()), allow_unused=True, materialize_grads=True
        )
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
            return {
                name: g * (self.gamma * weight.norm() / (g.norm() + 1e-20))
                for (name, weight), g in zip(weights.items(), gradients, strict=True)
            }

    def after_step(self, model: "nn.Module", x: "Tensor") -> None:
        self.method.after_step(model, x)


def perturbed_weights(model: "nn.Module") -> "dict[str, nn.Parameter]":
    """Trainable weights of convolutions and linear layers by name: those of more than one axis."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.endswith("weight") and parameter.ndim > 1 and parameter.requires_grad
    }
