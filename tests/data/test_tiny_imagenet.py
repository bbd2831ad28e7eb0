"""Tiny-ImageNet: labels and order against torchvision's ImageFolder, the cache, and damaged files."""

import hashlib
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from benchmark.data import jpegs, tiny_imagenet
from benchmark.data import load as load_dataset
from benchmark.data.get.archives import ARCHIVES
from benchmark.data.hold_out import HoldOut, splits
from benchmark.data.info import TINY_IMAGENET
from benchmark.data.tiny_imagenet import FILES, class_names, load, prepare, present
from benchmark.data.tiny_imagenet_source import Layout
from benchmark.errors import UserError

WNIDS = ("n03", "n01", "n02")  # as in the published file, not sorted
LAYOUT = Layout(classes=3, train_per_class=12, test_per_class=4, side=8)
CACHE = "tiny-imagenet-cache"
ANNOTATIONS = "val/val_annotations.txt"


def write_jpeg(path, seed, mode="RGB", side=8):
    """A picture of noise of its own."""
    shape = (side, side) if mode == "L" else (side, side, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG")


def decoded(path):
    """RGB values by Pillow's own words."""
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))


@pytest.fixture
def tree(tmp_path):
    """An unpacked set of three classes, as the published one is laid out."""
    root = tmp_path / "data" / "tiny-imagenet-200"
    for number, wnid in enumerate(WNIDS):
        for k in range(12):
            write_jpeg(root / "train" / wnid / "images" / f"{wnid}_{k}.JPEG", 100 * number + k)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t7\t7\n")
    labels = [WNIDS[(5 * k) % 3] for k in range(12)]
    lines = []
    for k, wnid in enumerate(labels):
        write_jpeg(root / "val" / "images" / f"val_{k}.JPEG", 1000 + k)
        lines.append(f"val_{k}.JPEG\t{wnid}\t0\t1\t6\t7\n")
    (root / ANNOTATIONS).write_text("".join(reversed(lines)))  # no order is meant
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS))
    write_jpeg(root / "test" / "images" / "test_0.JPEG", 2000)
    return root


@pytest.fixture
def data(tree):
    """The data folder that `tree` lies in."""
    return tree.parent


@pytest.fixture
def publish(monkeypatch):
    """A function that makes a zip of a folder's parent the one whose md5 is published."""

    def make(tree):
        file = Path(shutil.make_archive(str(tree), "zip", tree.parent, tree.name))
        declare(monkeypatch, file)
        return file

    return make


def declare(monkeypatch, file):
    """Let the content of `file` be the published one."""
    about = {"md5": hashlib.md5(file.read_bytes()).hexdigest(), "size": file.stat().st_size}
    monkeypatch.setitem(ARCHIVES, "tiny-imagenet", replace(ARCHIVES["tiny-imagenet"], **about))


def same(one, other):
    """Whether two datasets have the same images and labels in the same order."""
    pairs = ((one.train, other.train), (one.test, other.test))
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in pairs)


def origin(data):
    """What the manifest says that the cache was made from."""
    manifest = json.loads((data / CACHE / "manifest.json").read_text())
    return manifest["source"], manifest["md5"]


def refused(data, match):
    """Check that loading fails with one line that says `match`, and leaves no cache."""
    with pytest.raises(UserError, match=match) as error:
        load(data, LAYOUT)
    assert "\n" not in str(error.value)
    assert not [path.name for path in data.iterdir() if "cache" in path.name and path.is_dir()]


