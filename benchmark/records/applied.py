"""How the module of a post-hoc method came to be."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from benchmark.records.counts import Count, Sha256
from benchmark.records.files import Frozen

Name = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
Number = Annotated[FiniteFloat, Field(strict=True)]  # the module is kept as it was read


class _Module(Frozen):
    forward: dict[str, Any]
    numbers: dict[Name, Number]


def _of_a_method(module: dict[str, Any]) -> dict[str, Any]:
    """`module`, if it names its method and its numbers, which are numbers."""
    _Module.model_validate(module)
    return module


class ChoicePoint(Frozen):
    """Accuracy of a module at some numbers; `robust`, adaptive, is None where it was not needed."""

    numbers: dict[Name, FiniteFloat]
    clean: Count
    robust: Count | None


class Applied(Frozen):
    """What was made of weights: the spec of a module with its numbers, the weights and the second
    network that it was made of, and how the numbers were chosen.

    `points` are those of the grid, `reference` is the robust count of the base model beside them.
    """

    kind: Literal["applied"] = "applied"
    module: Annotated[dict[str, Any], AfterValidator(_of_a_method)]
    on_sha256: Sha256
    partner_sha256: Sha256 | None
    reference: Count | None
    points: list[ChoicePoint]
    remarks: list[str]

    @property
    def numbers(self) -> dict[str, float]:
        return dict(self.module["numbers"])
