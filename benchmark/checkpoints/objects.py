"""What stands beside the weights in a file of `torch.save`: harmless objects, and doing without others.

Training code saves numpy scalars, arguments and paths with its weights. `torch.load(weights_only=True)`
takes these as `Inert`: nothing of numpy, argparse or pathlib is called.
"""

import io
import pickle
import re
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.serialization import safe_globals


class Inert:
    """Stands in for a class or a function: takes every argument and state, keeps none, does nothing."""

    def __new__(cls, *_arguments: object, **_named: object) -> "Inert":
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        """Forget it."""


_NUMPY = ("Float16", "Float32", "Float64", "Int8", "Int16", "Int32", "Int64", "UInt8", "Bool", "Str")
HARMLESS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"{module}.{kind}" for module in ("pathlib", "pathlib._local") for kind in ("Path", "PosixPath")),
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    *("numpy.dtype", "numpy.ndarray", *(f"numpy.dtypes.{kind}DType" for kind in _NUMPY)),
)  # fmt: skip
"""Names in pickles for which `Inert` stands."""

_ROUNDS = 64

_CONVERSION = (
    "import sys, torch; M = torch.nn.Module; "
    "I = type('I', (M,), {'__init__': lambda s, *a, **k: M.__init__(s), '__setstate__': "
    "lambda s, d: (M.__init__(s), s.__dict__.update(d if isinstance(d, dict) else {}))}); "
    "torch.serialization.add_safe_globals([(I, n) for n in sys.argv[3:]]); "
    "c = torch.load(sys.argv[1], 'cpu', weights_only=True); "
    "t = lambda c: c.state_dict() if isinstance(c, I) else "
    "{n: v for n, v in c.items() if torch.is_tensor(v)}; "
    "torch.save(t(c) if isinstance(c, I) else "
    "t(c) | {n: t(v) for n, v in c.items() if isinstance(v, (dict, I))}, sys.argv[2])"
)
"""Takes a file, a new file and the names of what is in the former. A bare module stands for each of
them, so that neither code in the file is run nor the code that wrote it is needed."""


def conversion(path: Path, content: bytes) -> str | None:
    """A command that writes the weights in `path`, whose `content` has objects besides, to a new file.

    None where that cannot be: the file wants what torch never allows, or is damaged.
    """
    names: list[str] = []
    for _ in range(_ROUNDS):
        try:
            read_plain(content, names)
        except pickle.UnpicklingError as error:
            name = re.search(r"GLOBAL ([\w.]+) ", str(error))
            if name is None or name[1] in names:
                return None
            names.append(name[1])
        except Exception:  # noqa: BLE001 - a damaged file can raise anything
            return None
        else:
            new = path.with_name(f"{path.name.partition('.')[0]}-weights.pt")
            return shlex.join(["python", "-c", _CONVERSION, str(path), str(new), *names])
    return None


def read_plain(content: bytes, inert: Sequence[str] = HARMLESS) -> Any:
    """The objects in a file of `torch.save`: plain types, tensors on the CPU, and `Inert` for names.

    Raises `pickle.UnpicklingError` for others.
    """
    with safe_globals([(Inert, name) for name in inert]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the pickle's protocol
        # From memory: torch before 2.6 tries files on disk as tar archives first, unsafely.
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
