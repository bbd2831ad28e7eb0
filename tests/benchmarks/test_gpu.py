"""The script for GPUs runs, here on the processor and a small network."""

import json
import weakref

import pytest
import torch

import gpu
from benchmark.engine.precision import FP32, Precision, use
from benchmark.errors import UserError

SHORT = ["--arch", "resnet10-w8", "--batch", "4", "--steps", "1", "--device", "cpu"]


@pytest.mark.parametrize("seconds", [600, -1])
def test_every_row_is_measured_or_named(tmp_path, seconds, monkeypatch):
    """Speeds are positive; without time left every row says that it was left out."""
    monkeypatch.delitem(gpu.PRECISIONS, "bf16 compiled")  # compilation takes 20 s
    out = tmp_path / "gpu.json"
    gpu.main(["--out", str(out), "--seconds", str(seconds), *SHORT])
    use(Precision(FP32))
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == len(gpu.STEPS) * len(gpu.PRECISIONS)
    for row in rows:
        assert ("left out" in row) is (seconds < 0)
        assert seconds < 0 or row["images/s"] > 0 < row["epoch s"]


def test_draws_are_made_on_the_processor():
    """Whatever the device, here one without values, a step takes them from there."""
    loss = gpu.at_step("resnet10-w8", 4, torch.device("meta"))()
    assert loss.device.type == "meta"


def test_the_device_is_had_as_by_a_command(tmp_path):
    """Which takes no TF32 for fp32, and says what is not there."""
    with pytest.raises(UserError, match="device 'cuda:99' is not to be had"):
        gpu.main(["--out", str(tmp_path / "gpu.json"), "--device", "cuda:99"])


def test_another_device_is_the_one_that_is_measured(tmp_path, monkeypatch):
    """Not the first: work there is not waited for, and its memory is its own."""
    seen = set()
    for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device=None: seen.add(device) or 0)
    monkeypatch.setattr(gpu, "torch_device", torch.device)
    monkeypatch.setattr(gpu, "device_name", str)
    monkeypatch.setattr(gpu, "STEPS", {"one": (lambda *_: lambda: None, 1)})
    gpu.main(["--out", str(tmp_path / "gpu.json"), *SHORT[:-1], "cuda:1"])
    use(Precision(FP32))
    assert seen == {torch.device("cuda:1")}


def test_nothing_of_the_row_before_is_held(tmp_path, monkeypatch):
    """It would count in the largest memory."""
    made = []

    def make(name, batch, device):
        assert not any(step() for step in made)

        def step():
            return torch.ones(())

        made.append(weakref.ref(step))
        return step

    monkeypatch.setattr(gpu, "STEPS", {"one": (make, 1), "another": (make, 1)})
    monkeypatch.setattr(gpu, "PRECISIONS", {"fp32": Precision(FP32)})
    gpu.main(["--out", str(tmp_path / "gpu.json"), *SHORT])
    assert len(made) == 2