class TestContent:
    """Which image is where and of which class."""

    def test_the_published_numbers(self):
        layout = tiny_imagenet.OFFICIAL
        assert (layout.classes, layout.side) == (TINY_IMAGENET.classes, TINY_IMAGENET.side)
        per_class = layout.train_per_class, layout.test_per_class
        assert (layout.classes, *per_class) == (200, 500, 50)

    def test_training_part_is_image_folders(self, tree, data):
        """Numbers of classes, order within a class and pixels are those of torchvision's ImageFolder on
        train/; classes take turns."""
        folder = ImageFolder(tree / "train")
        train = load(data, LAYOUT).train
        samples = [folder.samples[12 * label + k] for k in range(12) for label in range(3)]
        assert train.labels.tolist() == [label for _, label in samples]
        pixels = np.stack([decoded(path) for path, _ in samples])
        np.testing.assert_array_equal(train.images.numpy(), pixels)
        assert dict(zip(class_names(data), range(3), strict=True)) == folder.class_to_idx

    def test_the_first_images_are_of_all_classes(self, data):
        """Criticality and choices at small scales are of the first training or held-out images."""
        loaded = load(data, LAYOUT)
        assert set(loaded.train.first(3).labels.tolist()) == {0, 1, 2}
        held_out = splits(loaded, HoldOut(0.25)).selection  # three images of each class
        assert len(held_out) == 9 and len(set(held_out.first(6).labels.tolist())) == 3

    def test_test_part_is_as_annotated(self, tree, data):
        """Image k is val_k.JPEG, and its class the annotated one by ImageFolder's numbers of train/."""
        numbers = ImageFolder(tree / "train").class_to_idx
        annotated = dict(line.split("\t")[:2] for line in (tree / ANNOTATIONS).read_text().splitlines())
        test = load(data, LAYOUT).test
        for k in range(12):
            pixels = decoded(tree / "val" / "images" / f"val_{k}.JPEG")
            np.testing.assert_array_equal(test.images[k].numpy(), pixels)
            assert test.labels[k] == numbers[annotated[f"val_{k}.JPEG"]]
        assert (test.images.dtype, test.labels.dtype) == (torch.uint8, torch.int64)
        test.images[0], test.labels[0] = 0, 0  # both can be written to

    @pytest.mark.parametrize("inner", ["images", ""], ids=["with-images-folder", "flat"])
    def test_reorganised_val(self, tree, data, inner):
        """A val/ that was sorted into classes for ImageFolder gives the same as the published one.

        What file managers leave in folders is passed over.
        """
        before = load(data, LAYOUT)
        shutil.rmtree(data / CACHE)
        for line in (tree / ANNOTATIONS).read_text().splitlines():
            file, wnid, *_ = line.split("\t")
            move(f"val/images/{file}", f"val/{wnid}/{inner}/{file}")(tree)
        for folder in ("train", "train/n01/images", "val/images"):
            (tree / folder / ".DS_Store").write_bytes(b"\0")
            (tree / folder / "._n01_0.JPEG").write_bytes(b"\0")
        assert same(load(data, LAYOUT), before)

    def test_zip_and_tree_are_the_same(self, tree, data, publish):
        """The zip gives the same as its unpacked folder, and the manifest says which it was."""
        unpacked = load(data, LAYOUT)
        assert origin(data) == ("tree", None)
        shutil.rmtree(data / CACHE)
        file = publish(tree)
        assert same(load(data, LAYOUT), unpacked)
        assert origin(data) == ("zip", hashlib.md5(file.read_bytes()).hexdigest())

    def test_grey_picture(self, tree, data):
        path = tree / "train" / "n01" / "images" / "n01_0.JPEG"
        write_jpeg(path, 5, mode="L")
        with Image.open(path) as picture:
            assert picture.mode == "L"
            grey = np.array(picture)
        first = load(data, LAYOUT).train.images[0].numpy()
        np.testing.assert_array_equal(first, np.stack([grey] * 3, axis=2))


def edit(name, change):
    """A change of the bytes of the file `name`."""
    return lambda tree: (tree / name).write_bytes(change((tree / name).read_bytes()))


def rewrite(name, old, new):
    """A change of the text file `name`."""
    return edit(name, lambda text: text.replace(old.encode(), new.encode(), 1))


def move(name, target):
    """Moves a file."""

    def change(tree):
        (tree / target).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).rename(tree / target)

    return change


