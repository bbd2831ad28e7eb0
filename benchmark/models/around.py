"""A module whose forward pass is made of a network's."""

from torch import nn


class Around(nn.Module):
    """A module that runs `network`, with others or not, and returns logits (B, K) of its own.

    An attack's copy (`benchmark.engine.folded_copy`) folds every network of this suite in it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
