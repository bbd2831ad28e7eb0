"""Devices: exact arithmetic where it is called fp32, and what is free."""

from functools import partial
from types import SimpleNamespace

import psutil
import pytest
import torch

from benchmark.engine.device import devices, free_memory, torch_device
from benchmark.errors import UserError

KERNELS = "flash", "mem_efficient", "cudnn", "math"


@pytest.mark.parametrize(("name", "fixed"), [("cuda", True), ("cpu", False)])
def test_commands_compute_on_cuda_as_records_say(monkeypatch, name, fixed):
    """No TF32 in fp32, and convolutions and attention that add in a fixed order, so that the same work
    has the same bytes; other devices change nothing."""
    cudnn, products = (
        SimpleNamespace(allow_tf32=True, deterministic=False),
        SimpleNamespace(allow_tf32=True),
    )
    attention = {}
    monkeypatch.setattr(torch, "zeros", lambda *_, device: torch.ones(1))
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    monkeypatch.setattr(torch.backends.cuda, "matmul", products)
    for kernel in KERNELS:
        noted = partial(attention.__setitem__, kernel)
        monkeypatch.setattr(torch.backends.cuda, f"enable_{kernel}_sdp", noted)
    torch_device(name)
    assert (cudnn.allow_tf32, products.allow_tf32, cudnn.deterministic) == (not fixed, not fixed, fixed)
    assert attention == ({kernel: kernel == "math" for kernel in KERNELS} if fixed else {})


@pytest.mark.parametrize("name", ["cuda:99999999999", "cuda:300", "cuda:05", "cuda:x", "hpu", "meta"])
def test_a_device_that_is_not_there(name):
    """Nor an index that torch cannot read, or takes for another; nor a device that torch knows and
    looks for a module of its maker's, or computes no values on."""
    with pytest.raises(UserError, match=f"device '{name}' is not to be had"):
        devices(name)


@pytest.mark.parametrize(("taken", "free"), [(3, 2), (5, 0), (7, 0)])
def test_what_mps_recommends_may_be_exceeded(monkeypatch, taken, free):
    """Then nothing is free, and not less."""
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 5)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: taken)
    assert free_memory(torch.device("mps")) == free


@pytest.mark.parametrize(
    ("given", "free"),
    [
        ({}, 4),
        ({"MEM_PER_NODE": "1024"}, 4),
        ({"MEM_PER_NODE": "3"}, 3),
        ({"MEM_PER_NODE": "x"}, 4),
        ({"MEM_PER_CPU": "1", "CPUS_ON_NODE": "3"}, 3),
    ],
)
def test_a_job_has_what_slurm_gives_it(monkeypatch, given, free):
    """Free memory of the machine, or less where a job may have less, in all or by processor."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * 2**20))
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert free_memory(torch.device("cpu")) == free * 2**20
