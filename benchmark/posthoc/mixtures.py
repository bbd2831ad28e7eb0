"""Methods that hold a second network, trained on clean images alone (Bai et al.; no torch)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmark.engine.forward import Choice, ChoiceTask, ForwardMethod, Numbers
from benchmark.records.counts import Count

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Split


@dataclass(frozen=True)
class OutputMixing(ForwardMethod):
    """Probabilities of both networks, mixed by one of `weights` (arXiv 2301.12554, no mixing network).

    Where the margin of the robust network h (largest minus second probability) is above (1 - a) / a,
    the mix has h's answer.
    """

    type_name: ClassVar[str] = "output-mix"
    version: ClassVar[int] = 1
    paper: ClassVar[tuple[str, str] | None] = ("Bai et al., 2023", "https://arxiv.org/abs/2301.12554")
    double: ClassVar[bool] = True
    passes: ClassVar[int] = 2
    partner: ClassVar[str | None] = "standard"
    weights: tuple[float, ...] = tuple(1 - step / 20 for step in range(11))

    @property
    def grid(self) -> tuple[Numbers, ...]:
        return tuple({"weight": a} for a in self.weights)

    def build(self, network: "nn.Module", partner: "nn.Module | None") -> "nn.Module":
        from benchmark.posthoc.modules import OutputMix

        assert partner is not None
        return OutputMix(network, partner)

    def measure(self, module: "nn.Module", images: "Split") -> None:
        from benchmark.posthoc.modules import check_mix

        check_mix(module, images)

    def counter(self, module: "nn.Module", images: "Split") -> Callable[[Numbers], Count]:
        """Counts from the logits of both networks, which run once for all numbers."""
        from benchmark.engine.counting import judged
        from benchmark.posthoc.modules import OutputMix, logits_of_both

        assert isinstance(module, OutputMix)
        robust, clean = logits_of_both(module, images)

        def count(numbers: Numbers) -> Count:
            self.at(module, numbers)
            return Count.of(judged(module.mix(robust, clean), images.labels).cpu().numpy())

        return count


@dataclass(frozen=True)
class MixingNonlinearly(OutputMixing):
    """MixedNUTS (Bai et al., TMLR 2024): a hard maximum of g is mixed with the bent logits of h.

    Scale s, shift c, power p and weight a are chosen for the fewest wrongly answered clean images whose
    margin is at least q, the (100 - `beta`) percentile of the margins of images that are right under
    attack; a = 1 / (1 + q), the smallest on a tie. The grid has `steps` values each and, the published
    optimum of CIFAR-10 being on three edges of theirs, one step more each way. Margins are of images
    under PGD-10 where the authors' are under AutoAttack.
    """

    type_name: ClassVar[str] = "mixed-nuts"
    fewest_classes: ClassVar[int] = 3  # of two, normalised logits say nothing of how sure a network is
    paper: ClassVar[tuple[str, str] | None] = ("Bai et al., 2024", "https://arxiv.org/abs/2402.02263")
    weights: tuple[float, ...] = ()
    beta: float = 98.5
    steps: int = 8

    def axes(self, classes: int) -> dict[str, list[float]]:
        """The values of scale, shift and power, for few classes (CIFAR-10) or many (CIFAR-100)."""
        few = classes <= 10
        scale, shift = ((0.05, 5.0), (-1.1, 0.0)) if few else ((0.05, 4.0), (-2.5, -0.4))
        return {
            "scale": list(_spaced(*scale, self.steps, geometric=True)),
            "shift": list(_spaced(*shift, self.steps)),
            "power": list(_spaced(1.0, 4.0, self.steps)),
        }

    def build(self, network: "nn.Module", partner: "nn.Module | None") -> "nn.Module":
        from benchmark.posthoc.modules import MixedNuts

        assert partner is not None
        return MixedNuts(network, partner)

    def choose(self, module: "nn.Module", task: ChoiceTask) -> Choice:
        from benchmark.posthoc.margins import best_numbers, logits_by_image

        clean, attacked = logits_by_image(task)
        labels = task.judged.labels.cpu()
        return best_numbers(clean, attacked, labels, self.axes(clean.shape[1]), self.beta)

    def stand_in(self, module: "nn.Module") -> "nn.Module":
        from benchmark.posthoc.modules import soft_copy

        return soft_copy(module)


def _spaced(low: float, high: float, steps: int, *, geometric: bool = False) -> Iterator[float]:
    """`steps` values from `low` to `high`, evenly or by a constant factor, and one more at each end."""
    for step in range(-1, steps + 1):
        share = step / (steps - 1)
        yield low * (high / low) ** share if geometric else low + (high - low) * share
