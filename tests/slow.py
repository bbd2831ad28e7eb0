"""A plug-in whose trainings take a quarter of a second a step, whatever the machine."""

import time
from dataclasses import dataclass
from typing import ClassVar

from baselines.pgd_at import PgdAt
from benchmark import add


@dataclass(frozen=True)
class Slow(PgdAt):
    """PGD-AT that waits."""

    type_name: ClassVar[str] = "slow"
    label: ClassVar[str] = "Slow"

    def after_step(self, model, x):
        time.sleep(0.25)


add.method(Slow())
