"""Which numbers attacks are computed in, and what records and unfinished work say of it."""

import pytest
import torch

from benchmark.engine import precision
from benchmark.engine.precision import Precision, asked, has_bf16_units, has_compiler, use, used
from benchmark.errors import UserError

CPU = torch.device("cpu")
WITH = {"amx_bf16": False, "avx512_bf16": True}


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    """The environment that the tests run in says nothing of the processor."""
    for name in ("BENCHMARK_BF16_UNITS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("features", "rough"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        (WITH, True),
        ({"amx_bf16": False, "avx512_bf16": False}, False),
        ({}, False),
    ],
)
def test_auto_follows_the_processor(monkeypatch, features, rough):
    """bf16 where the processor multiplies it, fp32 where it would be emulated or nothing is known."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert Precision("auto").uses_bf16(CPU) is rough
    assert not Precision("fp32").uses_bf16(CPU)
    assert Precision("bf16").uses_bf16(CPU)


@pytest.mark.parametrize(("capability", "units"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_auto_follows_the_cuda_device(monkeypatch, capability, units):
    """CUDA devices have bf16 units from compute capability 8.0 on."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_bf16_units(torch.device("cuda")) is units


@pytest.mark.parametrize(
    ("cap", "units"),
    [
        ("SSE41", False), ("AVX", False), ("AVX2", False), ("avx2", False), ("AVX2_VNNI", False),
        ("AVX2_VNNI_2", False), ("AVX512_CORE", False), ("AVX512_CORE_VNNI", False),
        ("AVX512_CORE_BF16", True), ("AVX512_CORE_FP16", True), ("AVX512_CORE_AMX", True),
        ("AVX512_CORE_AMX_FP16", True), ("AVX10_1_512", True), ("AVX10_1_512_AMX", True),
        ("AVX10_1_512_AMX_FP16", True), ("DEFAULT", True), ("ALL", True), ("no such", True), ("", True),
    ],
)  # fmt: skip
def test_instructions_that_onednn_may_not_use_are_no_units(monkeypatch, cap, units):
    """A cap below AVX512-BF16 takes them away, in any case of letters; one that oneDNN does not know
    caps nothing."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: WITH)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        with monkeypatch.context() as environment:
            environment.setenv(name, cap)
            assert has_bf16_units(CPU) is units
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    assert not has_bf16_units(CPU)


def test_the_newer_name_of_the_cap_counts(monkeypatch):
    """oneDNN reads DNNL_MAX_CPU_ISA only where ONEDNN_MAX_CPU_ISA is unset or empty."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: WITH)
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX2")
    for cap, units in (("ALL", True), ("", False)):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
        assert has_bf16_units(CPU) is units


@pytest.mark.parametrize(("said", "units"), [("yes", True), ("no", False)])
def test_the_environment_overrides_the_hardware(monkeypatch, said, units):
    """Whatever torch and the cap say."""
    monkeypatch.setenv("BENCHMARK_BF16_UNITS", said)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2" if units else "ALL")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": not units})
    assert has_bf16_units(CPU) is units
    assert Precision().label(CPU) == ("bf16, scored in fp32" if units else "fp32")


@pytest.mark.parametrize("said", ["", "1", "Yes", "true"])
def test_what_is_neither_yes_nor_no_is_refused(monkeypatch, said):
    """Before anything is made, in one line that names the variable."""
    monkeypatch.setenv("BENCHMARK_BF16_UNITS", said)
    for asks in (lambda: has_bf16_units(CPU), lambda: asked(None, compiled=False)):
        with pytest.raises(UserError, match=f"BENCHMARK_BF16_UNITS is '{said}'; it can be 'yes', 'no'"):
            asks()


def test_other_devices_compute_in_fp32():
    """Where nothing is known of bf16 it is not used."""
    assert not Precision("auto").uses_bf16(torch.device("mps"))


def test_criticality_is_in_bf16_only_when_asked():
    """`auto` leaves its values as they are, on any hardware."""
    assert [Precision(name).ascent_in_bf16 for name in ("auto", "fp32", "bf16")] == [False, False, True]


def test_what_records_say():
    """fp32 alone has no mark, so that work begun before there was a choice goes on."""
    for chosen, label, mark in (
        (Precision("fp32"), "fp32", ""),
        (Precision("bf16"), "bf16, scored in fp32", " bf16, scored in fp32"),
        (Precision("fp32", compiled=True), "fp32, compiled", " fp32, compiled"),
    ):
        assert (chosen.label(CPU), chosen.mark(CPU)) == (label, mark)


def test_use_holds_for_the_process(in_bf16):
    """What is set is what is used, until something else is."""
    assert used() == Precision("fp32")
    in_bf16()
    assert used() == Precision("bf16")
    use(Precision())
    assert used() == Precision("auto")


def test_unknown_precisions_are_refused():
    """The message names what there is."""
    with pytest.raises(UserError, match="unknown precision 'fp16'; close to it: bf16; known: auto, "):
        Precision("fp16")


@pytest.fixture
def headers(monkeypatch, tmp_path):
    """Python's own header, where torch would find it on Linux."""
    monkeypatch.setattr(precision.sys, "platform", "linux")
    monkeypatch.setattr(precision.sysconfig, "get_path", lambda *_, **__: str(tmp_path))
    (header := tmp_path / "Python.h").touch()
    return header


def test_torch_takes_one_compiler_and_the_headers(monkeypatch, headers):
    """On Linux the one that CXX names, or g++; clang++ alone is none to it."""
    there = {"clang++"}
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(precision.shutil, "which", lambda name: name if name in there else None)
    assert not has_compiler()
    monkeypatch.setenv("CXX", "clang++")
    assert has_compiler()
    monkeypatch.delenv("CXX")
    there.add("g++")
    assert has_compiler()
    headers.unlink()
    assert not has_compiler()


def test_compiling_needs_a_compiler(monkeypatch, headers):
    """It is looked for before anything starts, and only if it is needed."""
    monkeypatch.setattr(precision.shutil, "which", lambda name: None)
    assert asked("fp32", compiled=False) == Precision("fp32")
    assert asked(None, compiled=False) == Precision("auto")
    with pytest.raises(UserError, match=r"--compile needs a C\+\+ compiler such as g\+\+"):
        asked("fp32", compiled=True)
    monkeypatch.setattr(precision.shutil, "which", lambda name: "/usr/bin/g++")
    assert asked("fp32", compiled=True) == Precision("fp32", compiled=True)
