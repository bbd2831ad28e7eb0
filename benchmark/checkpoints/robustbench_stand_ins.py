"""Stand-ins for two packages that RobustBench 1.1.1 imports and that are gone.

These are `pkg_resources`, which setuptools no longer has, and `autoattack`, which is not on PyPI; the
same attacks are there under the name `pyautoattack`. Where the real ones are missing, others are in
`sys.modules` while RobustBench is imported; it keeps its references to them.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def stand_ins() -> Iterator[None]:
    """Meanwhile what RobustBench misses is in `sys.modules`; what is there is left alone."""
    added: dict[str, ModuleType] = {}
    if not importable("pkg_resources"):
        added |= _pkg_resources()
    if not importable("autoattack"):
        added |= _autoattack()
    before = {name: sys.modules[name] for name in added if name in sys.modules}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def importable(name: str) -> bool:
    """Whether top-level module `name` is imported already or is there to be imported."""
    return sys.modules.get(name) is not None or importlib.util.find_spec(name) is not None


def _pkg_resources() -> dict[str, ModuleType]:
    """The one function of setuptools' `pkg_resources` that RobustBench calls."""

    def resource_filename(package: str, resource: str) -> str:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None
        return str(Path(spec.origin).parent / resource)

    return {"pkg_resources": _module("pkg_resources", resource_filename=resource_filename)}


def _autoattack() -> dict[str, ModuleType]:
    """fra31/auto-attack as far as RobustBench uses it, over `pyautoattack`, its release on PyPI."""
    from pyautoattack.state import EvaluationState

    state = _module("autoattack.state", EvaluationState=EvaluationState)
    return {
        "autoattack": _module("autoattack", AutoAttack=AutoAttackStandIn, state=state, __path__=[]),
        "autoattack.state": state,
    }


def _module(name: str, **contents: object) -> ModuleType:
    module = ModuleType(name, "A stand-in by benchmark.checkpoints.robustbench.")
    vars(module).update(contents)
    return module


class AutoAttackStandIn:
    """`pyautoattack.AutoAttack` as `robustbench.eval.benchmark` calls fra31/auto-attack.

    What that would print goes to the logger `auto-attack`.
    """

    def __init__(self, model: "nn.Module", **settings: Any) -> None:
        import pyautoattack

        settings.pop("log_path", None)  # it has no log files
        self.attack = pyautoattack.AutoAttack(model, **settings)

    def run_standard_evaluation(
        self, x_orig: "Tensor", y_orig: "Tensor", *, bs: int = 250, state_path: Path | None = None
    ) -> "Tensor":
        """Adversarial images in [0,1], shape (N, C, H, W) like `x_orig`."""
        x_adv, _ = self.attack.run_standard_evaluation(
            x_orig, y_orig, batch_size=bs, state_path=state_path
        )
        found: Tensor = x_adv
        return found
