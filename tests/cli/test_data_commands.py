"""`data list`, `get`, `import`, `accept` and `verify`, on tiny archives in place of the real ones."""

import dataclasses
import functools
import hashlib
import io
import os
import pickle
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archiving import tarred
from benchmark.data import LOADERS, cifar
from benchmark.data.cifar_batches import content_sha256
from benchmark.data.corruptions import published
from benchmark.data.corruptions.generator import OPERATIONS, corrupt
from benchmark.data.get import sha256sums
from benchmark.data.get.archives import ARCHIVES
from benchmark.data.get.download import hash_of
from benchmark.data.get.inventory import archived
from benchmark.data.info import CIFAR10, CIFAR100, DIGITS
from benchmark.errors import UserError
from benchmark.evaluation.corruptions import corruption_seed
from benchmark.progress import silent
from invoking import said

SIZES = {"train": 100, "test": 100}
FOLDER = "cifar-100-python"


@functools.cache
def batches(seed):
    """The files of a small CIFAR-100, and the content hash of each split."""
    generator, files, hashes = np.random.default_rng(seed), {}, []
    for name, size in SIZES.items():
        pixels = generator.integers(0, 256, (size, 3072), dtype=np.uint8)
        labels = generator.permutation(np.arange(size) % 100)
        batch = {"data": pixels, "fine_labels": labels.tolist()}
        files[f"{FOLDER}/{name}"] = pickle.dumps(batch, protocol=2)
        images = pixels.reshape(size, 3, 32, 32).transpose(0, 2, 3, 1)
        hashes.append(content_sha256(images, labels))
    return files, tuple(hashes)


def content_hash(seed):
    """The hash by which the content of `batches(seed)` is accepted."""
    return hashlib.sha256(" ".join(batches(seed)[1]).encode()).hexdigest()


def written(folder, seed, **more):
    """The folder of `batches(seed)` in `folder`, with other or more files in it."""
    files = batches(seed)[0] | {f"{FOLDER}/{name}": content for name, content in more.items()}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / FOLDER


