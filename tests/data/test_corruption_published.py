"""Published corrupted test sets: which rows are which, refused files, and recorded hashes."""

import functools
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from benchmark.data import load
from benchmark.data.corruptions.published import describe, official, record_hashes, verify
from benchmark.data.get import sha256sums
from benchmark.data.get.archives import ARCHIVES
from benchmark.data.info import CIFAR10, CIFAR100, DIGITS, TINY_IMAGENET
from invoking import refused

CIFAR = replace(CIFAR10, classes=3, side=4, augmentation=DIGITS.augmentation)
TINY = replace(TINY_IMAGENET, classes=3, side=8, augmentation=DIGITS.augmentation)
IMAGES = 6
TEST_LABELS = np.array([2, 0, 1, 1, 0, 2])
SUMS = "SHA256SUMS"


@pytest.fixture
def cifar(tmp_path):
    """The folder CIFAR-10-C of two corruptions of six random images."""
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("fog", "frost"):
        images = random.integers(0, 256, (5 * IMAGES, 4, 4, 3), dtype=np.uint8)
        np.save(folder / f"{name}.npy", images)
    np.save(folder / "labels.npy", np.tile(TEST_LABELS, 5).astype(np.uint8))
    return folder


@pytest.fixture
def tiny(tmp_path):
    """The folder Tiny-ImageNet-C of two corruptions of three classes of two random images."""
    folder, random = tmp_path / "Tiny-ImageNet-C", np.random.default_rng(1)
    for name in ("fog", "frost"):
        for severity in range(1, 6):
            for wnid in ("n02", "n01", "n03"):
                target = folder / name / str(severity) / wnid
                target.mkdir(parents=True)
                for file in (f"{wnid}_10.JPEG", f"{wnid}_9.JPEG"):
                    pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(target / file, "JPEG")
    return folder


def cifar_files(folder, labels=None):
    """The files as the suite reads them."""
    return official(CIFAR, folder.parent, labels, images=IMAGES)


def tiny_files(folder):
    """The files as the suite reads them."""
    return official(TINY, folder.parent, images=IMAGES)


def flip(path, at=-1):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


class TestCifar:
    """CIFAR-10-C and CIFAR-100-C."""

    @pytest.mark.parametrize("name", ["fog", "frost"])
    @pytest.mark.parametrize("severity", [1, 2, 5])
    def test_severity_major(self, name, severity, cifar):
        """Severity s is rows (s - 1) n to s n of the file, with the test labels as int64."""
        images, labels = cifar_files(cifar, TEST_LABELS).copy(name, severity)
        whole = np.load(cifar / f"{name}.npy")
        np.testing.assert_array_equal(images, whole[(severity - 1) * 6 : severity * 6])
        np.testing.assert_array_equal(labels, TEST_LABELS)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)

    def test_by_default_ten_thousand_images(self, cifar):
        """Without another number, the labels have to be 50,000."""
        refused(lambda: official(CIFAR10, cifar.parent), r"labels.npy' has uint8 .*shape \(50000,\)")

    def test_order_in_memory_does_not_matter(self, cifar):
        images, _ = cifar_files(cifar).copy("fog", 3)
        np.save(cifar / "fog.npy", np.asfortranarray(np.load(cifar / "fog.npy")))
        again, _ = cifar_files(cifar).copy("fog", 3)
        np.testing.assert_array_equal(again, images)
        assert again.flags.c_contiguous

    def test_copies_are_copies(self, cifar):
        files = cifar_files(cifar)
        images, labels = files.copy("fog", 1)
        before = images.copy()
        images[:], labels[:] = 0, 0
        np.testing.assert_array_equal(files.copy("fog", 1)[0], before)
        np.testing.assert_array_equal(files.copy("fog", 1)[1], TEST_LABELS)

    def test_labels_of_another_order(self, cifar):
        other = TEST_LABELS[[0, 2, 1, 3, 4, 5]]
        refused(lambda: cifar_files(cifar, other), "CIFAR-10 test set in its order")

    @pytest.mark.parametrize(
        ("file", "array", "match"),
        [
            ("labels", np.tile(TEST_LABELS, 5).astype(float), r"float64 .*integers of shape \(30,\)"),
            ("labels", np.tile(TEST_LABELS, 5) + 1, "from 1 to 3; .* from 0 to 2"),
            ("labels", np.tile(TEST_LABELS, 5) - 1, "from -1 to 1; .* from 0 to 2"),
            ("labels", np.repeat(TEST_LABELS, 5), "same 6 labels 5 times over"),
            ("fog", np.zeros((30, 4, 4, 3), "f4"), r"fog.npy' has float32 .*uint8 of shape \(30, 4"),
            ("fog", np.zeros((30, 3, 4, 4), "u1"), r"\(30, 3, 4, 4\); uint8 of shape \(30, 4, 4, 3\)"),
            ("fog", np.array([print] * 30, dtype=object), "fog.npy' .*objects"),
        ],
    )
    def test_wrong_arrays(self, file, array, match, cifar):
        """Another type, shape, range or order is refused; Python objects are not unpickled."""
        np.save(cifar / f"{file}.npy", array, allow_pickle=True)
        refused(lambda: cifar_files(cifar).copy("fog", 1), match)

    def test_truncated(self, cifar):
        (cifar / "fog.npy").write_bytes((cifar / "fog.npy").read_bytes()[:-1])
        refused(lambda: cifar_files(cifar).copy("fog", 1), "fog.npy' is truncated or damaged")

    @pytest.mark.parametrize("name", ["snow", "labels", "../CIFAR-10-C/fog"])
    def test_missing_corruption(self, name, cifar):
        """A corruption that is not there is refused by its file's name."""
        refused(lambda: cifar_files(cifar).copy(name, 1), f"{name}.npy' is missing; .*CIFAR-10-C.tar")
        refused(lambda: cifar_files(cifar).sha256(name), f"{name}.npy' is missing")

    def test_no_labels_and_no_such_severity(self, cifar):
        for severity in (0, 6, -1):
            wanted = functools.partial(cifar_files(cifar).copy, "fog", severity)
            refused(wanted, "not one of 1 to 5")
        (cifar / "labels.npy").unlink()
        refused(lambda: cifar_files(cifar), "labels.npy' is missing")


