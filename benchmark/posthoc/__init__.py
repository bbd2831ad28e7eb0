"""Post-training methods beside RiFT, by name (no torch): what they make of weights that are there.

`POSTHOC` is the registry of what `Tuning` may name: a new one is one file and one line here.
"""

from benchmark.engine.forward import ForwardMethod
from benchmark.engine.method import OwnTuning
from benchmark.errors import UserError
from benchmark.posthoc.averages import FlipAverage, LastLayerTemperature
from benchmark.posthoc.mean_sparse import MeanSparse
from benchmark.posthoc.mixtures import MixingNonlinearly, OutputMixing

POSTHOC: dict[str, ForwardMethod | OwnTuning] = {
    "mean-sparse": MeanSparse(),
    "output-mix": OutputMixing(),
    "mixed-nuts": MixingNonlinearly(),
    "flip-average": FlipAverage(),
    "last-layer-temperature": LastLayerTemperature(),
}


def forward_method(name: str) -> ForwardMethod:
    """The method called `name` that gives back a module. Raises `UserError` if there is none."""
    found = POSTHOC.get(name)
    if not isinstance(found, ForwardMethod):
        known = ", ".join(each for each, made in POSTHOC.items() if isinstance(made, ForwardMethod))
        raise UserError(f"unknown post-hoc method '{name}'; known: {known}")
    return found