@dataclasses.dataclass
class Place:
    """A data directory, a folder beside it, and the archives that stand in for the real ones."""

    data: Path
    beside: Path
    archives: dict[str, bytes]

    def __call__(self, command, *arguments):
        """Run a `data` command on the directory."""
        return said("data", command, *arguments, "--data-dir", self.data)

    def listed(self):
        """State and the rest of the line by name, as `data list` prints them."""
        lines = self("list").good().stdout.splitlines()
        split = [line.split(maxsplit=2) for line in lines if line[0] != " "]
        return {name: (state, rest) for name, state, rest in split}

    def elsewhere(self, packed, **more):
        """The folder CIFAR-10-C, moved out of the data, or an archive of it and of `more` files."""
        folder = shutil.move(self.data / "CIFAR-10-C", self.beside / "CIFAR-10-C")
        if not packed:
            return folder
        files = more | {path.name: path.read_bytes() for path in folder.glob("*.npy")}
        archive = self.beside / "mine.tar"
        archive.write_bytes(tarred({f"CIFAR-10-C/{name}": files[name] for name in files}))
        return archive

    def visible(self):
        """Every file that is not hidden, by its name."""
        files = {path.relative_to(self.data): path for path in self.data.rglob("*") if path.is_file()}
        return {name.as_posix(): files[name].read_bytes() for name in files if name.parts[0][0] != "."}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Small archives of CIFAR-100 and CIFAR-10-C, which a download brings; nothing else comes."""
    monkeypatch.setattr(cifar, "SIZES", SIZES)
    files, hashes = batches(0)
    monkeypatch.setitem(cifar.KNOWN_CONTENT, "cifar100", hashes)
    monkeypatch.setattr(published, "TEST_IMAGES", 10)
    arrays = {name: np.zeros((50, 32, 32, 3), np.uint8) for name in ("fog", "snow")}
    arrays["labels"] = np.tile(np.arange(10), 5)
    packed = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        packed[f"CIFAR-10-C/{name}.npy"] = buffer.getvalue()
    contents = {"cifar100": tarred(files), "cifar10-c": tarred(packed)}
    for name, content in contents.items():
        stand_in = dataclasses.replace(
            ARCHIVES[name], md5=hashlib.md5(content).hexdigest(), size=len(content)
        )
        monkeypatch.setitem(ARCHIVES, name, stand_in)

    def retrieve(url, known_hash, fname, path, downloader):
        found = [content for name, content in contents.items() if ARCHIVES[name].file == fname]
        if not found:
            raise OSError("no route")
        (path / fname).write_bytes(found[0])

    monkeypatch.setattr("pooch.retrieve", retrieve)
    beside = tmp_path / "beside"
    beside.mkdir()
    return Place(tmp_path / "data", beside, contents)


class TestList:
    """What is there."""

    def test_empty(self, place):
        """Every archive is missing, digits are embedded, and nothing is made."""
        listed = place.listed()
        assert list(listed) == ["digits", *ARCHIVES]
        assert listed.pop("digits")[0] == "embedded"
        assert {state for state, _ in listed.values()} == {"missing"}
        assert not place.data.exists()

    def test_hashes_sizes_and_places(self, place):
        """The lines below a name give folder, file, size and sum."""
        answer = place("list").stdout
        for archive in ARCHIVES.values():
            assert f"{place.data}/" in answer
            size = f"{archive.size:,} bytes" if archive.size else "size not known"
            assert f"archive {archive.file}, {size}, md5 {archive.md5}, not there" in answer

    def test_states(self, place):
        """Known content is present; unknown content and files without hashes are unverified."""
        place("get", "cifar100", "cifar10-c")
        listed = place.listed()
        assert listed["cifar100"][0] == listed["cifar10-c"][0] == "present"
        (place.data / "CIFAR-10-C" / "SHA256SUMS").unlink()
        (place.data / FOLDER / "test").write_bytes(b"damaged")
        listed = place.listed()
        assert listed["cifar100"][0] == listed["cifar10-c"][0] == "unverified"


class TestGet:
    """Download, verify, unpack."""

    def test_two_at_once_and_again(self, place, monkeypatch):
        """Both are there afterwards and load; a second time nothing is downloaded."""
        answer = place("get", "cifar100", "cifar10-c").good()
        assert [line.split(":")[0] for line in answer.stdout.splitlines()] == ["cifar100", "cifar10-c"]
        assert len(cifar.load(CIFAR100, place.data).train) == 100
        before = place.visible()
        names = {name.split("/")[0] for name in before}
        assert names == {"CIFAR-10-C", "CIFAR-10-C.tar", FOLDER, f"{FOLDER}.tar.gz"}
        monkeypatch.setattr("pooch.retrieve", None)
        again = place("get", "cifar100", "cifar10-c").good()
        assert again.stdout.count("already in") == 2
        assert place.visible() == before

    def test_a_lost_file_is_brought_back(self, place):
        """One corruption or batch that was deleted comes back from the archive."""
        place("get", "cifar100", "cifar10-c")
        before = place.visible()
        (place.data / "CIFAR-10-C" / "fog.npy").unlink()
        (place.data / FOLDER / "test").unlink()
        place("get", "cifar100", "cifar10-c").good()
        assert place.visible() == before

    def test_files_of_ones_own_are_not_listed_with_an_archives(self, place):
        """Nothing vouches for a corruption that was there before the archive came: that is said."""
        (folder := place.data / "CIFAR-10-C").mkdir(parents=True)
        np.save(folder / "frost.npy", np.zeros((50, 32, 32, 3), np.uint8))
        place("get", "cifar10-c").good()
        assert set(sha256sums.read_sums(folder)) == {"fog.npy", "labels.npy", "snow.npy"}
        (line,) = place("verify", "cifar10-c").errors(1)
        assert "frost.npy' is not listed in SHA256SUMS" in line

    def test_folders_of_pictures_are_not_mixed(self, tmp_path):
        """A corruption of more classes than the archive's is refused; a part of it is completed."""
        files = {f"Tiny-ImageNet-C/{name}/1/n01/a.JPEG": b"a" for name in ("brightness", "frost")}
        (archive := tmp_path / "mine.tar").write_bytes(tarred(files))
        entry, frost = archived("tiny-imagenet-c"), tmp_path / "data" / "Tiny-ImageNet-C" / "frost"
        (frost / "1" / "n02").mkdir(parents=True)
        (odd := frost / "1" / "n02" / "b.JPEG").write_bytes(b"b")
        with pytest.raises(UserError, match=rf"'{odd}' is not of the archive; move '{frost}' away"):
            entry.place(archive, tmp_path / "data", [], silent)
        assert [path for path in frost.rglob("*") if path.is_file()] == [odd]
        shutil.rmtree(odd.parent)
        entry.place(archive, tmp_path / "data", [], silent)
        assert entry.verify(tmp_path / "data") == "files as they were unpacked"

    def test_wrong_files_are_not_overwritten(self, place):
        """A damaged batch is told, and stays as it is."""
        place("get", "cifar100")
        (place.data / FOLDER / "test").write_bytes(b"damaged")
        before = place.visible()
        line = place("get", "cifar100").refusal
        assert f"'{place.data / FOLDER / 'test'}' is damaged" in line
        assert "move '" in line
        assert place.visible() == before

    @pytest.mark.parametrize("command", ["get", "verify", "import", "accept"])
    def test_names_that_are_none(self, place, command):
        """An unknown name lists the known ones; digits need nothing."""
        more = {"import": ["/"], "accept": ["0"]}.get(command, [])
        line = place(command, "imagenet", *more).refusal
        near = "close to it: tiny-imagenet, tiny-imagenet-c"
        assert line == f"unknown data 'imagenet'; {near}; known: {', '.join(ARCHIVES)}"
        assert "embedded" in place(command, "digits", *more).refusal


