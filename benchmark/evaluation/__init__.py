"""Evaluations by name. `EVALUATIONS` is the registry: a new one is one file and one line.

An evaluation is a frozen dataclass; its fields and version are part of every record's spec. torch
is imported where it is used, so that tables and `status` start without it.
"""

from benchmark.errors import UserError
from benchmark.evaluation.clean import Clean
from benchmark.evaluation.corruptions import Corruptions15
from benchmark.evaluation.evaluation import Evaluation
from benchmark.evaluation.pgd import Pgd10x3

EVALUATIONS: dict[str, Evaluation] = {
    "clean": Clean(),
    "corruptions-15": Corruptions15(),
    "pgd10x3": Pgd10x3(),
}


def evaluation(name: str) -> Evaluation:
    """The evaluation called `name`. Raises `UserError` if there is none."""
    if name not in EVALUATIONS:
        raise UserError(f"unknown evaluation '{name}'; known: {', '.join(EVALUATIONS)}")
    return EVALUATIONS[name]
