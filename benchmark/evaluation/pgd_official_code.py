"""Adv as the released code takes it: one PGD-10 run of longer steps."""

from dataclasses import dataclass
from typing import ClassVar

from benchmark.algorithm import official_code
from benchmark.data import DatasetInfo
from benchmark.engine.recipes import LinfAttack
from benchmark.evaluation.pgd import Pgd10x3


@dataclass(frozen=True)
class Pgd10OfficialCode(Pgd10x3):
    """One whole-set PGD-10 run at step 2/225 (Immortalise/RiFT, main.py and utils.py)."""

    type_name: ClassVar[str] = "pgd10-official-code"
    label: ClassVar[str] = "Adv (official code)"
    summary: ClassVar[str] = "one PGD-10 run at the released code's step"
    runs: int = 1

    def attack(self, info: DatasetInfo) -> LinfAttack:
        return official_code.attack(info.threat)