class TestTiny:
    """Tiny-ImageNet-C."""

    @pytest.mark.parametrize("threads", [1, 3])
    @pytest.mark.parametrize("severity", [1, 4])
    def test_as_image_folder(self, threads, severity, tiny):
        """Order, labels and pixels are those of torchvision's ImageFolder on a severity."""
        images, labels = tiny_files(tiny).copy("frost", severity, threads=threads)
        folder = ImageFolder(tiny / "frost" / str(severity))
        assert labels.tolist() == [label for _, label in folder.samples]
        np.testing.assert_array_equal(images, np.stack([np.asarray(image) for image, _ in folder]))
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)

    def test_names(self, tiny):
        (tiny / ".trash").mkdir()
        (tiny / "readme.txt").write_text("")
        assert tiny_files(tiny).names == ("fog", "frost")

    def test_missing_corruption(self, tiny):
        """The archive of the extra corruptions is named beside the other one."""
        refused(lambda: tiny_files(tiny).copy("spatter", 1), "spatter' is missing; .*-C-extra.tar")
        shutil.rmtree(tiny / "fog" / "4")
        refused(lambda: tiny_files(tiny).copy("fog", 4), "fog/4' is missing")

    def test_numbers_of_classes_and_images(self, tiny):
        """A severity of another number of classes is refused, as the frost of the first archive."""
        (tiny / "frost" / "2" / "n99").mkdir()
        refused(lambda: tiny_files(tiny).copy("frost", 2), "frost/2' has 4 classes; 3 are right")
        tiny_files(tiny).copy("frost", 1)
        (tiny / "fog" / "3" / "n02" / "n02_9.JPEG").unlink()
        refused(lambda: tiny_files(tiny).copy("fog", 3), "fog/3/n02' has 1 images; 2 are right")

    @pytest.mark.parametrize("threads", [1, 2])
    def test_wrong_image(self, threads, tiny):
        path = tiny / "fog" / "3" / "n02" / "n02_9.JPEG"
        Image.new("RGB", (8, 9)).save(path)
        refused(lambda: tiny_files(tiny).copy("fog", 3, threads), "n02_9.JPEG' has 8x9 pixels; 8x8")
        path.write_bytes(b"?")
        refused(lambda: tiny_files(tiny).copy("fog", 3, threads), "n02_9.JPEG' cannot be decoded")
        path.unlink()
        path.mkdir()
        refused(lambda: tiny_files(tiny).copy("fog", 3, threads), "n02_9.JPEG' is not a plain file")

    def test_classes_of_the_dataset(self, tiny, monkeypatch):
        """Where the dataset itself is there, the classes have to be its own."""
        known = ["n01", "n02", "n03"]
        monkeypatch.setattr("benchmark.data.tiny_imagenet.class_names", lambda _: tuple(known))
        tiny_files(tiny).copy("fog", 1)
        known[1] = "n04"
        refused(lambda: tiny_files(tiny).copy("fog", 1), "classes of Tiny-ImageNet: see n02")


