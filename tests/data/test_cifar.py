"""CIFAR in a folder: official files, other files of known content, and files that are refused."""

import os
import pickle
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data import cifar, load
from benchmark.data.cifar_batches import content_sha256, read_split
from benchmark.data.get.archives import ARCHIVES, of_folder
from benchmark.data.info import CIFAR10, CIFAR100
from benchmark.errors import UserError
from invoking import refused

SIZES = {"train": 200, "test": 100}


def rows(size, seed, classes=100):
    """Random rows as the batches have them and labels, the same number of every class, shuffled."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (size, 3072), dtype=np.uint8)
    return pixels, generator.permutation(np.arange(size) % classes)


def as_images(pixels):
    """Rows of colour planes as (N, H, W, C), written with an index for each axis."""
    planes = pixels.reshape(-1, 3, 32, 32)
    return np.stack([planes[:, channel] for channel in range(3)], axis=-1)


def write(path, pixels, labels, key="fine_labels", protocol=2):
    """A batch file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = {"data": pixels, key: [int(label) for label in labels], "batch_label": "a batch"}
    path.write_bytes(pickle.dumps(batch, protocol=protocol))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A data directory with a CIFAR-100 of few images, whose content is known."""
    monkeypatch.setattr(cifar, "SIZES", SIZES)
    splits = {name: rows(size, seed) for seed, (name, size) in enumerate(SIZES.items())}
    hashes = [content_sha256(as_images(pixels), labels) for pixels, labels in splits.values()]
    monkeypatch.setitem(cifar.KNOWN_CONTENT, "cifar100", tuple(hashes))
    for name, (pixels, labels) in splits.items():
        write(tmp_path / "cifar-100-python" / name, pixels, labels)
    return tmp_path, splits


class TestContentHash:
    """A hash of labelled images that forgets their order."""

    def test_order_does_not_matter(self):
        pixels, labels = rows(50, 0)
        images = as_images(pixels)
        order = np.random.default_rng(1).permutation(50)
        expected = content_sha256(images, labels)
        assert content_sha256(images[order], labels[order]) == expected
        assert content_sha256(torch.from_numpy(images), torch.from_numpy(labels)) == expected
        assert content_sha256(np.asfortranarray(images), labels.astype(np.uint8)) == expected

    def test_everything_else_does(self):
        """Swapped labels, a changed pixel, a lost, a doubled, another shape: all differ."""
        pixels, labels = rows(50, 0)
        images = as_images(pixels)
        swapped, changed = labels.copy(), images.copy()
        one, other = 0, int(np.flatnonzero(labels != labels[0])[0])
        swapped[[one, other]] = swapped[[other, one]]
        changed[7, 3, 2, 1] ^= 1
        double = np.r_[np.arange(50), 3]
        others = [
            (images, swapped),
            (changed, labels),
            (images[1:], labels[1:]),
            (images[double], labels[double]),
            (images.reshape(50, 64, 16, 3), labels),
            (images[:0], labels[:0]),
        ]
        hashes = {content_sha256(*pair) for pair in [(images, labels), *others]}
        assert len(hashes) == 1 + len(others)


class TestOtherFiles:
    """Files that torchvision's sums refuse."""

    def test_known_content_is_loaded_in_the_order_of_the_files(self, small):
        """Whatever that order is: rows of a batch that were permuted have the same content."""
        directory, splits = small
        pixels, labels = splits["train"]
        for order in (np.arange(len(labels)), np.random.default_rng(5).permutation(len(labels))):
            splits["train"] = pixels[order], labels[order]
            write(directory / "cifar-100-python" / "train", *splits["train"])
            data = cifar.load(CIFAR100, directory)
            for split, (rows_of, labels_of) in zip(
                (data.train, data.test), splits.values(), strict=True
            ):
                assert np.array_equal(split.images.numpy(), as_images(rows_of))
                assert np.array_equal(split.labels.numpy(), labels_of)
                assert split.images.dtype == torch.uint8 and split.images.is_contiguous()
                assert split.labels.dtype == torch.int64
            assert data.info is CIFAR100
            assert cifar.verify(CIFAR100, directory) == "official content in files of another layout"

    def test_another_content_is_refused_until_accepted(self, small):
        """The message gives the hash found, the official one and the command that accepts it."""
        directory, splits = small
        pixels, labels = splits["test"]
        changed = pixels.copy()
        changed[0, 0] ^= 1
        write(directory / "cifar-100-python" / "test", changed, labels)
        found = cifar.content(CIFAR100, directory)
        message = refused(lambda: cifar.load(CIFAR100, directory))
        assert "(test)" in message
        assert f"content hash {found}" in message
        assert cifar.known_content(CIFAR100) in message
        assert message.endswith(f"data accept cifar100 {found} --data-dir {directory}")
        refused(lambda: cifar.accept(CIFAR100, directory, "0" * 64), "not " + "0" * 64)
        cifar.accept(CIFAR100, directory, found)
        assert np.array_equal(cifar.load(CIFAR100, directory).test.images.numpy(), as_images(changed))
        assert "accepted" in cifar.verify(CIFAR100, directory)
        changed[0, 0] ^= 2
        write(directory / "cifar-100-python" / "test", changed, labels)
        refused(lambda: cifar.load(CIFAR100, directory), "not the official one")

    def test_the_command_that_accepts_takes_a_path_with_a_space(self, small):
        """Pasted, it names the folder in one word; the usual folder is not named."""
        directory = small[0] / "my data"
        for name, size in SIZES.items():
            write(directory / "cifar-100-python" / name, *rows(size, 9))
        line = refused(lambda: cifar.load(CIFAR100, directory))
        assert shlex.split(line)[-1] == str(directory)
        assert of_folder(Path("data")) == ""

    def test_damaged_acceptance(self, small):
        directory, _ = small
        write(directory / "cifar-100-python" / "test", *rows(100, 9))
        (directory / "cifar-100-python" / "accepted.json").write_text("[]")
        refused(lambda: cifar.load(CIFAR100, directory), r"accepted\.json' cannot be read")

    @pytest.mark.parametrize(
        "content",
        [0, 1000, [1, 2], {"data": "text", "fine_labels": [1]}],
        ids=["empty", "cut", "list", "text"],
    )
    def test_damaged_batch(self, small, content):
        """A batch that was cut off, and a sound pickle of other things."""
        path = small[0] / "cifar-100-python" / "test"
        cut = isinstance(content, int)
        path.write_bytes(path.read_bytes()[:content] if cut else pickle.dumps(content, protocol=2))
        line = refused(lambda: cifar.load(CIFAR100, small[0]))
        assert f"'{path}' is damaged" in line
        assert "data get cifar100" in line

    def test_wrong_numbers_are_told(self, small):
        directory, splits = small
        pixels, labels = splits["test"]
        path = directory / "cifar-100-python" / "test"

        def message(pixels, labels):
            write(path, pixels, labels)
            return refused(lambda: cifar.load(CIFAR100, directory))

        assert "labels from 0 to 100, not 0 to 99" in message(pixels, np.r_[100, labels[1:] * 0])
        assert "0 to 2 images of a class, not 1" in message(pixels, np.r_[labels[1], labels[1:]])
        assert "99 images, not 100" in message(pixels[1:], labels[1:])
        assert "not uint8(N, 3072)" in message(pixels[:, :-1], labels)
        assert "and labels (99,)" in message(pixels, labels[1:])
        assert "values of kind 'f4'" in message(pixels.astype(np.float32), labels)


