"""The same tables at different costs: a scale fixes data, networks, recipe lengths and seeds.

It never changes a formula or a protocol, and no table mixes scales. A scale of one's own is a TOML
file with the fields of `Scale`, named on the command line as `--scale my.toml`.
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from benchmark.errors import UserError
from benchmark.recipes import CriticalitySettings, Recipe

Overrides = Mapping[str, Any]


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Scale:
    """Datasets, networks and seeds of the tables, and what of the published recipes is shortened.

    `training`, `finetuning` and `criticality` override fields of `Recipe`, `FINETUNE_RECIPE` and
    `CriticalitySettings`; everything they leave out is as published. `dataset` and `arch` of Tables
    3 and 4 are the first of `datasets` and `archs`.
    """

    name: str
    summary: str
    datasets: tuple[str, ...]
    archs: tuple[str, ...]
    seeds: tuple[int, ...]
    methods: tuple[str, ...] = ("pgd-at",)
    training: dict[str, Any] = field(default_factory=dict)
    finetuning: dict[str, Any] = field(default_factory=dict)
    criticality: dict[str, Any] = field(default_factory=dict)
    evaluations: tuple[str, ...] = ("clean", "corruptions-15", "pgd10x3")


NARROW = Scale(
    name="narrow",
    summary="real CIFAR-10, width-16 networks, 10 epochs: hours on a CPU",
    datasets=("cifar10",),
    archs=("resnet18-w16", "resnet34-w16", "wrn-34-1"),
    seeds=(0,),
    training={
        "epochs": 10,
        "lr": 0.2,
        "schedule": "one-cycle",
        "attack_steps": 2,
        "attack_path": 1.5,
        "select_last": 2,
        "select_images": 2000,
    },
    criticality={"images": 5000},
)
"""Real images on a CPU. One seed, 10 one-cycle epochs, criticality on 5,000 training images.

Training examples are crafted in 2 steps of 6/255 instead of 10 of 2/255: a length of the recipe,
like the number of epochs, chosen so that an epoch takes minutes without bf16 hardware. The
evaluation attack is the paper's PGD-10, three runs, on all 10,000 test images.
"""

SCALES: dict[str, Scale] = {scale.name: scale for scale in (NARROW,)}


def scale(name: str) -> Scale:
    """The scale called `name`, or read from the TOML file `name`. Raises `UserError` otherwise."""
    if name in SCALES:
        return SCALES[name]
    if not name.endswith(".toml"):
        raise UserError(f"unknown scale '{name}'; known: {', '.join(SCALES)}, or a .toml file")
    path = Path(name)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        read = TypeAdapter(Scale).validate_python(content)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the scale file '{name}': {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"'{name}' is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        fields = ", ".join(f.name for f in dataclasses.fields(Scale))
        raise UserError(
            f"'{name}' is not a scale: {where}: {first['msg']}; its fields are {fields}"
        ) from error
    if read.name in SCALES:
        raise UserError(f"'{name}' calls itself '{read.name}', the name of a built-in scale")
    return read


R = TypeVar("R", Recipe, CriticalitySettings)


def shortened(published: R, overrides: Overrides, where: str) -> R:
    """`published` with the fields in `overrides` replaced; `where` names them in the error."""
    known = {f.name for f in dataclasses.fields(published)}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise UserError(f"{where}: unknown field '{unknown[0]}'; known: {', '.join(sorted(known))}")
    values = {n: tuple(v) if isinstance(v, list) else v for n, v in overrides.items()}
    return dataclasses.replace(published, **values)