class TestHashes:
    """`SHA256SUMS`, written after a verified archive was unpacked."""

    def test_file_is_that_of_sha256sum(self, cifar):
        """Each line is a file's hash, two spaces and its name, labels included."""
        record_hashes(cifar, cifar)
        names = ("fog.npy", "frost.npy", "labels.npy")
        hashes = [hashlib.sha256((cifar / name).read_bytes()).hexdigest() for name in names]
        lines = [f"{line}  {name}\n" for line, name in zip(hashes, names, strict=True)]
        assert (cifar / SUMS).read_text() == "".join(lines)
        assert cifar_files(cifar).sha256("fog") == hashes[0]

    def test_hash_of_a_folder(self, tiny):
        """It is over relative names, lengths and contents, in the order of the names."""
        digest, fog = hashlib.sha256(), tiny / "fog"
        names = sorted(str(path.relative_to(fog)) for path in fog.rglob("*.JPEG"))
        assert len(names) == 30
        for name in names:
            content = (fog / name).read_bytes()
            digest.update(name.encode() + bytes(1) + len(content).to_bytes(8, "big") + content)
        (fog / "1" / ".DS_Store").write_bytes(b"?")
        assert tiny_files(tiny).sha256("fog") == digest.hexdigest()

    def test_verified(self, cifar):
        """Files are verified when there are hashes to compare with, and used in either case."""
        assert not cifar_files(cifar).verified
        before = cifar_files(cifar).copy("fog", 2)
        record_hashes(cifar, cifar)
        assert cifar_files(cifar, TEST_LABELS).verified
        for one, other in zip(before, cifar_files(cifar).copy("fog", 2), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_flipped_bit(self, cifar):
        """One wrong bit is found before it is used, and never recorded; the others stay usable."""
        record_hashes(cifar, cifar)
        before = (cifar / SUMS).read_text()
        flip(cifar / "fog.npy")
        files, wrong = cifar_files(cifar), "fog.npy' is not what was unpacked"
        refused(lambda: files.copy("fog", 1), wrong)
        refused(lambda: record_hashes(cifar, cifar), wrong)
        assert (cifar / SUMS).read_text() == before
        files.copy("frost", 1)
        flip(cifar / "labels.npy")
        refused(lambda: cifar_files(cifar), "labels.npy' is not what was unpacked")

    @pytest.mark.parametrize(
        "change",
        [
            flip,
            lambda path: path.rename(path.with_name("n01_8.JPEG")),
            lambda path: shutil.copy(path, path.with_name("n01_8.JPEG")),
        ],
        ids=["content", "name", "one more"],
    )
    def test_changed_tree(self, change, tiny):
        """A change in one severity makes all severities of the corruption unusable."""
        record_hashes(tiny, tiny)
        change(tiny / "fog" / "5" / "n01" / "n01_9.JPEG")
        assert tiny_files(tiny).verified
        refused(lambda: tiny_files(tiny).copy("fog", 1), "fog' is not what was unpacked")
        tiny_files(tiny).copy("frost", 5)

    @pytest.mark.parametrize("info", [CIFAR, TINY], ids=["file", "folder"])
    def test_once_per_process(self, info, cifar, tiny, monkeypatch):
        folder = cifar.parent / info.corruptions
        record_hashes(folder, folder)
        hashed, real = [], sha256sums.sha256_of
        monkeypatch.setattr(
            sha256sums, "sha256_of", lambda path: hashed.append(path.name) or real(path)
        )
        for _ in range(2):
            files = official(info, cifar.parent, images=IMAGES)
            for severity in (1, 2):
                files.copy("fog", severity)
            files.sha256("fog")
        assert sorted(hashed) == (["fog.npy", "labels.npy"] if info is CIFAR else ["fog"])

    def test_unlisted_file(self, cifar):
        record_hashes(cifar, cifar)
        shutil.copy(cifar / "fog.npy", cifar / "snow.npy")
        refused(lambda: cifar_files(cifar).copy("snow", 1), "snow.npy' is not listed in SHA256SUMS")

    @pytest.mark.parametrize("content", [b"?", b"\xff\xfe"])
    def test_list_that_is_none(self, content, cifar):
        """A damaged list is not taken for a missing one."""
        (cifar / SUMS).write_bytes(content)
        refused(lambda: cifar_files(cifar), "SHA256SUMS' is not a list")

    def test_second_archive(self, tiny):
        """What a second archive adds is listed beside what the first one brought; nothing else is."""
        record_hashes(tiny, tiny)
        before = (tiny / SUMS).read_text()
        second = tiny.parent / "second" / tiny.name
        shutil.copytree(tiny / "fog", second / "spatter")
        shutil.copytree(tiny / "fog", tiny / "mine")
        record_hashes(second, tiny)
        fog = sha256sums.read_sums(tiny)["fog"]
        assert (second / SUMS).read_text() == f"{before}{fog}  spatter\n"

    def test_verify(self, cifar):
        """All files are read again: changed, missing and unlisted ones are each refused."""
        refused(lambda: verify("CIFAR-10-C", cifar.parent), "has no SHA256SUMS")
        record_hashes(cifar, cifar)
        verify("CIFAR-10-C", cifar.parent)
        flip(cifar / "frost.npy")
        refused(lambda: verify("CIFAR-10-C", cifar.parent), "frost.npy' is not what was unpacked")
        flip(cifar / "frost.npy")
        (cifar / "frost.npy").rename(cifar / "snow.npy")
        refused(lambda: verify("CIFAR-10-C", cifar.parent), "frost.npy' is missing")
        shutil.copy(cifar / "snow.npy", cifar / "frost.npy")
        refused(lambda: verify("CIFAR-10-C", cifar.parent), "snow.npy' is not listed")
        (cifar / "labels.npy").unlink()
        refused(lambda: verify("CIFAR-10-C", cifar.parent), "labels.npy' is missing")


class TestWhatIsThere:
    """Folders that are there or not."""

    @pytest.mark.parametrize(
        ("info", "names"),
        [
            (CIFAR10, ["cifar10-c"]),
            (CIFAR100, ["cifar100-c"]),
            (TINY_IMAGENET, ["tiny-imagenet-c", "tiny-imagenet-c-extra"]),
        ],
    )
    def test_missing_folder(self, info, names, tmp_path):
        """The folder, each archive with its md5, and the command are named."""
        for call in (lambda: official(info, tmp_path), lambda: verify(info.corruptions, tmp_path)):
            said = refused(call)
            assert f"'{tmp_path / info.corruptions}' is not there" in said
            get = f"python -m benchmark data get {' '.join(names)}"
            assert said.endswith(f"{get} --data-dir {tmp_path}")
            for name in names:
                assert f"{ARCHIVES[name].file} (md5 {ARCHIVES[name].md5})" in said

    def test_a_dataset_without(self, tmp_path):
        refused(lambda: official(DIGITS, tmp_path), "no published corrupted copies of Digits")
        (tmp_path / "Mine-C").mkdir()
        own = replace(DIGITS, corruptions="Mine-C")
        refused(lambda: official(own, tmp_path), "no published corrupted copies of Digits")

    def test_describe(self, cifar):
        """One line says how many there are and whether their hashes are known."""
        assert describe("CIFAR-100-C", cifar.parent) is None
        assert describe("CIFAR-10-C", cifar.parent) == "2 corruptions, no hashes on file"
        (cifar / "fog.npy").unlink()
        record_hashes(cifar, cifar)
        assert describe("CIFAR-10-C", cifar.parent) == "1 corruption, hashes on file"

    def test_real_files(self):
        """The published CIFAR-10-C has 19 corruptions of the test images in their order."""
        named = os.environ.get("BENCHMARK_DATA")
        folders = ("CIFAR-10-C", "cifar-10-batches-py")
        if named is None or not all((Path(named) / folder).is_dir() for folder in folders):
            pytest.skip(f"BENCHMARK_DATA names no folder that holds {' and '.join(folders)}")
        test = load("cifar10", Path(named)).test
        files = official(CIFAR10, Path(named), test.labels.numpy())
        assert len(files.names) == 19
        images, labels = files.copy("gaussian_noise", 1)
        np.testing.assert_array_equal(labels, test.labels.numpy())
        difference = images.astype(float) - test.images.numpy()
        assert np.abs(difference).mean() / 255 < 0.05  # sigma is 0.04; other images are 0.2 away