class TestImport:
    """Data from elsewhere."""

    @pytest.mark.parametrize("name", ["cifar100", "cifar10-c"])
    def test_the_official_archive(self, place, name):
        """It is unpacked from where it is and counts as verified."""
        path = place.beside / "renamed"
        path.write_bytes(place.archives[name])
        place("import", name, path).good()
        assert place.listed()[name][0] == "present"
        assert path.read_bytes() == place.archives[name]

    def test_another_archive_is_refused_until_accepted(self, place):
        """Found and expected sum are told; with the option the archive's content still counts."""
        content = tarred(batches(0)[0] | {f"{FOLDER}/more": b"more"})
        path = place.beside / "mine.tar.gz"
        path.write_bytes(content)
        line = place("import", "cifar100", path).refusal
        found = hashlib.md5(content).hexdigest()
        assert f"md5 found {found}, expected {ARCHIVES['cifar100'].md5}" in line
        flags = f"--data-dir {place.data} --accept-checksum {found}"
        assert line.endswith(f"data import cifar100 {path} {flags}")
        assert place.visible() == {}
        assert place("import", "cifar100", path, "--accept-checksum", "0" * 32).exit_code == 2
        answer = place("import", "cifar100", path, "--accept-checksum", found).good()
        assert "official content" in answer.stdout

    def test_the_commands_of_refusals_take_an_archive_of_another_content(self, place):
        """First its sum is to be confirmed, then what it holds: the second command confirms both."""
        path = place.beside / "mine.tar.gz"
        path.write_bytes(tarred(batches(1)[0]))
        command = ["import", "cifar100", path]
        for _ in range(2):
            command = place(*command).refusal.partition("python -m benchmark data ")[2].split()
        assert "accepted" in place(*command).good().stdout

    @pytest.mark.parametrize("inner", [FOLDER, ""], ids=["around", "itself"])
    def test_a_folder_of_the_official_content(self, place, inner):
        """Batches count by what they hold, and the folder itself or the one around it may be named."""
        written(place.beside, 0)
        place("import", "cifar100", place.beside / inner).good()
        assert len(cifar.load(CIFAR100, place.data).test) == 100
        note = "CIFAR-100: official content in files of another layout"
        assert place.listed()["cifar100"] == ("present", note)

    def test_what_lies_beside_the_folder_does_not_matter(self, place):
        """Links, and pictures of another dataset, in the folder around it."""
        written(place.beside, 0)
        (place.beside / "elsewhere").symlink_to(place.beside)
        for part in SIZES:
            (place.beside / "svhn" / part / "0").mkdir(parents=True)
            (place.beside / "svhn" / part / "0" / "1.png").write_bytes(b"no picture")
        place("import", "cifar100", place.beside).good()
        assert place.listed()["cifar100"][0] == "present"

    def test_a_folder_of_another_content_is_refused_until_accepted(self, place):
        """The content hash is told; accepted, the data load, and the copy carries the acceptance."""
        source, found = written(place.beside, 1), content_hash(1)
        line = place("import", "cifar100", source).refusal
        assert f"content hash found {found}" in line
        assert line.endswith(f"--accept-checksum {found}")
        assert place.visible() == {}
        answer = place("import", "cifar100", source, "--accept-checksum", found).good()
        assert "accepted" in answer.stdout
        assert len(cifar.load(CIFAR100, place.data).test) == 100
        assert not (source / cifar.ACCEPTED).exists()

    def test_an_acceptance_is_not_imported(self, place):
        """A note beside the batches in the source accepts nothing here."""
        note = f'{{"content_sha256": "{content_hash(1)}"}}'.encode()
        written(place.beside, 1, **{cifar.ACCEPTED: note})
        place("import", "cifar100", place.beside).errors()
        assert place.visible() == {}

    def test_damaged_batches_are_named_where_they_are(self, place):
        """The message names the source, not the passing copy of it."""
        source = written(place.beside, 0, test=b"damaged")
        line = place("import", "cifar100", source).refusal
        assert f"'{source / 'test'}' is damaged" in line
        assert str(place.data) not in line
        assert place.visible() == {}

    @pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
    def test_corruptions_from_elsewhere_need_their_hash(self, place, packed):
        """What is not the published archive is to be confirmed, and is never taken for it."""
        place("get", "cifar10-c")
        assert published.official(CIFAR10, place.data).verified
        source = place.elsewhere(packed, more=b"more")
        line = place("import", "cifar10-c", source).refusal
        found = line.rpartition(" ")[2]
        place("import", "cifar10-c", source, "--accept-checksum", found).good()
        assert place.listed()["cifar10-c"][0] == "present"
        place("verify", "cifar10-c").good()
        assert not published.official(CIFAR10, place.data).verified

    @pytest.mark.parametrize(
        ("name", "array", "told"),
        [
            ("fog", np.zeros((49, 32, 32, 3), np.uint8), "uint8 of shape (50, 32, 32, 3) is right"),
            ("snow", np.zeros((50, 32, 32, 3), np.float32), "uint8 of shape (50, 32, 32, 3) is right"),
            ("labels", np.zeros(50, np.int64), "1 of each are right"),
            ("labels", np.arange(50) % 11, "those of CIFAR-10 are from 0 to 9"),
        ],
        ids=["shape", "type", "one-class", "eleven-classes"],
    )
    @pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
    def test_an_accepted_hash_is_no_excuse_for_wrong_arrays(self, place, name, array, told, packed):
        """Shapes, types and labels are looked at before anything is in place."""
        place("get", "cifar10-c")
        np.save(place.data / "CIFAR-10-C" / f"{name}.npy", array)
        source = place.elsewhere(packed)
        found = hash_of(source, "md5") if packed else sha256sums.sha256_of(source)
        line = place("import", "cifar10-c", source, "--accept-checksum", found).refusal
        assert told in line
        assert str(source) in line
        assert not (place.data / "CIFAR-10-C").exists()

    @pytest.mark.parametrize("name", ["cifar100", "cifar10-c", "tiny-imagenet"])
    @pytest.mark.parametrize("kind", ["link", "loop", "device", "fifo"])
    def test_a_folder_with_what_is_no_file_is_refused(self, place, name, kind):
        """Links, even to plain files, and what never ends are named; nothing is read or in place."""
        odd = place.beside / "train" / "odd"
        odd.parent.mkdir()
        (place.beside / "wnids.txt").write_text("n01\n")
        if kind == "fifo":
            os.mkfifo(odd)
        else:
            odd.symlink_to(
                {"link": place.beside / "wnids.txt", "loop": odd, "device": "/dev/zero"}[kind]
            )
        line = place("import", name, place.beside, "--accept-checksum", "0" * 64).refusal
        assert f"'{odd}' is a link or a special file" in line
        assert place.visible() == {}
        assert "neither a plain file nor a folder" in place("import", name, "/dev/null").refusal

    @pytest.mark.parametrize("kind", ["png", "parquet"])
    def test_pictures_of_the_official_pixels(self, place, kind):
        """PNG files in folders by class, or rows of parquet, are known by their content."""
        for part, size in SIZES.items():
            batch = pickle.loads(batches(0)[0][f"{FOLDER}/{part}"])
            images = batch["data"].reshape(size, 3, 32, 32).transpose(0, 2, 3, 1)
            rows = []
            for row, (image, label) in enumerate(zip(images, batch["fine_labels"], strict=True)):
                Image.fromarray(image).save(content := io.BytesIO(), "PNG")
                path = place.beside / part / "some" / f"class{label:02}" / f"{row}.png"
                if kind == "png":
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content.getvalue())
                rows.append({"img": {"bytes": content.getvalue(), "path": None}, "fine_label": label})
            if kind == "parquet":
                pq = pytest.importorskip("pyarrow.parquet")
                table = pytest.importorskip("pyarrow").Table.from_pylist(rows)
                pq.write_table(table, place.beside / f"{part}-00000-of-00001.parquet")
        place("import", "cifar100", place.beside).good()
        note = "CIFAR-100: official content in files of another layout"
        assert place.listed()["cifar100"] == ("present", note)
        assert torch.equal(
            cifar.load(CIFAR100, place.data).test.images, torch.from_numpy(images.copy())
        )

    @pytest.mark.parametrize(
        ("damage", "told"),
        [
            ("pixel", "content hash found"),
            ("size", "32x32 are right"),
            ("cut", "cannot be decoded"),
            ("chunk", "cannot be decoded"),
            ("class", "101 folders"),
            ("parquet", "is damaged"),
            ("text", "has no columns of pictures"),
        ],
    )
    def test_pictures_of_another_content_are_refused(self, place, damage, told):
        """A changed pixel has another hash; what is no picture of the set is named."""
        self.test_pictures_of_the_official_pixels(place, "png")
        shutil.rmtree(place.data)
        path = next((place.beside / "test").rglob("*.png"))
        if damage == "pixel":
            image = np.array(Image.open(path))
            image[0, 0, 0] ^= 1
            Image.fromarray(image).save(path)
        elif damage == "size":
            Image.fromarray(np.zeros((31, 32, 3), np.uint8)).save(path)
        elif damage == "cut":
            path.write_bytes(path.read_bytes()[:-30])
        elif damage == "chunk":  # an empty colour profile
            profile = bytes(4) + b"iCCP" + zlib.crc32(b"iCCP").to_bytes(4, "big")
            path.write_bytes(path.read_bytes()[:-12] + profile + path.read_bytes()[-12:])
        elif damage == "class":
            path.parent.rename(path.parent.with_name("class0"))
            shutil.copytree(path.parent.with_name("class0"), path.parent)
        elif damage == "parquet":
            for part in SIZES:
                (place.beside / f"{part}.parquet").write_bytes(b"PAR1" * 9)
        else:
            pq = pytest.importorskip("pyarrow.parquet")
            rows = [{"img": {"bytes": "no picture"}, "fine_label": 0}]
            for part in SIZES:
                table = pytest.importorskip("pyarrow").Table.from_pylist(rows)
                pq.write_table(table, place.beside / f"{part}.parquet")
        assert told in place("import", "cifar100", place.beside).refusal
        assert place.visible() == {}

    def test_parquet_needs_an_extra(self, place, monkeypatch):
        """Without pyarrow one line names what installs it in any folder."""
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        for part in SIZES:
            (place.beside / f"{part}.parquet").touch()
        line = place("import", "cifar100", place.beside).refusal
        assert "needs pyarrow; `pip install 'rift-benchmark[parquet]'`" in line

    def test_what_is_there_is_not_replaced(self, place):
        """Importing over something, right or wrong, is refused."""
        place("get", "cifar100")
        written(place.beside, 0)
        assert "already" in place("import", "cifar100", place.beside).refusal
        (place.data / FOLDER / "test").write_bytes(b"damaged")
        before = place.visible()
        assert "is damaged" in place("import", "cifar100", place.beside).refusal
        assert place.visible() == before

    def test_what_mends_a_set_is_done_in_the_same_folder(self, place):
        """The command in a refusal names the data folder, never the passing one of an import."""
        place("get", "cifar10-c")
        get = f"data get cifar10-c --data-dir {place.data}"
        shutil.copytree(place.data / "CIFAR-10-C", source := place.beside / "CIFAR-10-C")
        (place.data / "CIFAR-10-C" / "fog.npy").write_bytes(b"damaged")
        assert place("verify", "cifar10-c").errors(1)[0].endswith(get)
        shutil.rmtree(place.data / "CIFAR-10-C")
        (source / "labels.npy").unlink()
        assert place("import", "cifar10-c", source).refusal.endswith(get)

    def test_a_path_without_data(self, place):
        """What is not there is named, with what would be right; an empty folder is not a dataset."""
        line = place("import", "cifar100", place.beside / "none").refusal
        assert str(place.beside / "none") in line
        assert "cifar-100-python.tar.gz" in line
        line = place("import", "cifar100", place.beside).refusal
        assert line == f"'{place.beside}' does not hold every batch of CIFAR-100"