class TestUnpickling:
    """Reading what may be hostile."""

    @pytest.mark.parametrize("protocol", range(2, 6))
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_every_protocol_and_memory_order(self, tmp_path, protocol, order):
        pixels, labels = rows(100, 0)
        write(tmp_path / "batch", np.array(pixels, order=order), labels, protocol=protocol)
        split = read_split(CIFAR100, [tmp_path / "batch"], "fine_labels", 100)
        assert np.array_equal(split.images.numpy(), as_images(pixels))

    @pytest.mark.parametrize("kind", ["<i8", ">i4", "u1"])
    @pytest.mark.parametrize("module", [b"numpy.core.", b"numpy._core."])
    def test_names_of_either_numpy_and_arrays_of_labels(self, tmp_path, kind, module):
        pixels, labels = rows(100, 0)
        content = pickle.dumps({"data": pixels, "fine_labels": labels.astype(kind)}, protocol=2)
        other = content.replace(b"numpy._core.", b"numpy.core.").replace(b"numpy.core.", module)
        (tmp_path / "batch").write_bytes(other)
        split = read_split(CIFAR100, [tmp_path / "batch"], "fine_labels", 100)
        assert np.array_equal(split.images.numpy(), as_images(pixels))
        assert np.array_equal(split.labels.numpy(), labels)

    @pytest.mark.parametrize("protocol", [2, 5])
    def test_code_is_refused_and_not_run(self, small, protocol):
        """A pickle that would make a file when read makes none, wherever in the batch it is."""
        directory, splits = small
        witness = directory / "was-here"

        class Malicious:
            def __reduce__(self):
                return Path.touch, (witness,)

        pixels, labels = splits["test"]
        for batch in (
            Malicious(),
            {"data": pixels, "fine_labels": Malicious()},
            {"data": pixels, "fine_labels": labels.tolist(), "more": [{"deep": Malicious()}]},
        ):
            path = directory / "cifar-100-python" / "test"
            path.write_bytes(pickle.dumps(batch, protocol=protocol))
            line = refused(lambda: cifar.load(CIFAR100, directory), "contains code")
            assert str(path) in line
            assert not witness.exists()
        pickle.loads(pickle.dumps(Malicious(), protocol=protocol))
        assert witness.exists()  # so it would have been seen

    def test_numpy_is_not_reached(self, tmp_path):
        objects = np.array([None, [1]], dtype=object)
        (tmp_path / "batch").write_bytes(pickle.dumps({"data": objects}, protocol=2))
        with pytest.raises(UserError, match="values of kind 'O8'"):
            read_split(CIFAR100, [tmp_path / "batch"], "fine_labels", 100)

    def test_several_batches_are_joined_in_order(self, tmp_path):
        pixels, labels = rows(50, 0, classes=10)
        files = [tmp_path / f"batch{k}" for k in range(5)]
        for k, file in enumerate(files):
            part = slice(10 * k, 10 * k + 10)
            write(file, pixels[part], labels[part], key="labels")
        split = read_split(CIFAR10, files, "labels", 50)
        assert np.array_equal(split.images.numpy(), as_images(pixels))
        assert np.array_equal(split.labels.numpy(), labels)


