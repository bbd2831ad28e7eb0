"""RobustBench (RobustBench/robustbench; Croce et al., 2021) behind one door: its import and its zoo.

Of the zoo only the architectures are used. They are built without weights, and the user's file is
read by `benchmark.checkpoints.load`, never by RobustBench, which downloads and unpickles. A zoo network
normalises pixels itself and is fed [0,1]. Its own evaluation is not mended.
"""

import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from benchmark.data import dataset_info
from benchmark.errors import UserError, close_to, installing, reason

if TYPE_CHECKING:
    from torch import nn

    from benchmark.checkpoints.load import Loaded

PREFIX = "robustbench:"
"""How an architecture of the zoo begins on the command line."""

DEFAULT_THREAT = "Linf"

CONSTANTS = ("mu", "sigma")
"""Mean and standard deviation of the pixels, as zoo networks store them."""

WITHOUT_CONSTANTS = frozenset(
    (
        "Augustin2020Adversarial", "Augustin2020Adversarial_34_10",
        "Augustin2020Adversarial_34_10_extra", "Chen2020Efficient",
        "Diffenderfer2021Winning_Binary", "Diffenderfer2021Winning_LRR",
        "Engstrom2019Robustness", "Hendrycks2020AugMix_ResNeXt", "Hendrycks2020AugMix_WRN",
        "Huang2022Revisiting_WRN-A4", "Kireev2021Effectiveness_AugMixNoJSD",
        "Kireev2021Effectiveness_Gauss50percent", "Kireev2021Effectiveness_RLAT",
        "Kireev2021Effectiveness_RLATAugMix", "Kireev2021Effectiveness_RLATAugMixNoJSD",
        "Pang2020Boosting", "Rice2020Overfitting", "Rony2019Decoupling", "Wong2020Fast",
        "Wu2020Adversarial",
    )
)  # fmt: skip
"""Zoo ids whose published files may lack `CONSTANTS`, so that those of the code count
(`_safe_load_state_dict` in robustbench/utils.py)."""


@dataclass(frozen=True)
class ZooArch:
    """An architecture of the zoo: its id, dataset and threat model there, and RobustBench's version."""

    type_name: ClassVar[str] = "robustbench"
    version: ClassVar[int] = 1
    zoo_id: str
    dataset: str
    threat: str
    package: str

    @property
    def name(self) -> str:
        """What stands for it in a key, such as `robustbench-rice2020overfitting`."""
        threat = "" if self.threat == DEFAULT_THREAT else f"{self.threat}-"
        return re.sub(r"[^a-z0-9.]+", "-", f"robustbench-{threat}{self.zoo_id}".lower())


def import_robustbench() -> ModuleType:
    """The package `robustbench`, imported with what it misses in place.

    Raises `UserError` if it is not installed, or not with all that it needs.
    """
    if "robustbench" in sys.modules and sys.modules["robustbench"] is not None:
        return sys.modules["robustbench"]
    if not _importable("robustbench"):
        raise UserError(f"RobustBench is not installed; {installing('robustbench')}")
    try:
        with warnings.catch_warnings(), _stand_ins():
            warnings.simplefilter("ignore")  # moved modules of timm and torch
            return importlib.import_module("robustbench")
    except ImportError as error:
        how = installing("robustbench")
        raise UserError(f"RobustBench cannot be imported ({error}); {how}") from error


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Put stand-ins for two packages that RobustBench 1.1.1 imports into `sys.modules` for the block.

    These are `pkg_resources`, which setuptools no longer has, and `autoattack`, which is on PyPI only
    as `pyautoattack`. RobustBench keeps its references to them. An installed package is left alone.
    """
    added: dict[str, ModuleType] = {}
    if not _importable("pkg_resources"):
        added["pkg_resources"] = _module("pkg_resources", resource_filename=_resource_filename)
    if not _importable("autoattack"):
        from pyautoattack import AutoAttack
        from pyautoattack.state import EvaluationState

        state = _module("autoattack.state", EvaluationState=EvaluationState)
        added["autoattack"] = _module("autoattack", AutoAttack=AutoAttack, state=state, __path__=[])
        added["autoattack.state"] = state
    before = {name: sys.modules[name] for name in added if name in sys.modules}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def _importable(name: str) -> bool:
    """Whether top-level module `name` is imported already or is there to be imported."""
    return sys.modules.get(name) is not None or importlib.util.find_spec(name) is not None


def _resource_filename(package: str, resource: str) -> str:
    """The one function of `pkg_resources` that RobustBench calls."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / resource)


def _module(name: str, **contents: object) -> ModuleType:
    module = ModuleType(name, "A stand-in by benchmark.checkpoints.robustbench.")
    vars(module).update(contents)
    return module


