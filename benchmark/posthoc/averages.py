"""Methods that cost nothing: the mean over an image and its mirror image, and a temperature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmark.engine.forward import ForwardMethod
from benchmark.engine.method import OwnTuning, TuningTask
from benchmark.engine.recipes import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchmark.data.images import Split


@dataclass(frozen=True)
class FlipAverage(ForwardMethod):
    """The mean of the logits of an image and of its mirror image; there is nothing to choose."""

    type_name: ClassVar[str] = "flip-average"
    version: ClassVar[int] = 1
    passes: ClassVar[int] = 2

    def build(self, network: "nn.Module", partner: "nn.Module | None") -> "nn.Module":
        from benchmark.posthoc.modules import BothWays

        return BothWays(network)


@dataclass(frozen=True)
class LastLayerTemperature(OwnTuning):
    """The classifier times `factor`, a power of two: every answer stays, bit by bit.

    A control: cross-entropy has another gradient, by which an attack may find fewer examples.
    """

    type_name: ClassVar[str] = "last-layer-temperature"
    version: ClassVar[int] = 1
    factor: float = 8.0

    def tune(
        self, model: "nn.Module", images: "Split", recipe: Recipe, task: TuningTask
    ) -> "Mapping[str, Tensor]":
        chosen = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        return {
            name: x * self.factor if name in chosen else x for name, x in model.state_dict().items()
        }
