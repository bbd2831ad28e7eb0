"""Evaluations by name. `EVALUATIONS` is the registry: a new one is one file and one line.

An evaluation is a frozen dataclass; its fields and version are part of every record's spec. torch
is imported where it is used, so that tables and `status` start without it.
"""

from benchmark.errors import UserError
from benchmark.evaluation.clean import Clean
from benchmark.evaluation.corruptions import GeneratedCorruptions, OfficialCorruptions
from benchmark.evaluation.evaluation import Evaluation
from benchmark.evaluation.pgd import Pgd10x3

EVALUATIONS: dict[str, Evaluation] = {
    "clean": Clean(),
    "corruptions-15": OfficialCorruptions(15),
    "corruptions-18": OfficialCorruptions(18),
    "corruptions-15-severity-1": OfficialCorruptions(15, severities=(1,)),
    "corruptions-18-severity-1": OfficialCorruptions(18, severities=(1,)),
    "corruptions-15-gen-v1": GeneratedCorruptions(15),
    "corruptions-18-gen-v1": GeneratedCorruptions(18),
    "corruptions-15-gen-v1-pictures": GeneratedCorruptions(15, frost="pictures"),
    "corruptions-18-gen-v1-pictures": GeneratedCorruptions(18, frost="pictures"),
    "pgd10x3": Pgd10x3(),
}
"""`severity-1` is what the released code evaluates on Tiny-ImageNet-C (Immortalise/RiFT, utils.py and
dataloader.py, `level=1`), although the paper's numbers look like all five."""


def evaluation(name: str) -> Evaluation:
    """The evaluation called `name`. Raises `UserError` if there is none."""
    if name not in EVALUATIONS:
        raise UserError(f"unknown evaluation '{name}'; known: {', '.join(EVALUATIONS)}")
    return EVALUATIONS[name]
