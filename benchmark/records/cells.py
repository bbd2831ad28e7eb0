"""The cell: one model of the benchmark, as a frozen value.

Key, path, seeds and place in a table are functions of the cell and of nothing else.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

from pydantic import Field

from benchmark.errors import UserError

BASE = "none"
HELD_OUT = "-held-out"  # ends names of what chooses on a hold-out, and of the base model made for it
BASES = (BASE, BASE + HELD_OUT)
OWN = "own"  # stands for the scale in keys of models that were made elsewhere
FROM = "-from-"  # between the scale and the checkpoint that a cell starts from instead of training
IN = "-in-"  # between the scale and a precision that is not the one it fixes
PART = r"[a-z0-9][a-z0-9.-]{0,199}"
"""What may stand between the slashes of a key, and name files: the one pattern of every name in it."""
Part = Annotated[str, Field(pattern=f"^{PART}$")]
FINETUNE = r"[a-z0-9][a-z0-9.+-]{0,199}"
"""The same for a fine-tuning, which may be two that follow each other."""
FinetunePart = Annotated[str, Field(pattern=f"^{FINETUNE}$")]
_KEY = re.compile(rf"{PART}(/{PART}){{3}}/{FINETUNE}/seed(0|[1-9][0-9]{{0,17}})")


def base_name(finetune: str) -> str:
    """What stands for `finetune` in the cell of the base model that it starts from.

    What chooses on a hold-out starts from a model that has not been trained on it either.
    """
    return BASE + HELD_OUT if HELD_OUT in finetune else BASE


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from the text of `parts`; the only source of seeds in the suite."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class ScaleName(NamedTuple):
    """The name of a scale in keys, with what its cells have instead of its own."""

    scale: str
    precision: str | None = None
    checkpoint: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ScaleName":
        """The parts of `SCALE[-in-PRECISION][-from-CHECKPOINT]`; any of them may be unknown."""
        rest, starts, checkpoint = text.partition(FROM)
        scale, differs, precision = rest.partition(IN)
        return cls(scale, precision if differs else None, checkpoint if starts else None)

    def __str__(self) -> str:
        there = ((IN, self.precision), (FROM, self.checkpoint))
        return self.scale + "".join(f"{before}{part}" for before, part in there if part is not None)


@dataclass(frozen=True, order=True)
class Cell:
    """One model: an adversarially trained base or a fine-tuned version of it.

    `finetune` of a base is `none`, or `none-held-out` if it was trained without the hold-out. `scale`
    is the scale's name, or `SCALE-from-NAME` for what starts from the checkpoint NAME of the registry:
    it shares no key, no seed and no record with what was trained at that scale. `SCALE-in-PRECISION` is
    what is made in another precision than the scale fixes: it shares seeds, but no record.
    """

    scale: str
    dataset: str
    arch: str
    method: str
    finetune: str
    seed: int

    def __post_init__(self) -> None:
        """Raise `UserError` for a part that no key has: a cell is a path, and goes nowhere else."""
        _check_key(self.key)

    @property
    def key(self) -> str:
        """Name on the command line and path on disk, `scale/dataset/arch/method/finetune/seedN`."""
        names = (self.scale, self.dataset, self.arch, self.method, self.finetune)
        return "/".join((*names, f"seed{self.seed}"))

    @property
    def base(self) -> "Cell":
        """The adversarially trained model that this cell starts from (itself for a base)."""
        return replace(self, finetune=base_name(self.finetune))

    @property
    def is_base(self) -> bool:
        return self.finetune in BASES

    @property
    def checkpoint(self) -> str | None:
        """Name of the checkpoint that the cell starts from; None if its base model is trained."""
        return ScaleName.parse(self.scale).checkpoint or None

    def seed_for(self, stage: str, *parts: object) -> int:
        """Seed of one stage (`"train"`, `"pgd10x3"`, ...), refined by `parts` such as the epoch.

        The same draws are made in every precision, so that only rounding differs.
        """
        scale = str(ScaleName.parse(self.scale)._replace(precision=None))
        return derive_seed(replace(self, scale=scale).key, stage, *parts)

    @classmethod
    def parse(cls, key: str) -> "Cell":
        """The cell named by `key`. Raises `UserError` if `key` does not have the form of a key."""
        _check_key(key := key.strip("/"))
        scale, dataset, arch, method, finetune, seed = key.split("/")
        return cls(scale, dataset, arch, method, finetune, int(seed.removeprefix("seed")))


def bases_first(cells: Iterable[Cell]) -> list[Cell]:
    """Each base model before the first of `cells` that starts from it; every cell once."""
    return list(dict.fromkeys(part for cell in cells for part in (cell.base, cell)))


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise UserError(
            f"'{key}' is not a cell key; a key reads SCALE/DATASET/ARCH/METHOD/FINETUNE/seedN, "
            "for example quick/digits/resnet10-w16/pgd-at/rift/seed0"
        )
