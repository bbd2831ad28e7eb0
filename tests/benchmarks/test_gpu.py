"""The script for GPUs runs, here on the processor and a small network."""

import json

import pytest

import gpu
from benchmark.engine.precision import FP32, Precision, use


@pytest.mark.parametrize("seconds", [600, -1])
def test_every_row_is_measured_or_named(tmp_path, seconds, monkeypatch):
    """Speeds are positive; without time left every row says that it was left out."""
    monkeypatch.delitem(gpu.PRECISIONS, "bf16 compiled")  # compilation takes 20 s
    out = tmp_path / "gpu.json"
    short = ["--arch", "resnet10-w8", "--batch", "4", "--steps", "1", "--device", "cpu"]
    gpu.main(["--out", str(out), "--seconds", str(seconds), *short])
    use(Precision(FP32))
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == len(gpu.STEPS) * len(gpu.PRECISIONS)
    for row in rows:
        assert ("left out" in row) is (seconds < 0)
        assert seconds < 0 or row["images/s"] > 0 < row["epoch s"]
