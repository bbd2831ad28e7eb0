"""How the module of a post-hoc method came to be."""

from typing import Any, Literal

from pydantic import FiniteFloat

from benchmark.records.counts import Count, Sha256
from benchmark.records.files import Frozen


class ChoicePoint(Frozen):
    """Accuracy of a module at some numbers; `robust`, adaptive, is None where it was not needed."""

    numbers: dict[str, FiniteFloat]
    clean: Count
    robust: Count | None


class Applied(Frozen):
    """What was made of weights: the spec of a module with its numbers, the weights and the second
    network that it was made of, and how the numbers were chosen.

    `points` are those of the grid, `reference` is the robust count of the base model beside them.
    """

    kind: Literal["applied"] = "applied"
    module: dict[str, Any]
    on_sha256: Sha256
    partner_sha256: Sha256 | None
    reference: Count | None
    points: list[ChoicePoint]
    remarks: list[str]

    @property
    def numbers(self) -> dict[str, float]:
        return dict(self.module["numbers"])
