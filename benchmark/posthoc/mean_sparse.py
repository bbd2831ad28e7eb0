"""MeanSparse (Amini et al., arXiv 2406.05927): activations near a channel's mean become the mean."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmark.engine.forward import ForwardMethod, Numbers

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Split


@dataclass(frozen=True)
class MeanSparse(ForwardMethod):
    """MeanSparse with one of `thresholds`, in standard deviations, at every `Place` of the network.

    Statistics are pooled over all images; the released code averages means and unbiased variances of
    batches of 512, and so depends on the batch (SPIN-UMass/MeanSparse, utils_sparse.py).
    """

    type_name: ClassVar[str] = "mean-sparse"
    version: ClassVar[int] = 1
    paper: ClassVar[tuple[str, str] | None] = ("Amini et al., 2024", "https://arxiv.org/abs/2406.05927")
    double: ClassVar[bool] = True
    thresholds: tuple[float, ...] = tuple(step / 20 for step in range(11))

    @property
    def grid(self) -> tuple[Numbers, ...]:
        return tuple({"threshold": t} for t in self.thresholds)

    def build(self, network: "nn.Module", partner: "nn.Module | None") -> "nn.Module":
        from benchmark.posthoc.bands import put_in

        return put_in(network)

    def measure(self, module: "nn.Module", images: "Split") -> None:
        from benchmark.posthoc.bands import fill

        fill(module, images)

    def at(self, module: "nn.Module", numbers: Numbers) -> "nn.Module":
        from benchmark.posthoc.bands import set_threshold

        set_threshold(module, numbers["threshold"])
        return module

    def stand_in(self, module: "nn.Module") -> "nn.Module":
        from benchmark.posthoc.bands import straight

        return straight(module)
