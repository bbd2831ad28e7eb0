"""The PGD loop: the ball, closed forms, and independence of the batch an example is attacked in."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmark.data.images import Split
from benchmark.data.info import DIGITS, LinfAttack
from benchmark.engine.counting import adversarial_batch, clean_answers, pgd_answers, vanishing
from benchmark.engine.pgd import (
    example_starts,
    linf_pgd,
    summed_cross_entropy,
    uniform_start,
)

SHAPE = (1, 4, 4)


def linear(weight, bias=None):
    """A linear classifier of flattened images in double precision."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(weight.shape[1], weight.shape[0])).double()
    with torch.no_grad():
        model[1].weight.copy_(weight)
        model[1].bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return model


def adversarial(model, split, size, seed=5, attack=DIGITS.threat):
    """Adversarial images of `split`, crafted in batches of `size`."""
    batches = [
        adversarial_batch(model, split, start, min(start + size, len(split)), attack, seed)[0]
        for start in range(0, len(split), size)
    ]
    return torch.cat(batches)


class TestBall:
    """What the attack returns lies where it may."""

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        eps=st.floats(0, 1.5),
        step_size=st.floats(0, 1),
        steps=st.integers(0, 5),
        far=st.sampled_from([0.5, 1.0, 4.0]),
    )
    def test_images_stay_in_the_ball_and_in_the_unit_cube(self, seed, eps, step_size, steps, far):
        """No pixel leaves [x - eps, x + eps] or [0, 1], wherever the attack starts."""
        generator = torch.Generator().manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3))
        for parameter in model.parameters():
            parameter.data.normal_(generator=generator)
        x = torch.rand((6, *SHAPE), generator=generator)
        x[0], x[1] = 0, 1
        x[2] = x[2].round()
        start = far * uniform_start(x, eps, generator)
        labels = torch.arange(6) % 3
        x_adv = linf_pgd(model, x, labels, LinfAttack(eps, step_size, steps), start)
        assert x_adv.shape == x.shape
        assert not x_adv.requires_grad
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1
        assert (x_adv >= x - eps).all()
        assert (x_adv <= x + eps).all()

    def test_no_step_returns_the_clipped_start(self, network, digits):
        """With no steps the start is projected and nothing else happens."""
        x, labels = digits.test.batch(0, 8)
        start = torch.full_like(x, 0.3)
        x_adv = linf_pgd(network, x, labels, LinfAttack(0.1, 0.1, 0), start)
        assert torch.equal(x_adv, (x + 0.1).clamp(0, 1))

    def test_arguments_are_left_alone(self, network, digits):
        """Images and start are not written to."""
        x, labels = digits.test.batch(0, 8)
        start = uniform_start(x, 0.1, torch.Generator().manual_seed(0))
        before = x.clone(), start.clone()
        linf_pgd(network, x, labels, DIGITS.threat, start)
        assert torch.equal(x, before[0])
        assert torch.equal(start, before[1])


class TestOracles:
    """Linear models, for which the answer is known."""

    @pytest.mark.parametrize("steps", [1, 2, 3, 7])
    def test_every_step_equals_numpy(self, steps):
        """A three-class linear model from a zero start, step by step in numpy."""
        rng = np.random.default_rng(2)
        weight, bias = 3 * rng.standard_normal((3, 16)), rng.standard_normal(3)
        x, labels = rng.random((20, 16)), rng.integers(0, 3, 20)
        x[:3] = x[:3].round()
        eps, step_size = 0.15, 0.04
        expected = x.copy()
        for _ in range(steps):
            logits = expected @ weight.T + bias
            share = np.exp(logits - logits.max(1, keepdims=True))
            share /= share.sum(1, keepdims=True)
            gradient = (share - np.eye(3)[labels]) @ weight
            expected = expected + step_size * np.sign(gradient)
            expected = np.clip(np.clip(expected, x - eps, x + eps), 0, 1)
        images = torch.from_numpy(x).view(20, *SHAPE)
        x_adv = linf_pgd(
            linear(torch.from_numpy(weight), torch.from_numpy(bias)),
            images,
            torch.from_numpy(labels),
            LinfAttack(eps, step_size, steps),
            torch.zeros_like(images),
        )
        np.testing.assert_allclose(x_adv.numpy().reshape(20, 16), expected, rtol=0, atol=1e-12)

    def test_network_equals_the_written_out_loop(self, model, digits, plain_pgd):
        """On a ResNet the loop gives the examples of the plain one in the fixtures."""
        split = digits.test.first(40)
        expected = plain_pgd(model, split, DIGITS.threat, seed=5)
        torch.testing.assert_close(adversarial(model, split, 40), expected, rtol=0, atol=1e-6)

    def test_usual_objective_is_the_sum_over_the_batch(self):
        """Summed cross-entropy, so that the gradient of an example does not shrink with the batch."""
        logits, labels = torch.randn(5, 3).double(), torch.tensor([0, 1, 2, 1, 0])
        single = [summed_cross_entropy(logits[i : i + 1], labels[i : i + 1]) for i in range(5)]
        torch.testing.assert_close(summed_cross_entropy(logits, labels), torch.stack(single).sum())

    def test_a_network_that_sums_over_channels_first(self):
        """Its gradient is one tensor seen from every channel; all of them move alike."""

        class Grey(nn.Module):
            def forward(self, x):
                return x.sum(1, keepdim=True)

        w = torch.tensor([[1.0] * 8 + [-1.0] * 8, [0.0] * 16], dtype=torch.float64)
        x = torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64)
        x_adv = linf_pgd(
            nn.Sequential(Grey(), linear(w)),
            x,
            torch.tensor([0, 1]),
            LinfAttack(0.1, 0.1, 2),
            torch.zeros_like(x),
        )
        away = torch.tensor([-0.1, 0.1], dtype=torch.float64).view(2, 1, 1, 1)
        torch.testing.assert_close(x_adv, x + away * w[0].view(SHAPE), rtol=0, atol=1e-15)


