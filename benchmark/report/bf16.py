"""`results/bf16.json`: what attacks in bf16 change against fp32, image by image.

The runs are those of `pgd10x3`, with the random starts of the model's own records, and are judged in
fp32 either way. The images that change are listed, so that every number shown is counted from the
file. `bf16.md` beside it shows them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from benchmark.records.files import Frozen, read_model
from benchmark.records.records import Provenance, Sha256
from benchmark.records.specs import spec_hash
from benchmark.report.estimates import change_of_flags
from benchmark.report.tables.layout import Row, Table

EMULATED = "emulated"
_BY_RUN = "right in fp32", "only fp32", "only bf16"
Places = tuple[Annotated[int, Field(ge=0)], ...]


class FlagRun(Frozen):
    """One PGD run from the same starts in both precisions.

    `fp32` images are right under the fp32 attack; `only_fp32` and `only_bf16` are the places in the
    test split of those that are right under that attack and wrong under the other.
    """

    fp32: int = Field(ge=0)
    only_fp32: Places
    only_bf16: Places


class Changes(Frozen):
    """What bf16 changes of one model on one device.

    `units` names what multiplies bf16 matrices there (`amx_bf16`, `avx512_bf16`, `sm_90`), or is
    `emulated`. `spec` is that of the model's record of `evaluation`.
    """

    key: str
    evaluation: str
    units: str
    images: int = Field(gt=0)
    spec: dict[str, Any]
    spec_hash: Sha256
    runs: tuple[FlagRun, ...] = Field(min_length=1)
    provenance: Provenance

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if spec_hash(self.spec) != self.spec_hash:
            raise ValueError("spec_hash is not the hash of spec")
        for run in self.runs:
            changed = (*run.only_fp32, *run.only_bf16)
            if len(set(changed)) < len(changed) or max(changed, default=0) >= self.images:
                raise ValueError(f"images that change are below {self.images}, each once")
            if not len(run.only_fp32) <= run.fp32 <= self.images - len(run.only_bf16):
                raise ValueError(f"{run.fp32} images cannot be right in fp32")
        return self

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What a file holds once."""
        return self.key, self.evaluation, self.provenance.device, self.units

    @property
    def differences(self) -> NDArray[np.int8]:
        """Right under the bf16 attack minus right under the fp32 one: (runs, images) of -1, 0 and 1."""
        found = np.zeros((len(self.runs), self.images), dtype=np.int8)
        for row, run in zip(found, self.runs, strict=True):
            row[list(run.only_fp32)], row[list(run.only_bf16)] = -1, 1
        return found


class _ChangesFile(Frozen):
    schema_version: Literal[1] = 1
    measured: tuple[Changes, ...]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        places = [each.place for each in self.measured]
        if places != sorted(set(places)):
            raise ValueError("every model stands once per device, in order")
        return self


def changes_path(results: Path) -> Path:
    """The file in the results tree `results`."""
    return results / "bf16.json"


def read_changes(results: Path) -> tuple[Changes, ...]:
    """What has been measured. Raises `UserError` for a file that is broken or cannot be read."""
    remedy = "restore it from version control or move it away to measure again"
    found = read_model(_ChangesFile, changes_path(results), "does not fit its schema", remedy)
    return () if found is None else found.measured


def as_json(measured: tuple[Changes, ...]) -> bytes:
    """The content of the file that holds `measured`."""
    ordered = tuple(sorted(measured, key=lambda each: each.place))
    return (_ChangesFile(measured=ordered).model_dump_json(indent=1) + "\n").encode()


def as_table(measured: tuple[Changes, ...]) -> Table:
    """One row per model and device: flags that change, and the change of accuracy."""
    return Table(
        "bf16",
        "PGD-10 in bf16 against fp32: same weights, images and random starts, judged in fp32",
        ("model", "device", "bf16 units", "threads", "torch", *_BY_RUN),
        ("bf16 - fp32",),
        tuple(_row(each) for each in measured),
        (
            "by run: right in fp32, of all images; only fp32, only bf16, the flags that change",
            "bf16 - fp32: accuracy in percentage points, mean over runs, with the paired 95 % interval "
            "over test images",
        ),
    )


def _row(each: Changes) -> Row:
    made, runs = each.provenance, each.runs
    labels = (
        each.key,
        made.device,
        each.units,
        str(made.threads),
        made.versions.get("torch", "unknown"),
        f"{', '.join(str(run.fp32) for run in runs)} of {each.images}",
        ", ".join(str(len(run.only_fp32)) for run in runs),
        ", ".join(str(len(run.only_bf16)) for run in runs),
    )
    return Row(labels, (change_of_flags(each.differences, each.key),), signed=True)
