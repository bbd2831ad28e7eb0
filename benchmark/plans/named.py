"""Scales by name: the suite's TOML files beside this one, a user's, and those filed with results."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import TypeAdapter, ValidationError

from baselines import method
from benchmark.data import dataset_info
from benchmark.engine.precision import in_precision
from benchmark.errors import UserError, problems, unknown
from benchmark.evaluation import evaluation
from benchmark.models import arch
from benchmark.plans.scales import Scale, wrong_overrides
from benchmark.plans.start import starting_from
from benchmark.records.cells import IN, OWN, ScaleName
from benchmark.records.files import at_home, read_toml

OF_ONE_MACHINE = ("demo", "quick")
"""Scales whose records are made anew in minutes, and are not kept in version control."""
_SCALE = TypeAdapter(Scale)
_NAMES: Mapping[str, Callable[[str], object]] = {
    "datasets": dataset_info,
    "archs": arch,
    "methods": method,
    "evaluations": evaluation,
    "audit": evaluation,
    "posthoc": evaluation,
}


def scale(name: str, results: Path | None = None) -> Scale:
    """The scale called `name`, or read from the TOML file `name`. Raises `UserError` otherwise.

    `SCALE-from-NAME` is the scale that starts from the checkpoint NAME, `SCALE-in-PRECISION` the scale
    in another precision than its own. Names that are not the suite's are looked for among the scales
    that were filed in the tree `results`, if one is given.
    """
    known = ScaleName.parse(name).scale
    if name.endswith(".toml") and (known not in SCALES or at_home(name).is_file()):
        return _read(at_home(name))
    if known in SCALES:
        return called(name, SCALES[known])
    path = None if results is None else filed(known, results)
    if path is None or not path.is_file():
        also = "" if path is None else f" (also as '{path}')"
        listed = f"{', '.join(SCALES)}, or a .toml file{also}"
        raise unknown("scale", name, SCALES, listed, typed=known)
    found = _read(path)
    if found.name != known:
        raise UserError(f"'{path}' calls itself '{found.name}'; name the file after the scale")
    return called(name, found)


def called(name: str, scale: Scale) -> Scale:
    """`scale` as it is in `name`: starting from a checkpoint, or in another precision than its own.

    Raises `UserError` if there is no such checkpoint or precision.
    """
    _, precision, checkpoint = ScaleName.parse(name)
    names = scale.checkpoints if checkpoint is None else (checkpoint,)
    found = starting_from(scale, names) if names else scale
    other = in_precision(found, precision)
    if precision is not None and other == found:
        own = found.precision or "any precision"
        raise UserError(f"'{name}' is no other than '{found.stem}', which is in {own}")
    return other


def arguments(name: str, results: Path) -> str:
    """What follows `--scale` to give `name` on the command line, which may be a TOML file; scales that
    are not the suite's are filed in `results`."""
    if name.endswith(".toml"):
        return quote(name)
    scale, precision, checkpoint = ScaleName.parse(name)
    path = filed(scale, results)
    known = SCALES.get(scale) or (_read(path) if path.is_file() else None)
    own = () if known is None else known.checkpoints
    if own and checkpoint not in (None, *own):
        return quote(name)  # a scale takes no flag beside checkpoints of its own
    if checkpoint in own:
        checkpoint = None  # that it starts from anyway
    flags = (("--precision", precision), ("--from-checkpoint", checkpoint))
    file = scale if scale in SCALES else quote(str(path))
    return " ".join((file, *(f"{flag} {value}" for flag, value in flags if value is not None)))


def of_tree(results: Path) -> str:
    """What names the results tree `results` in a command, if it is not the usual one."""
    return "" if results == Path("results") else f" --results {quote(str(results))}"


def filed(name: str, results: Path) -> Path:
    """Where the results tree `results` keeps the scale called `name` if it is not the suite's."""
    return results / "scales" / f"{name}.toml"


def unknown_names(said: Mapping[str, Any]) -> list[str]:
    """Each name in a scale that says `said`, fitting or not, that nothing has, with what is close."""
    wrong = []
    for field, find in _NAMES.items():
        given = said.get(field)
        for name in given if isinstance(given, list | tuple) else ():
            try:
                find(str(name))
            except UserError as error:
                said_of, *_ = str(error).split("; known: ")
                wrong.append(f"{field}: {said_of if 'close to it' in said_of else error}")
    return wrong


def _parse(path: Path) -> Scale:
    content = read_toml(path, "scale file")
    try:
        return _SCALE.validate_python(content)
    except ValidationError as error:
        fields = ", ".join(f.name for f in dataclasses.fields(Scale))
        every = (*problems(error), *unknown_names(content), *wrong_overrides(content))
        wrong = "; ".join(dict.fromkeys(every))
        raise UserError(f"'{path}' is not a scale: {wrong}; its fields are {fields}") from error


def _read(path: Path) -> Scale:
    read = _parse(path)
    if IN in read.name:
        raise UserError(
            f"'{path}' calls itself '{read.name}'; '{IN}' stands before a precision in keys"
        )
    if read.name in (*SCALES, OWN):
        raise UserError(f"'{path}' calls itself '{read.name}', which is taken; choose another name")
    if wrong := wrong_overrides(vars(read)):
        raise UserError(f"'{path}', {'; '.join(wrong)}")
    return starting_from(read, read.checkpoints) if read.checkpoints else read


SCALES: dict[str, Scale] = {
    name: _parse(Path(__file__).with_name(f"{name}.toml"))
    for name in ("demo", "quick", "narrow", "small", "lean", "short", "paper")
}