def zoo_arch(text: str, dataset: str) -> ZooArch:
    """The architecture for `dataset` that `robustbench:ID` or `robustbench:THREAT/ID` names.

    Threats are Linf, L2 and corruptions. Raises `UserError` if the zoo has no such id, or if it is made
    of several files.
    """
    name, threat = _named(text)
    files = _entry(name, dataset, threat)["gdrive_id"]
    if isinstance(files, list):
        raise UserError(
            f"RobustBench's '{name}' is made of {len(files)} files; only networks of one can be used"
        )
    return ZooArch(name, dataset, threat, version("robustbench"))


def zoo_key(text: str, dataset: str) -> str:
    """What stands in keys for the architecture `text`, whether or not RobustBench is here."""
    name, threat = _named(text)
    return ZooArch(name, dataset, threat, "").name


def _named(text: str) -> tuple[str, str]:
    """Id and threat of `robustbench:ID` or `robustbench:THREAT/ID`."""
    threat, slash, name = text.removeprefix(PREFIX).rpartition("/")
    return name, threat if slash else DEFAULT_THREAT


def zoo_model(arch: ZooArch) -> "nn.Module":
    """The network of the zoo with random weights, in evaluation mode; nothing is downloaded.

    Takes images in [0,1], shape (B, 3, 32, 32), and returns logits (B, K).
    """
    import timm
    import torch

    # Transformers are in timm's registry, under names that load_model composes in the same way.
    registered = f"{arch.zoo_id.replace('-', '_')}_{arch.dataset}_{arch.threat}".lower()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module
        if timm.is_model(registered):
            classes = dataset_info(arch.dataset).classes
            model = timm.create_model(registered, num_classes=classes, pretrained=False)
        else:
            model = _entry(arch.zoo_id, arch.dataset, arch.threat)["model"]()
    return model.eval()


def load_zoo_checkpoint(path: Path, arch: ZooArch, model: "nn.Module", **how: Any) -> "Loaded":
    """The weights in `path`, as `model`, the network of `arch`, would load them.

    As `load_checkpoint`, which tells what is accepted and raises `UserError` for the rest;
    but the normalisation may be missing from files of `WITHOUT_CONSTANTS`. What RobustBench skips in
    silence has to be said: `entry="last"` for Andriushchenko2020Understanding and
    Kireev2021Effectiveness, and `drop=["model_preact_hl1."]` for the copies of layers in the former.
    """
    from benchmark.checkpoints.load import load_checkpoint

    may_lack = CONSTANTS if arch.zoo_id in WITHOUT_CONSTANTS else ()
    return load_checkpoint(path, model, may_lack=may_lack, **how)


def drive_id(text: str, dataset: str) -> str:
    """The id on Google Drive of the file that RobustBench takes for `robustbench:ID`.

    Raises as `zoo_arch`, and for a network whose weights are not there but with timm.
    """
    arch = zoo_arch(text, dataset)
    found = _entry(arch.zoo_id, dataset, arch.threat)["gdrive_id"]
    if not isinstance(found, str):
        raise UserError(f"RobustBench has no file for '{arch.zoo_id}'; its weights come with timm")
    return found


def download_from_drive(drive_id: str, target: Path, *, quiet: bool) -> None:
    """Download a file from Google Drive to `target`, by the package that RobustBench does it with.

    What arrives may be a web page instead. Raises `UserError` if nothing does.
    """
    gdown = importlib.import_module("gdown")
    try:
        written = gdown.download(id=drive_id, output=str(target), quiet=quiet)
    except Exception as error:  # of requests, of gdown, of the system
        raise UserError(f"Google Drive did not give {drive_id} ({reason(error)})") from error
    if written is None or not target.is_file():
        raise UserError(f"Google Drive did not give the file {drive_id}")


def _entry(name: str, dataset: str, threat: str) -> Mapping[str, Any]:
    """What the zoo says of an id. Raises `UserError` if it has none such."""
    import_robustbench()
    from robustbench.model_zoo import model_dicts

    label = dataset_info(dataset).label
    zoo = {known.value: threats for known, threats in model_dicts.items()}
    if dataset not in zoo:
        raise UserError(f"RobustBench has no networks for {label}; it has cifar10 and cifar100")
    threats = {known.value: models for known, models in zoo[dataset].items()}
    if threat not in threats:
        raise UserError(
            f"RobustBench has no networks for {label} and '{threat}'; it has {', '.join(threats)}"
        )
    models: Mapping[str, Mapping[str, Any]] = threats[threat]
    if name in models:
        return models[name]
    elsewhere = [f"{PREFIX}{other}/{name}" for other, known in threats.items() if name in known]
    close = close_to(name, models) or "for ids see https://robustbench.github.io"
    hint = f"there is {', '.join(elsewhere)}" if elsewhere else close
    raise UserError(f"RobustBench has no '{name}' for {label} and {threat}; {hint}")
