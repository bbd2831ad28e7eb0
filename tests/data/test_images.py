"""Datasets in memory: augmentation against an exhaustive search, and the digits split."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import pad as padded

from benchmark.data.images import Split, augment, pixels
from benchmark.data.info import CIFAR10, DIGITS, Augmentation

COUNT, SIDE = 2000, 12
MODES = {"zero": "constant", "reflect": "reflect"}


@pytest.fixture(scope="module")
def images():
    """Random colour images, no two of them alike."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (COUNT, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)


def crops(images, how):
    """Every crop that `how` allows, with its (row shift, column shift, mirrored)."""
    plain = images.permute(0, 3, 1, 2).to(torch.float32) / 255
    large = padded(plain, [how.pad] * 4, mode=MODES[how.mode])
    shifts = range(2 * how.pad + 1)
    for row, column in itertools.product(shifts, shifts):
        crop = large[:, :, row : row + SIDE, column : column + SIDE]
        yield (row - how.pad, column - how.pad, False), crop
        if how.flip:
            yield (row - how.pad, column - how.pad, True), crop.flip(3)


def matches(out, images, how):
    """Whether output i is the crop k of image i, as (crops, images), and the crops' keys."""
    hits = {key: (out == crop).flatten(1).all(1) for key, crop in crops(images, how)}
    return torch.stack(list(hits.values())), list(hits)


class TestAugment:
    """Random crops and mirroring."""

    @pytest.mark.parametrize("mode", ["zero", "reflect"])
    @pytest.mark.parametrize("pad", [0, 1, 2, 4])
    @pytest.mark.parametrize("flip", [False, True])
    def test_every_output_is_a_crop_and_every_crop_occurs(self, images, mode, pad, flip):
        """Each image comes back as exactly one crop of its padded self; none is left out."""
        how = Augmentation(pad=pad, mode=mode, flip=flip)
        out = augment(images, how, torch.Generator().manual_seed(1))
        hits, keys = matches(out, images, how)
        assert torch.equal(hits.sum(0), torch.ones(COUNT, dtype=torch.int64))
        assert len(keys) == (2 * pad + 1) ** 2 * (1 + flip)
        share = hits.double().mean(1)
        assert (share > 0).all()
        assert (share < 3 / len(keys)).all()

    def test_rows_columns_and_mirroring_are_independent(self, images):
        """And half of the images are mirrored."""
        how = Augmentation(pad=4, mode="reflect", flip=True)
        hits, keys = matches(augment(images, how, torch.Generator().manual_seed(1)), images, how)
        drawn = torch.tensor(keys, dtype=torch.float64)[hits.double().argmax(0)]
        assert abs(float(drawn[:, 2].mean()) - 0.5) < 0.05
        correlation = np.corrcoef(drawn.numpy().T)
        assert np.abs(correlation - np.eye(3)).max() < 0.08

    def test_only_the_generator_given_decides(self, images):
        how, generator = CIFAR10.augmentation, torch.Generator().manual_seed(3)
        before, kept = torch.random.get_rng_state(), images.clone()
        first, second = augment(images, how, generator), augment(images, how, generator)
        again = augment(images, how, torch.Generator().manual_seed(3))
        assert torch.equal(first, again)
        assert not torch.equal(first, second)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert torch.equal(images, kept)

    @pytest.mark.parametrize("info", [DIGITS, CIFAR10], ids=lambda info: info.name)
    def test_output_is_float_in_channels_last_order(self, info):
        raw = torch.zeros(3, info.side, info.side, info.channels, dtype=torch.uint8)
        for out in (augment(raw, info.augmentation, torch.Generator()), pixels(raw)):
            assert out.shape == (3, info.channels, info.side, info.side)
            assert out.dtype == torch.float32
            assert out.is_contiguous(memory_format=torch.channels_last)


class TestSplit:
    """Images and labels in memory."""

    def test_pixels_are_exact(self):
        """Level k becomes the float32 nearest to k / 255."""
        levels = torch.arange(256, dtype=torch.uint8).view(4, 8, 8, 1)
        expected = (np.arange(256, dtype=np.float64) / 255).astype(np.float32)
        assert np.array_equal(pixels(levels).flatten().numpy(), expected)

    def test_first_and_batch_are_slices(self, digits):
        split = digits.test
        assert split.first(None) is split
        assert len(split.first(10)) == 10
        assert len(split.first(10_000)) == len(split)
        x, labels = split.first(10).batch(4, 14)
        assert torch.equal(x, pixels(split.images[4:10]))
        assert torch.equal(labels, split.labels[4:10])

    def test_hash_follows_the_content(self, digits):
        split = digits.test.first(20)
        changed, relabelled = split.images.clone(), split.labels.clone()
        changed[3, 4, 4, 0] += 1
        relabelled[0] = (relabelled[0] + 1) % 10
        others = [
            Split(changed, split.labels),
            Split(split.images, relabelled),
            Split(split.images.flip(0), split.labels.flip(0)),
            Split(split.images.view(20, 4, 16, 1), split.labels),
            split.first(19),
        ]
        assert len({split.sha256(), *(other.sha256() for other in others)}) == 6
        strided = split.images.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
        assert Split(strided, split.labels).sha256() == split.sha256()


class TestDigits:
    """The embedded dataset."""

    def test_splits_are_disjoint_and_complete(self, digits):
        """Both splits together are scikit-learn's images, each once, at 255/16 of their value."""
        source = load_digits()
        grey = np.rint(source.images * 255 / 16).astype(np.uint8)
        expected = sorted(
            (image.tobytes(), int(label)) for image, label in zip(grey, source.target, strict=True)
        )
        found = sorted(
            (image.numpy().tobytes(), int(label))
            for split in (digits.train, digits.test)
            for image, label in zip(split.images, split.labels, strict=True)
        )
        assert found == expected

    def test_content_is_always_the_same(self, digits):
        assert digits.train.sha256().startswith("c529916693de3e1d")
        assert digits.test.sha256().startswith("f6a0609a7c6eb417")

    def test_normalisation_is_that_of_the_training_pixels(self, digits):
        pixel = digits.train.images.double() / 255
        assert (float(pixel.mean()), float(pixel.std())) == pytest.approx(
            (*DIGITS.mean, *DIGITS.std), abs=5e-5
        )
