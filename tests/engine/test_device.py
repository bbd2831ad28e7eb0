"""Devices: exact arithmetic where it is called fp32, and what is free."""

from types import SimpleNamespace

import psutil
import pytest
import torch

from benchmark.engine.device import devices, free_memory, torch_device
from benchmark.errors import UserError


@pytest.mark.parametrize(("name", "stays"), [("cuda", False), ("cpu", True)])
def test_tf32_is_not_called_fp32(monkeypatch, name, stays):
    """Work on CUDA switches it off for convolutions and products; other devices change nothing."""
    flags = [SimpleNamespace(allow_tf32=True), SimpleNamespace(allow_tf32=True)]
    monkeypatch.setattr(torch, "zeros", lambda *_, device: torch.ones(1))
    monkeypatch.setattr(torch.backends, "cudnn", flags[0])
    monkeypatch.setattr(torch.backends.cuda, "matmul", flags[1])
    torch_device(name)
    assert [each.allow_tf32 for each in flags] == [stays, stays]


@pytest.mark.parametrize(("name", "fixed"), [("cuda", True), ("cpu", False)])
def test_convolutions_of_commands_add_in_a_fixed_order(monkeypatch, name, fixed):
    """Work on CUDA that is done again has the same bytes; other devices change nothing."""
    cudnn = SimpleNamespace(allow_tf32=True, deterministic=False)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: torch.ones(1))
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(allow_tf32=True))
    torch_device(name)
    assert cudnn.deterministic is fixed


@pytest.mark.parametrize("name", ["cuda:99999999999", "cuda:300", "cuda:05", "cuda:x"])
def test_an_index_that_no_device_has(name):
    """Also one that torch cannot read, or takes for another."""
    with pytest.raises(UserError, match=f"device '{name}' is not to be had"):
        devices(name)


@pytest.mark.parametrize("name", ["hpu", "meta"])
def test_a_device_that_only_has_a_name(name):
    """torch knows it and looks for a module of its maker's, or computes no values on it."""
    with pytest.raises(UserError, match=f"device '{name}' is not to be had"):
        devices(name)


@pytest.mark.parametrize(("taken", "free"), [(3, 2), (5, 0), (7, 0)])
def test_what_mps_recommends_may_be_exceeded(monkeypatch, taken, free):
    """Then nothing is free, and not less."""
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 5)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: taken)
    assert free_memory(torch.device("mps")) == free


@pytest.mark.parametrize(("given", "free"), [(None, 4), ("1024", 4), ("3", 3), ("x", 4)])
def test_a_job_has_what_slurm_gives_it(monkeypatch, given, free):
    """Free memory of the machine, or less where a job may have less."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * 2**20))
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    if given is not None:
        monkeypatch.setenv("SLURM_MEM_PER_NODE", given)
    assert free_memory(torch.device("cpu")) == free * 2**20


def test_a_job_has_what_slurm_gives_each_of_its_processors(monkeypatch):
    """Where memory was asked for by processor."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**40))
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "512")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "3")
    assert free_memory(torch.device("cpu")) == 3 * 512 * 2**20
