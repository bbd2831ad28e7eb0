"""Post-hoc methods that give back a module: another forward pass, or a second network as well."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmark.data.info import LinfAttack
from benchmark.progress import Progress
from benchmark.records.specs import Spec, spec_of

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Split
    from benchmark.records.counts import Count

Numbers = Mapping[str, float]
"""What trades clean against robust accuracy in a module, by name; empty where nothing does."""


@dataclass(frozen=True)
class ChoiceTask:
    """What a method that chooses its numbers by itself is told: the `network` that it starts from, the
    images that choose, and the attack with the seed of its random starts."""

    network: "nn.Module"
    judged: "Split"
    attack: LinfAttack
    seed: int
    progress: Progress


@dataclass(frozen=True)
class Choice:
    """Numbers that were chosen, and what a reader should know of the choice."""

    numbers: Numbers
    remarks: tuple[str, ...] = ()


class ForwardMethod(ABC):
    """A frozen dataclass whose fields stand in the spec; `version` is raised when numbers may change.

    The module's state dict is complete, with numbers and statistics: it is filed together with the
    spec, from which `build` makes the module again. It maps pixels (B, C, H, W) in [0,1] to finite
    logits (B, K). `paper`: who published it and where; `passes`: forward passes
    per answer; `partner`: the AT method of a second network of the same architecture and seed
    (None: there is none); `double`: its numbers are in double precision, which MPS lacks;
    `fewest_classes`: how many it needs at least.
    """

    version: ClassVar[int]
    paper: ClassVar[tuple[str, str] | None] = None
    passes: ClassVar[int] = 1
    partner: ClassVar[str | None] = None
    double: ClassVar[bool] = False
    fewest_classes: ClassVar[int] = 2

    @property
    def grid(self) -> Sequence[Numbers]:
        """The numbers that the protocol's rule chooses among; the first are taken on a tie.

        Empty where there are none, or `choose` finds them.
        """
        return ()

    @abstractmethod
    def build(self, network: "nn.Module", partner: "nn.Module | None") -> "nn.Module":
        """The module around `network`, which is the method's to change, before anything is measured.

        Raises `UserError` for a network that the method does not fit.
        """

    def measure(self, module: "nn.Module", images: "Split") -> None:
        """Put into `module` what it has to know of `images`, which are training images as they are."""
        return

    def apply(
        self, network: "nn.Module", images: "Split", partner: "nn.Module | None" = None
    ) -> "nn.Module":
        """The module made of `network` and `images`, on one device with them and in evaluation mode;
        its numbers are not chosen."""
        module = self.build(network, partner).to(images.labels.device).eval()
        self.measure(module, images)
        return module

    def choose(self, module: "nn.Module", task: ChoiceTask) -> Choice | None:
        """The numbers by the method's own rule; None: by the protocol's, among `grid`."""
        return None

    def at(self, module: "nn.Module", numbers: Numbers) -> "nn.Module":
        """`module` with `numbers` in its scalar buffers of these names.

        An override may raise `UserError` for invalid numbers.
        """
        for name, value in numbers.items():
            module.get_buffer(name).fill_(value)
        return module

    def counter(self, module: "nn.Module", images: "Split") -> "Callable[[Numbers], Count]":
        """A function of numbers: how many of `images` `module` gets right with them.

        An override may cache what numbers do not change, if the counts stay the same.
        """
        from benchmark.engine.counting import clean_count

        return lambda numbers: clean_count(self.at(module, numbers), images)

    def stand_in(self, module: "nn.Module") -> "nn.Module | None":
        """A module with the logits of `module`, bit by bit, and a gradient that is of use to an attack.

        For modules with a flat, hard or saturating part; None: their own gradient will do. Tensors may
        be shared with `module`.
        """
        return None

    def spec(self, numbers: Numbers) -> Spec:
        """What `build` and `numbers` make, for the module's file and identity."""
        plain = {name: x if type(x) is int else float(x) for name, x in numbers.items()}
        return {"forward": spec_of(self), "numbers": plain}