class TestMissing:
    """Files that are not there."""

    @pytest.fixture(autouse=True)
    def _no_route(self, monkeypatch):
        """No download succeeds."""

        def download(*args, **kwargs):
            raise OSError("no route")

        monkeypatch.setattr("pooch.retrieve", download)

    @pytest.mark.parametrize("info", [CIFAR10, CIFAR100], ids=lambda info: info.name)
    def test_what_to_do_is_told(self, tmp_path, info):
        folder = tmp_path / "data"
        message, listed = refused(lambda: load(info.name, folder)), ARCHIVES[info.name]
        told = (info.label, f"'{folder}'", "--data-dir", "no route", listed.md5, *listed.urls)
        assert [part for part in told if part not in message] == []
        assert not list(folder.glob(".*.part"))

    def test_damaged_files_are_not_taken_for_the_dataset(self, tmp_path):
        batches = tmp_path / "cifar-10-batches-py"
        batches.mkdir()
        for name in ("data_batch_1", "test_batch", "batches.meta"):
            (batches / name).write_bytes(b"not a batch")
        refused(lambda: load("cifar10", tmp_path), "is not complete")

    def test_archive_put_there_by_hand_is_verified(self, tmp_path):
        (tmp_path / "cifar-100-python.tar.gz").write_bytes(b"something")
        refused(lambda: cifar.load(CIFAR100, tmp_path), "expected 169001437 bytes")


@pytest.mark.parametrize("info", [CIFAR10, CIFAR100], ids=lambda info: info.name)
def test_real_files(info):
    """The files that BENCHMARK_DATA names have the official content and equal classes."""
    named = os.environ.get("BENCHMARK_DATA")
    if named is None or not cifar.present(info, Path(named)):
        pytest.skip(f"BENCHMARK_DATA names no folder that holds {ARCHIVES[info.name].gives}")
    data = cifar.load(info, Path(named))
    hashes = [content_sha256(split.images, split.labels) for split in (data.train, data.test)]
    assert tuple(hashes) == cifar.KNOWN_CONTENT[info.name]
    for split, size in zip((data.train, data.test), (50_000, 10_000), strict=True):
        assert split.images.shape == (size, 32, 32, 3)
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        assert split.images.is_contiguous()
        assert torch.bincount(split.labels).tolist() == [size // info.classes] * info.classes
    if info is CIFAR10:  # CIFAR-100 is normalised by CIFAR-10's numbers too
        pixel = data.train.images.view(-1, 3).numpy()
        np.testing.assert_allclose(pixel.mean(0) / 255, CIFAR10.mean, rtol=0, atol=1e-4)
