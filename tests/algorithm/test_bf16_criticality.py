"""Criticality with gradients in bf16: the order of modules stays, and losses are those in fp32."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmark.algorithm.criticality import criticality
from benchmark.data.images import Split
from benchmark.data.info import LinfAttack
from benchmark.engine.precision import used
from benchmark.engine.recipes import CriticalitySettings, OfficialCriticality
from benchmark.records.records import ModuleCriticality
from benchmark.records.store import Journal
from committed import committed_network

AS_THEY_ARE = LinfAttack(eps=0.0, step_size=0.0, steps=0)


@pytest.fixture(scope="module")
def model():
    """The committed adversarially trained network."""
    return committed_network().to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def split(model):
    """Noise under the network's own answers."""
    images = torch.randint(0, 256, (48, 32, 32, 3), generator=torch.Generator().manual_seed(0))
    noise = Split(images.to(torch.uint8), torch.zeros(48, dtype=torch.int64))
    with torch.no_grad():
        labels: Tensor = model(noise.batch(0, 48)[0]).argmax(1)
    return Split(noise.images, labels)


def measured(
    model: nn.Module, split: Split, settings: CriticalitySettings | OfficialCriticality, folder: Path
) -> list[ModuleCriticality]:
    """MRC with gradients in the precision of the process."""
    journal = Journal(folder / used().name, "test")
    return list(criticality(model, split, AS_THEY_ARE, settings, seed=1, journal=journal))


@pytest.mark.parametrize(
    "settings", [CriticalitySettings(), OfficialCriticality(steps=1, batch_size=24)]
)
def test_the_order_of_modules_stays(settings, model, split, tmp_path, in_bf16):
    """The least critical module is the same, ranks hardly move, and values within a few percent: an
    ascent that ends on the sphere is only turned a little by rounding."""
    exact = measured(model, split, settings, tmp_path)
    in_bf16()
    changed = measured(model, split, settings, tmp_path)
    before, after = (np.array([module.mrc for module in found], float) for found in (exact, changed))
    assert before.argmin() == after.argmin()
    assert spearmanr(before, after).statistic > 0.99
    np.testing.assert_allclose(after, before, rtol=0.05)
    assert exact != changed


def test_the_reference_is_counted_in_fp32(model, split, tmp_path, in_bf16):
    """Where the ascent does not move, the rise is exactly zero: both losses are the network's."""
    in_bf16()
    settings = CriticalitySettings(lr=0.0, steps=1)
    assert all(m.mrc == 0 for m in measured(model, split, settings, tmp_path))
