"""Counts of right answers, in which every accuracy is kept."""

from operator import not_
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from benchmark.records.files import Frozen

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Count(Frozen):
    """`k` correct of `n`. Of the others `not_finite` had a NaN or an infinity among their logits; files
    hold that number only where it is not 0."""

    k: int = Field(ge=0)
    n: int = Field(gt=0)
    not_finite: int = Field(default=0, ge=0, exclude_if=not_)

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if self.k > self.n:
            raise ValueError(f"k = {self.k} is more than n = {self.n}")
        if self.k + self.not_finite > self.n:
            raise ValueError(f"not_finite = {self.not_finite} is more than n - k = {self.n - self.k}")
        return self

    @classmethod
    def of(cls, answers: NDArray[Any]) -> Self:
        """Count the right ones of `answers`: true entries, or positive ones where negative ones are not
        finite."""
        hits, lost = (int(np.count_nonzero(each)) for each in (answers > 0, answers < 0))
        return cls(k=hits, n=answers.size, not_finite=lost)

    @property
    def fraction(self) -> float:
        return self.k / self.n

    @property
    def percent(self) -> str:
        """For progress lines only; tables format their own numbers."""
        lost = f" ({self.not_finite} not finite)" if self.not_finite else ""
        return f"{100 * self.fraction:.2f} %{lost}"
