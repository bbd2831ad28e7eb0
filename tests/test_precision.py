"""Which numbers attacks are computed in, and what records and unfinished work say of it."""

import pytest
import torch

from benchmark import precision
from benchmark.errors import UserError
from benchmark.precision import Precision, asked, has_bf16_units, use, used

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("features", "rough"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": False}, False),
        ({}, False),
    ],
)
def test_auto_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], rough: bool
) -> None:
    """bf16 where the processor multiplies it, fp32 where it would be emulated or nothing is known."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert Precision("auto").rough(CPU) is rough
    assert not Precision("fp32").rough(CPU)
    assert Precision("bf16").rough(CPU)


@pytest.mark.parametrize(("capability", "units"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_auto_follows_the_cuda_device(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], units: bool
) -> None:
    """CUDA devices have bf16 units from compute capability 8.0 on."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_bf16_units(torch.device("cuda")) is units


def test_other_devices_compute_in_fp32() -> None:
    """Where nothing is known of bf16 it is not used."""
    assert not Precision("auto").rough(torch.device("mps"))


def test_criticality_is_in_bf16_only_when_asked() -> None:
    """`auto` leaves its values as they are, on any hardware."""
    assert [Precision(name).rough_ascent for name in ("auto", "fp32", "bf16")] == [False, False, True]


def test_what_records_say() -> None:
    """fp32 alone has no mark, so that work begun before there was a choice goes on."""
    assert Precision("fp32").label(CPU) == "fp32"
    assert Precision("fp32").mark(CPU) == ""
    assert Precision("bf16").label(CPU) == "bf16, scored in fp32"
    assert Precision("bf16").mark(CPU) == " bf16, scored in fp32"
    assert Precision("fp32", compiled=True).label(CPU) == "fp32, compiled"
    assert Precision("fp32", compiled=True).mark(CPU) == " fp32, compiled"


def test_use_holds_for_the_process() -> None:
    """What is set is what is used, until something else is."""
    assert used() == Precision()
    use(Precision("bf16"))
    assert precision.used() == Precision("bf16")


def test_unknown_precisions_are_refused() -> None:
    """The message names what there is."""
    with pytest.raises(UserError, match="unknown precision 'fp16'; known: auto, fp32, bf16"):
        Precision("fp16")


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for before anything starts, and only if it is needed."""
    monkeypatch.setattr(precision.shutil, "which", lambda name: None)
    assert asked("fp32", compiled=False) == Precision("fp32")
    with pytest.raises(UserError, match=r"--compile needs a C\+\+ compiler such as g\+\+"):
        asked("fp32", compiled=True)
    monkeypatch.setattr(precision.shutil, "which", lambda name: "/usr/bin/g++")
    assert asked("fp32", compiled=True) == Precision("fp32", compiled=True)