class TestAccept:
    """CIFAR files that are in place already."""

    def test_only_the_content_that_is_there(self, place):
        """Another hash is refused; the right one makes the data load."""
        written(place.data, 1)
        found = content_hash(1)
        assert found in place("accept", "cifar100", "0" * 64).refusal
        assert place.listed()["cifar100"][0] == "unverified"
        place("accept", "cifar100", found).good()
        assert place.listed()["cifar100"][0] == "present"

    def test_only_cifar(self, place):
        """Nothing else is accepted in place, nor what is not there."""
        assert "only cifar10 and cifar100" in place("accept", "cifar10-c", "0" * 64).refusal
        assert "is not complete" in place("accept", "cifar100", "0" * 64).refusal


class TestVerify:
    """Reading everything again."""

    def test_nothing_there(self, place):
        """An empty directory is all right, unless something is asked for."""
        answer = place("verify").good()
        assert answer.stdout == ""
        assert "nothing to verify" in answer.stderr
        assert place("verify", "cifar100").errors(1) == [f"cifar100 is not in '{place.data}'"]

    def test_a_tree_that_is_not_decoded_is_there(self, place):
        """Nothing is known of its pictures yet; that is no damage."""
        (tree := place.data / "tiny-imagenet-200").mkdir(parents=True)
        (tree / "wnids.txt").touch()
        answer = place("verify", "tiny-imagenet").good()
        assert answer.stdout == "tiny-imagenet: not decoded yet; the first use does that\n"

    def test_all_is_well(self, place):
        """Archives and what they gave are each a line."""
        place("get", "cifar100", "cifar10-c")
        answer = place("verify").good()
        assert [line.split(": ")[0] for line in answer.stdout.splitlines()] == [
            str(place.data / "cifar-100-python.tar.gz"),
            "cifar100",
            str(place.data / "CIFAR-10-C.tar"),
            "cifar10-c",
        ]

    def test_each_damage_is_a_line(self, place):
        """Flipped bytes in an archive, a batch and a corruption are all told, with exit code 1."""
        place("get", "cifar100", "cifar10-c")
        damaged = [
            place.data / "cifar-100-python.tar.gz",
            place.data / FOLDER / "train",
            place.data / "CIFAR-10-C" / "fog.npy",
        ]
        for path in damaged:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        lines = place("verify").errors(1)
        named = (damaged[0], damaged[1].parent, damaged[2])
        assert all(str(path) in line for path, line in zip(named, lines, strict=True))
        assert "CIFAR-10-C.tar: official archive" in place("verify").stdout


