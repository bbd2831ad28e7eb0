"""What a plug-in adds to the registries: each name once, and none that exists."""

import re
import traceback
from collections.abc import Callable, Container, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines import METHODS
from benchmark.algorithm.protocols import PROTOCOLS, Protocol
from benchmark.algorithm.selection import Selector
from benchmark.algorithm.tunings import ENDINGS, MODULE, TUNINGS, Tuning, finetunings
from benchmark.data import DATASETS, LOADERS
from benchmark.data.info import DatasetInfo
from benchmark.engine.forward import ForwardMethod
from benchmark.engine.method import Method, OwnTuning
from benchmark.errors import UserError, reason
from benchmark.evaluation import EVALUATIONS
from benchmark.evaluation.first import FIRST
from benchmark.evaluation.protocol import Evaluation
from benchmark.models import FAMILIES, Family
from benchmark.posthoc import POSTHOC
from benchmark.records.cells import BASE, HELD_OUT, OWN, PART
from benchmark.records.plugins import LOADED, ORIGINS, Kind, Plugin, Thing
from benchmark.records.specs import spec_of
from benchmark.records.store import MAKING

if TYPE_CHECKING:
    from benchmark.data.images import Dataset

Images = tuple[Any, Any]
"""Images (N, C, H, W), uint8 or floating point in [0,1], and labels (N,): arrays or tensors."""


class Additions:
    """What a plug-in calls while it is imported; all of it is taken back if the import fails.

    Every function raises `UserError` for a name that exists, and for what is not complete.
    """

    def __init__(self) -> None:
        self._plugin: Plugin | None = None
        self._added: list[tuple[MutableMapping[Any, Any], Any]] = []

    def method(self, method: Method) -> None:
        """Add an AT method under its `type_name`: the pieces of `benchmark.engine.method.Method`."""
        _complete(method, "a method", ("type_name", *_pieces(Method)))
        _described(method, "a method")
        self._put("method", METHODS, getattr(method, "type_name", ""), method)

    def tuning(self, tuning: Tuning) -> None:
        """Add what is fine-tuned: under every protocol, with every ending."""
        name = tuning.name
        if name.startswith((MODULE, BASE)) or any(end in name for end in (*ENDINGS, HELD_OUT)):
            raise UserError(f"fine-tuning '{name}': a name of this form means something else")
        for chooses in filter(None, (tuning.selector, tuning.official)):
            _complete(chooses, f"fine-tuning '{name}': a selector", _pieces(Selector))
        if not isinstance(tuning.method, str | OwnTuning):
            _complete(tuning.method, f"fine-tuning '{name}': a method", _pieces(Method))
        for part in (tuning.selector, tuning.official, tuning.method, tuning.forward):
            _described(part, f"fine-tuning '{name}': a part")
        _refuse_known(finetunings([tuning], PROTOCOLS.values()))
        self._put("tuning", TUNINGS, name, tuning)
        if isinstance(tuning.forward, ForwardMethod):
            self._put_maker(name, tuning.forward)

    def protocol(self, protocol: Protocol) -> None:
        """Add a reading of the paper, as `rift` and its suffix, for every fine-tuning."""
        suffix = protocol.suffix
        if not suffix.startswith("-") or any(end in suffix for end in ENDINGS):
            raise UserError(f"protocol '{suffix}': its suffix is such as -my-reading")
        if (HELD_OUT in suffix) != (protocol.selects_on == "hold-out"):
            raise UserError(f"protocol '{suffix}': '{HELD_OUT}' is in suffixes of those on a hold-out")
        _refuse_known(finetunings(TUNINGS.values(), [protocol]))
        self._put("protocol", PROTOCOLS, f"rift{suffix}", protocol)

    def network(self, family: Family) -> None:
        """Add a family of networks; its class may be named as `f"{__name__}:MyNetwork"`."""
        names = [family.start, family.start + re.sub("[A-Z]+", "16", family.suffix)]
        families = FAMILIES.values()
        known = [n for n in names if family.parse(n) and any(each.parse(n) for each in families)]
        if known or not any(map(family.parse, names)):
            raise UserError(f"network '{(known or names)[0]}' {'exists' if known else 'has no width'}")
        is_own = ORIGINS.get(("network", family.family)) == self._plugin
        if family.family in {each.family for each in families} and not is_own:
            raise UserError(f"network '{family.start}': there is a family '{family.family}' already")
        self._put("network", FAMILIES, family.start, family, named=family.family)

    def dataset(
        self, info: DatasetInfo, load: "Callable[[Path], Dataset | tuple[Images, Images]]"
    ) -> None:
        """Add a dataset: its facts, and what reads training and test split, the same ones each time.

        `load` is given the data folder, and returns `((images, labels), (images, labels))` or a
        `benchmark.data.images.Dataset`.
        """
        info = replace(info, mean=_plain(info.mean), std=_plain(info.std))

        def loaded(directory: Path) -> "Dataset":
            try:
                return _as_dataset(info, load(directory))
            except (UserError, OSError):
                raise
            except Exception as error:  # whatever somebody's code raises
                place = traceback.extract_tb(error.__traceback__)[-1]
                raise UserError(
                    f"{info.name}: its load fails: {type(error).__name__}: {reason(error)} (line "
                    f"{place.lineno} of {place.filename})"
                ) from error

        self._put("dataset", DATASETS, info.name, info)
        self._register(LOADERS, info.name, loaded)

    def evaluation(self, name: str, evaluation: Evaluation) -> None:
        """Add an evaluation: what `benchmark.evaluation.protocol.Evaluation` asks for."""
        if FIRST in name:
            raise UserError(f"evaluation '{name}': '{FIRST}' stands before a number of images")
        if name == MAKING:
            raise UserError(f"evaluation '{name}': a file of that name stands beside the records")
        _complete(evaluation, f"evaluation '{name}'", _pieces(Evaluation))
        self._put("evaluation", EVALUATIONS, name, evaluation)

    def _put(
        self, kind: Kind, registry: MutableMapping[str, Any], name: str, value: Any, named: str = ""
    ) -> None:
        if self._plugin is None:
            raise UserError("`add` is for plug-ins; --plugin FILE or load_plugin(FILE) imports one")
        if not re.fullmatch(PART, name) or name == OWN:
            raise UserError(
                f"{kind} '{name}': names are of lower-case letters, digits, dots and dashes"
            )
        self._register(registry, name, value)
        ORIGINS[kind, named or name] = self._plugin
        self._added.append((ORIGINS, (kind, named or name)))

    def _put_maker(self, name: str, made: ForwardMethod) -> None:
        """Add what makes the modules of `name`: they, and their files, are known by its type."""
        kind = str(spec_of(made)["type"])
        others = (each for each in POSTHOC.values() if isinstance(each, ForwardMethod))
        alike = [each for each in others if spec_of(each)["type"] == kind]
        if any(type(each) is not type(made) for each in alike):
            raise UserError(
                f"fine-tuning '{name}': there is a method of the type '{kind}' already; give "
                f"{type(made).__name__} a type_name of its own"
            )
        self._register(POSTHOC, name, made)
        if not alike and self._plugin is not None:
            thing: Thing = ("forward", kind)
            ORIGINS[thing] = self._plugin
            self._added.append((ORIGINS, thing))

    def _register(self, registry: MutableMapping[str, Any], name: str, value: Any) -> None:
        _refuse([name], registry)
        registry[name] = value
        self._added.append((registry, name))

    @contextmanager
    def as_those_of(self, plugin: Plugin) -> Iterator[None]:
        """Inside, what is added is of `plugin`, which is then loaded; or all is taken back.

        Raises `UserError` where nothing is added, and for a name that is no line.
        """
        if not plugin.name.isprintable():
            raise UserError(f"'{plugin.name}' is no name of a plug-in; leave control characters out")
        before, added = (self._plugin, self._added), list[tuple[MutableMapping[Any, Any], Any]]()
        self._plugin, self._added = plugin, added
        try:
            yield
        except BaseException:
            for registry, name in added:
                registry.pop(name, None)
            raise
        finally:
            self._plugin, self._added = before  # of a plug-in that loads this one
        if not added:
            raise UserError("it adds nothing; call benchmark.add")
        LOADED[plugin.name] = plugin


