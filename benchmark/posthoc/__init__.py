"""Post-training methods beside RiFT, by name (no torch): what they make of weights that are there.

`POSTHOC` is the registry of what `Tuning` may name: a new one is one file and one line here.
"""

import dataclasses

from benchmark.engine.forward import ForwardMethod
from benchmark.engine.method import OwnTuning
from benchmark.errors import UserError, unknown
from benchmark.posthoc.averages import FlipAverage, LastLayerTemperature
from benchmark.posthoc.mean_sparse import MeanSparse
from benchmark.posthoc.mixtures import MixingNonlinearly, OutputMixing
from benchmark.records.specs import Spec, spec_of

POSTHOC: dict[str, ForwardMethod | OwnTuning] = {
    "mean-sparse": MeanSparse(),
    "output-mix": OutputMixing(),
    "mixed-nuts": MixingNonlinearly(),
    "flip-average": FlipAverage(),
    "last-layer-temperature": LastLayerTemperature(),
}


def of_spec(module: Spec, where: str) -> ForwardMethod:
    """The method of a module's spec, as `ForwardMethod.spec` writes it and the file `where` has it.

    Raises `UserError` for one that is not of this suite, or of another version.
    """
    there = named if isinstance(named := module.get("forward"), dict) else {}
    for made in POSTHOC.values():
        if isinstance(made, ForwardMethod) and spec_of(made)["type"] == there.get("type"):
            fields = {field.name for field in dataclasses.fields(made)}  # type: ignore[arg-type]
            values = {name: there[name] for name in fields & there.keys()}
            values = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
            found = dataclasses.replace(made, **values)  # type: ignore[type-var]
            if spec_of(found) == there:
                return found
    raise UserError(
        f"'{where}' holds a module of {there.get('type', 'no method')}, version "
        f"{there.get('version')}, which this suite cannot make"
    )


def forward_method(name: str | ForwardMethod) -> ForwardMethod:
    """The method called `name`, or given itself, that makes a module. Raises `UserError` if there is
    none."""
    if isinstance(name, ForwardMethod):
        return name
    found = POSTHOC.get(name)
    if not isinstance(found, ForwardMethod):
        known = [each for each, made in POSTHOC.items() if isinstance(made, ForwardMethod)]
        raise unknown("post-hoc method", name, known)
    return found
