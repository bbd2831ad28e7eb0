"""Clean accuracy on the test split (column Std)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchmark.data.info import DatasetInfo
from benchmark.evaluation.protocol import Evaluation, Kind, Outcome, not_finite, right
from benchmark.progress import Progress
from benchmark.records.cells import Cell
from benchmark.records.records import Count
from benchmark.records.specs import Spec, spec_of
from benchmark.records.store import Journal

if TYPE_CHECKING:
    from torch import nn

    from benchmark.data.images import Dataset


@dataclass(frozen=True)
class Clean(Evaluation):
    """Share of test images whose largest logit is the label's, in fp32; all logits must be finite."""

    type_name: ClassVar[str] = "clean"
    version: ClassVar[int] = 1
    label: ClassVar[str] = "Std"
    summary: ClassVar[str] = "accuracy on the clean test images"
    kind: ClassVar[Kind] = "clean"
    role: ClassVar[str] = "Std"
    arrays: ClassVar[tuple[str, ...]] = ("clean",)
    parts: ClassVar[tuple[str, ...]] = ()

    def spec(self, info: DatasetInfo) -> Spec | None:
        spec: Spec = spec_of(self)
        return spec

    def run(
        self, model: "nn.Module", data: "Dataset", base: Cell, journal: Journal, progress: Progress
    ) -> Outcome:
        from benchmark.engine.counting import clean_answers

        answers = {"clean": clean_answers(model, data.judged).numpy()}
        bits = right(answers)
        return Outcome(Count.of(bits["clean"]), not_finite(answers.values()), bits)