add = Additions()
"""What plug-ins call."""


def _complete(value: object, what: str, names: Iterable[str]) -> None:
    if missing := [name for name in names if not hasattr(value, name)]:
        raise UserError(f"{what} of class {type(value).__name__} has no {missing[0]}")


def _described(value: object, what: str) -> None:
    """Raise `UserError` unless specs can say what `value` is."""
    try:
        spec_of(value)
    except (AttributeError, TypeError) as error:
        raise UserError(
            f"{what} of class {type(value).__name__} has no spec ({error}); it is a frozen dataclass "
            "with a version, and its fields are numbers, texts and the like"
        ) from error


def _pieces(protocol: type) -> list[str]:
    """What the rest of the suite asks for of what `protocol`, a class of it, describes."""
    return [*protocol.__annotations__, *(name for name in vars(protocol) if not name.startswith("_"))]


def _refuse(names: Iterable[str], known: Container[str]) -> None:
    if taken := [name for name in names if name in known]:
        raise UserError(f"'{taken[0]}' exists; choose another name")


def _refuse_known(names: Iterable[str]) -> None:
    """Raise `UserError` if one of the fine-tunings `names` is what an existing one is called."""
    _refuse(names, finetunings(TUNINGS.values(), PROTOCOLS.values()))


def _plain(numbers: Iterable[float]) -> tuple[float, ...]:
    """`numbers`, a list or an array perhaps, as facts of a dataset hold them."""
    return tuple(x if type(x) is int else float(x) for x in numbers)


def _as_dataset(info: DatasetInfo, loaded: Any) -> "Dataset":
    """What a plug-in's `load` returned. Raises `UserError` where that does not fit `info`."""
    import torch

    from benchmark.data.given import below, checked
    from benchmark.data.images import Dataset

    if isinstance(loaded, Dataset):
        train, test = loaded.train, loaded.test
    else:
        try:
            pairs = {which: (x, y) for which, (x, y) in zip(("training", "test"), loaded, strict=True)}
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{info.name}: its load returns (images, labels) of the training and of the test split"
            ) from error
        train, test = (
            checked(torch.as_tensor(images), torch.as_tensor(labels), f"{info.name}, {which} split")
            for which, (images, labels) in pairs.items()
        )
    for split in (train, test):
        shape = tuple(split.images.shape[1:])
        if shape != (right := (info.side, info.side, info.channels)):
            raise UserError(f"{info.name}: images are {shape}, not {right} (height, width, channels)")
        below(split, info.classes, info.name)
    return Dataset(info, train, test)