class TestBatches:
    """In evaluation mode an example's perturbation is its own."""

    @pytest.mark.parametrize(("count", "size", "steps"), [(165, 37, 10), (20, 1, 4)])
    def test_batch_size_changes_no_bit(self, model, digits, count, size, steps):
        """Batches of 37, the last of them smaller, and of one give the examples of batches of 128."""
        split, attack = digits.test.first(165), LinfAttack(0.12, 0.03, steps)
        some = adversarial(model, split.first(count), size, attack=attack)
        assert torch.equal(some, adversarial(model, split, 128, attack=attack)[:count])


class TestStarts:
    """Random starts of examples."""

    def test_slices_agree(self):
        """An example's start is the same in any slice, across the borders of blocks too."""
        whole = example_starts(3, 0, 600, SHAPE, 0.1)
        assert whole.shape == (600, *SHAPE)
        for start, stop in [(0, 1), (17, 54), (255, 257), (256, 512), (300, 600), (599, 600)]:
            assert torch.equal(example_starts(3, start, stop, SHAPE, 0.1), whole[start:stop])

    def test_values_fill_the_ball(self):
        """Starts are uniform in [-eps, eps] and scale with eps."""
        starts = example_starts(3, 0, 600, SHAPE, 0.1).double()
        assert starts.abs().max() <= 0.1
        assert starts.min() < -0.099
        assert starts.max() > 0.099
        assert starts.mean().abs() < 0.002
        assert (starts.var() - 0.2**2 / 12).abs() < 1e-4
        twice = example_starts(3, 0, 600, SHAPE, 0.2).double()
        torch.testing.assert_close(twice, 2 * starts, rtol=0, atol=1e-7)

    def test_seeds_and_examples_differ(self):
        """No two examples and no two seeds share a start."""
        both = torch.cat([example_starts(seed, 0, 600, SHAPE, 0.1) for seed in (3, 4)])
        assert len(both.flatten(1).unique(dim=0)) == 1200


class Small(nn.Module):
    """A network on a device whose memory takes `most` images; `seen` are the batches that it had."""

    def __init__(self, network, most):
        super().__init__()
        self.network, self.most, self.seen = network, most, []

    def forward(self, x):
        """The logits, unless there is no memory for them."""
        if len(x) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        self.seen.append(len(x))
        return self.network(x)


def test_where_memory_is_short_batches_are_halved_and_nothing_else():
    """Every answer is the same as with memory for all; a single image that does not fit is an error."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand((11, *SHAPE), generator=generator), torch.arange(11) % 3
    split = Split((255 * images).to(torch.uint8), labels)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    def everything(model):
        found = [clean_answers(model, split), pgd_answers(model, split, DIGITS.threat, 5, 0, 11)]
        return [*found, *map(torch.from_numpy, vanishing(model, *split.batch(0, 11)).values())]

    with pytest.warns(UserWarning, match="going on by [36] images at a time"):
        halved = everything(small := Small(network, 3))
    assert max(small.seen) <= 3
    for ours, plain in zip(halved, everything(Small(network, 11)), strict=True):
        assert torch.equal(ours, plain)
    with pytest.warns(UserWarning, match="by [1236] images"), pytest.raises(torch.OutOfMemoryError):
        clean_answers(Small(network, 0), split)