def png(_jpeg):
    """A PNG file, as some people rename them."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


FIRST, VAL = "train/n01/images/n01_0.JPEG", "val/images/val_3.JPEG"
WRONG = {
    "a class twice": (rewrite("wnids.txt", "n02\n", "n01\n"), "3 entries, 2 of them different"),
    "another class": (rewrite("wnids.txt", "n02\n", "n09\n"), "train/n02 .* not a class of wnids"),
    "not text": (edit("wnids.txt", lambda _: b"\xff\n"), "wnids.txt .* not plain text"),
    "a training image missing": (move(FIRST, "gone"), "train/n01/images .* 11 images, not 12"),
    "a training image of another class": (
        move(FIRST, "train/n01/images/n02_99.JPEG"),
        "n02_99.JPEG .* not of that class",
    ),
    "no annotations": (move(ANNOTATIONS, "gone"), "no val/val_annotations.txt"),
    "an unknown class annotated": (
        rewrite(ANNOTATIONS, "val_4.JPEG\tn02", "val_4.JPEG\tn77"),
        "line 8 of .* names 'n77'",
    ),
    "an image annotated twice": (
        rewrite(ANNOTATIONS, "val_4.JPEG", "val_3.JPEG"),
        "line 9 of .* val_3.JPEG a second time",
    ),
    "an image not annotated": (
        rewrite(ANNOTATIONS, "val_3.JPEG\tn03\t0\t1\t6\t7\n", ""),
        "names 3 images of n03; 4 are right",
    ),
    "annotations without tabs": (
        rewrite(ANNOTATIONS, "val_0.JPEG\tn03\t0\t1\t6\t7", "val_0.JPEG n03"),
        "line 12 of .* tab",
    ),
    "a test image in another class": (
        move(VAL, "val/n01/val_3.JPEG"),
        "val_3.JPEG .* neither in val/images nor in val/n03",
    ),
    "an image cut off": (edit(VAL, lambda jpeg: jpeg[:-20]), f"'{VAL}' cannot be decoded .*truncated"),
    "another format": (edit(VAL, png), f"'{VAL}' cannot be decoded .*not a JPEG"),
    "another size": (
        lambda tree: write_jpeg(tree / FIRST, 0, side=9),
        f"'{FIRST}' has 9x9 pixels; 8x8 are right",
    ),
}


class TestWrongSource:
    """What is not the published set is refused in one line, and leaves no cache."""

    @pytest.mark.parametrize("name", WRONG)
    def test_wrong_tree(self, name, tree, data):
        change, match = WRONG[name]
        change(tree)
        refused(data, match)

    def test_wrong_zip(self, tree, data, publish):
        """A zip is looked at as closely as a folder."""
        change, match = WRONG["another size"]
        change(tree)
        publish(tree)
        refused(data, match)

    def test_truncated_zip(self, tree, data, publish, monkeypatch):
        """Refused by its name, though the folder is there too; so is one of the right md5."""
        file = publish(tree)
        file.write_bytes(file.read_bytes()[:-100])
        refused(data, r"tiny-imagenet-200\.zip' is truncated")
        declare(monkeypatch, file)
        refused(data, "not a whole zip")

    def test_wrong_md5_is_found_first(self, tree, data, publish, monkeypatch):
        file = publish(tree)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        monkeypatch.setattr(jpegs, "decode", lambda *_: pytest.fail("decoded"))
        refused(data, "md5")

    def test_another_md5_can_be_accepted(self, tree, tmp_path):
        file = Path(shutil.make_archive(str(tmp_path / "mine"), "zip", tree.parent, tree.name))
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        folder = tmp_path / "accepted"
        folder.mkdir()
        with pytest.raises(UserError, match=r"mine\.zip'"):
            tiny_imagenet.prepare(file, folder, LAYOUT, accepted=["0" * 32])
        assert not tiny_imagenet.present(folder)
        tiny_imagenet.prepare(file, folder, LAYOUT, accepted=[md5])
        assert origin(folder) == ("zip", md5)

    def test_damaged_member(self, data, publish, tree, monkeypatch):
        file = publish(tree)
        content = file.read_bytes()
        at = content.index(f"tiny-imagenet-200/{FIRST}".encode()) + 200
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        declare(monkeypatch, file)
        refused(data, f"cannot read '{FIRST}' in")


class TestCache:
    """Decoded once, whole or not there, and checked by hash."""

    def test_files_are_plain_arrays(self, tree, data):
        """numpy reads the files as they were loaded, and their hashes are those of the manifest.

        Neither zip nor folder is looked at again, by loading or by preparing a second time.
        """
        loaded = load(data, LAYOUT)
        hashes = json.loads((data / CACHE / "manifest.json").read_text())["sha256"]
        assert set(hashes) == set(FILES)
        for name in FILES:
            path, (part, what) = data / CACHE / name, name.removesuffix(".npy").split("_")
            array = np.load(path, allow_pickle=False)
            np.testing.assert_array_equal(array, getattr(getattr(loaded, part), what).numpy())
            assert hashlib.sha256(path.read_bytes()).hexdigest() == hashes[name]
        before = {path.name: path.stat().st_mtime_ns for path in (data / CACHE).iterdir()}
        (tree / "wnids.txt").unlink()
        prepare(tree, data, LAYOUT)
        shutil.rmtree(tree)
        assert same(load(data, LAYOUT), loaded)
        assert {path.name: path.stat().st_mtime_ns for path in (data / CACHE).iterdir()} == before

    def test_blocks_do_not_matter(self, data, monkeypatch):
        before = load(data, LAYOUT)
        monkeypatch.setattr(tiny_imagenet, "BLOCK", 7)
        shutil.rmtree(data / CACHE)
        assert same(load(data, LAYOUT), before)

    @pytest.mark.parametrize("nth", [1, 5])
    def test_interrupted(self, nth, tree, data, monkeypatch):
        """Stopped on the way, it leaves nothing that looks whole, and the next call succeeds."""
        calls, real = [], tiny_imagenet.decode_all

        def stopping(*arguments):
            calls.append(arguments)
            if len(calls) == nth:
                raise KeyboardInterrupt
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(tiny_imagenet, "BLOCK", 10)
            patch.setattr(tiny_imagenet, "decode_all", stopping)
            with pytest.raises(KeyboardInterrupt):
                load(data, LAYOUT)
        assert len(calls) == nth
        assert not [path for path in data.iterdir() if path.is_dir() and path != tree]
        load(data, LAYOUT)
        assert (data / CACHE / "manifest.json").is_file()

    def test_killed(self, data):
        """What a killed process left beside the cache is not used, and is cleared away."""
        left = data / f".{CACHE}.part"
        left.mkdir()
        (left / FILES[0]).write_bytes(b"half")
        load(data, LAYOUT)
        assert not left.exists()

    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("at", [0, 20, -1, "shorter", "longer"])
    def test_changed_file(self, name, at, data):
        """One wrong bit, in the header or in the array, or another length is found and named."""
        load(data, LAYOUT)
        path = data / CACHE / name
        content = bytearray(path.read_bytes())
        if isinstance(at, int):
            content[at] ^= 1
        else:
            content = content[:-1] if at == "shorter" else content + b"\0"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}' is damaged; delete the folder '.*{CACHE}'"):
            load(data, LAYOUT)

    def test_objects_are_not_unpickled(self, data):
        """A cache file of Python objects is refused, even with its own hash in the manifest."""
        load(data, LAYOUT)
        path, manifest = data / CACHE / FILES[3], data / CACHE / "manifest.json"
        old = hashlib.sha256(path.read_bytes()).hexdigest()
        np.save(path, np.array([print] * 12, dtype=object), allow_pickle=True)
        new = hashlib.sha256(path.read_bytes()).hexdigest()
        manifest.write_text(manifest.read_text().replace(old, new))
        with pytest.raises(UserError, match=f"{FILES[3]}' is damaged"):
            load(data, LAYOUT)

    @pytest.mark.parametrize("change", [{"schema_version": 1}, {"sha256": {}}, {"more": 1}])
    def test_another_manifest(self, change, data):
        """One of an earlier version, whose images lay class by class, or of other fields is refused."""
        load(data, LAYOUT)
        manifest = data / CACHE / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
        with pytest.raises(UserError, match=r"manifest.json' is damaged; delete the folder"):
            load(data, LAYOUT)

    @pytest.mark.parametrize("name", [FILES[0], "manifest.json"])
    def test_incomplete_cache_is_made_anew(self, name, data):
        before = load(data, LAYOUT)
        (data / CACHE / name).unlink()
        assert same(load(data, LAYOUT), before)

    def test_progress(self, tree, data, monkeypatch):
        """The images done are reported up to the last one of each part."""
        monkeypatch.setattr(tiny_imagenet, "BLOCK", 10)
        seen = []
        prepare(tree, data, LAYOUT, progress=lambda *told: seen.append(told[1:3]))
        assert seen == [(10, 36), (20, 36), (30, 36), (36, 36), (10, 12), (12, 12)]


class TestWhere:
    """Which of several sources is used."""

    def test_present(self, tree, data, publish):
        assert present(data)
        file = publish(tree)
        shutil.rmtree(tree)
        assert present(data)
        load(data, LAYOUT)
        file.unlink()
        assert present(data)
        (data / CACHE / FILES[0]).unlink()
        assert not present(data)
        assert class_names(data) is None

    def test_zip_before_tree(self, tree, data, publish):
        publish(tree)
        (tree / "wnids.txt").write_text("")
        load(data, LAYOUT)
        assert class_names(data) == tuple(sorted(WNIDS))

    def test_download(self, tree, tmp_path, publish, monkeypatch):
        file, empty, asked = publish(tree), tmp_path / "empty", []

        def fetch(archive, directory, **_):
            asked.append((archive.name, directory))
            directory.mkdir()
            return Path(shutil.copy(file, directory))

        monkeypatch.setattr("benchmark.data.get.download.fetch", fetch)
        assert not present(empty)
        loaded = load(empty, LAYOUT)
        assert asked == [("tiny-imagenet", empty)]
        assert same(loaded, load(tree.parent, LAYOUT))

    def test_real_set(self):
        """The decoded published set has 100,000 and 10,000 images of 200 equal classes."""
        named = os.environ.get("BENCHMARK_DATA")
        if named is None or not (Path(named) / CACHE / "manifest.json").is_file():
            pytest.skip(f"BENCHMARK_DATA names no folder that holds {CACHE}")
        data = load_dataset("tiny-imagenet", Path(named))
        for split, count in ((data.train, 100_000), (data.test, 10_000)):
            assert split.images.shape == (count, 64, 64, 3)
            assert torch.bincount(split.labels).tolist() == [count // 200] * 200