def test_progress_is_plain_lines_without_a_terminal(place, monkeypatch):
    """A download that a log follows says how far it got, on standard error."""
    content = place.archives["cifar100"]

    def retrieve(url, known_hash, fname, path, downloader):
        downloader.progressbar.total = len(content)
        for _ in range(10):
            downloader.progressbar.update(len(content) // 10 + 1)
        (path / fname).write_bytes(content)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    answer = place("get", "cifar100").good()
    begun, ended = (line.partition("] ")[2] for line in answer.stderr.splitlines())
    assert begun.startswith("cifar-100-python.tar.gz 0.1/")
    size = f"{len(content) / 1e6:,.1f}"
    assert ended == f"cifar-100-python.tar.gz {size}/{size} MB, www.cs.toronto.edu"


class TestGenerate:
    """`data generate`: corrupted copies on disk."""

    def test_files_are_those_of_the_generator(self, tmp_path, digits, monkeypatch):
        """Every corruption of the test set is there, and its bytes are the generator's."""
        few = dataclasses.replace(digits, test=digits.test.first(50))
        monkeypatch.setitem(LOADERS, "digits", lambda _: few)
        answer = said("data", "generate", "digits", "--threads", "1", "--data-dir", tmp_path).good()
        folder = tmp_path / "gen-v2" / "digits"
        assert {path.stem for path in folder.glob("*.npy")} == set(OPERATIONS)
        images, seed = few.test.images.numpy(), corruption_seed(DIGITS)
        made = corrupt(images, "fog", 4, seed=seed, ids=np.arange(50, dtype=np.int64))
        assert np.array_equal(np.load(folder / "fog.npy")[150:200], made)
        assert "19 corruptions of 50 images" in answer.stdout

    def test_unknown_dataset_is_refused(self, tmp_path):
        """The known ones are listed."""
        message = "unknown dataset 'mnist'; known: digits, cifar10, cifar100, tiny-imagenet"
        assert said("data", "generate", "mnist", "--data-dir", tmp_path).refusal == message
