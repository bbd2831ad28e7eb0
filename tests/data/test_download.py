"""Fetching and unpacking archives: mirrors, damage, kills, and members that mean harm."""

import errno
import hashlib
import os
import shutil
import tarfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archiving import tarred
from benchmark.data.get.archives import Archive
from benchmark.data.get.download import fetch, settle, writing
from benchmark.data.get.unpack import unpack
from benchmark.errors import UserError
from invoking import refused
from torturing import forked

FILES = {"set/a.txt": b"first", "set/deep/b.bin": bytes(range(256)) * 40}


def archive_of(content, file="set.tar.gz", urls=("http://127.0.0.1:9/set.tar.gz",), size=None):
    """An archive whose right bytes are `content`."""
    return Archive("set", file, "A set", hashlib.md5(content).hexdigest(), size, tuple(urls), "set")


def tree(folder):
    """Every file under `folder` that is not hidden, by its relative name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    }


@pytest.fixture
def full_disk(monkeypatch):
    """Five bytes are free."""
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 5, 5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


@pytest.fixture
def forbidden(monkeypatch):
    """Nothing is to be downloaded."""
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("a download"))


class TestFetch:
    """Mirrors and what they may send."""

    def test_first_mirror_that_has_the_file_is_used(self, serve, tmp_path):
        content = tarred(FILES)
        urls = [
            serve("/gone", b"", status=404),
            serve("/other", b"another file"),
            serve("/cut", content[:100], length=len(content)),
            serve("/good", content),
            serve("/spare", content),
        ]
        path = fetch(archive_of(content, urls=urls), tmp_path / "data")
        assert path == tmp_path / "data" / "set.tar.gz"
        assert path.read_bytes() == content
        assert serve.asked == ["/gone", "/other", "/cut", "/good"]
        assert tree(tmp_path / "data") == {"set.tar.gz": content}
        assert not list((tmp_path / "data").glob(".*.part"))

    def test_all_mirrors_fail(self, serve, tmp_path):
        """One line gives every address with its reason, the sum, and the place for the file."""
        content = tarred(FILES)
        urls = [
            serve("/gone", b"", status=404),
            serve("/broken", b"", status=503),
            serve("/other", b"another file"),
            serve("/cut", content[:100], length=len(content)),
            "http://127.0.0.1:9/closed",
        ]
        wanted = archive_of(content, urls=urls)
        message = refused(lambda: fetch(wanted, tmp_path))
        reasons = ("404 ", "503 ", "MD5 hash of downloaded file", "", "")
        for url, reason in zip(urls, reasons, strict=True):
            assert f"{url}: {reason}" in message
        assert f"md5 {wanted.md5}" in message
        assert f"'{tmp_path / 'set.tar.gz'}' by hand" in message
        assert tree(tmp_path) == {}

    def test_progress_reaches_the_total(self, serve, tmp_path):
        """Bytes only rise, up to the file's length; the mirror is named."""
        content = os.urandom(3_000_000)
        told = []
        url = serve("/big", content)
        fetch(archive_of(content, urls=[url]), tmp_path, progress=lambda *what: told.append(what))
        stages, done, totals, mirrors = zip(*told, strict=True)
        assert (set(stages), set(totals)) == ({"set.tar.gz"}, {3_000_000})
        assert set(mirrors) == {url.split("/")[2]}
        assert list(done) == sorted(done)
        assert len(done) > 2
        assert done[-1] == 3_000_000

    def test_file_that_is_there_is_verified_and_not_downloaded(self, tmp_path, forbidden):
        content = tarred(FILES)
        wanted, path = archive_of(content, size=len(content)), tmp_path / "set.tar.gz"
        path.write_bytes(content)
        assert fetch(wanted, tmp_path) == path
        path.write_bytes(content[:-7])
        refused(lambda: fetch(wanted, tmp_path), f"truncated: expected {len(content)} bytes, found ")
        changed = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes(changed)
        sums = f"expected md5 {wanted.md5}, found {hashlib.md5(changed).hexdigest()}"
        refused(lambda: fetch(wanted, tmp_path), sums)
        assert path.read_bytes() == changed

    def test_another_process_was_faster(self, serve, tmp_path):
        content = tarred(FILES)
        wanted = archive_of(content, urls=[serve("/set", content)])
        with ThreadPoolExecutor(4) as pool:
            calling = [pool.submit(fetch, wanted, tmp_path) for _ in range(4)]
        assert [call.result() for call in calling] == [tmp_path / "set.tar.gz"] * 4
        assert serve.asked == ["/set"]

    def test_kill_leaves_a_part_only_and_the_next_call_succeeds(self, serve, tmp_path):
        """A process that ends amid a download leaves no file of the archive's name."""
        content = tarred(FILES)
        wanted = archive_of(content, urls=[serve("/set", content)])
        child = forked(lambda: fetch(wanted, tmp_path, progress=lambda *told: os._exit(9)))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert tree(tmp_path) == {}
        assert [path.name for path in tmp_path.glob(".*.part")] == [".set.tar.gz.part"]
        path = fetch(wanted, tmp_path)
        assert path.read_bytes() == content
        assert not list(tmp_path.glob(".*.part"))

    @pytest.mark.parametrize("known", [True, False], ids=["size-listed", "size-sent"])
    def test_a_full_disk_is_told_before_the_download(self, serve, tmp_path, full_disk, known):
        """A file larger than the free space is refused, whether its size is listed or sent."""
        content = tarred(FILES)
        urls, size = [serve("/set", content)], len(content) if known else None
        wanted = archive_of(content, urls=urls, size=size)
        with pytest.raises(UserError, match=r"set\.tar\.gz needs 0\.0 GB and .* 0\.0 GB free"):
            fetch(wanted, tmp_path)  # what is raised holds the connection, and is not to be kept
        assert serve.asked == ([] if known else ["/set"])
        assert tree(tmp_path) == {}

    def test_a_folder_that_is_a_file(self, tmp_path, forbidden):
        (tmp_path / "data").write_text("")
        refused(lambda: fetch(archive_of(b"x"), tmp_path / "data"), "--data-dir")


@pytest.fixture(params=["w", "w:gz"], ids=["tar", "tar.gz"])
def put(request, tmp_path):
    """A function that packs files, or a share of the packed bytes: the archive, its path, and an empty
    data directory."""

    def put(files, share=1.0):
        content, path, data = tarred(files, request.param), tmp_path / "set.tar.gz", tmp_path / "data"
        path.write_bytes(content[: int(share * len(content))])
        data.mkdir()
        return archive_of(content), path, data

    return put


class TestUnpack:
    """The same for every kind of archive."""

    @pytest.mark.parametrize("top", ["set/", "", "Other-Name/"])
    def test_folder_gets_its_name(self, put, top):
        """Whatever an archive calls its folder, and if it has none, the content is in `gives`."""
        named = {top + name.removeprefix("set/"): content for name, content in FILES.items()}
        wanted, path, data = put(named)
        unpack(wanted, path, data)
        assert tree(data) == FILES
        assert not list(data.glob(".*.part"))

    def test_other_files_in_the_folder_stay(self, put):
        """Unpacking again mends what is damaged or lost, and leaves alone what is not of it."""
        wanted, path, data = put(FILES)
        unpack(wanted, path, data)
        (data / "set/deep/b.bin").write_bytes(b"damaged")
        (data / "set/a.txt").unlink()
        (data / "set/deep/mine").write_bytes(b"mine")
        unpack(wanted, path, data)
        assert tree(data) == FILES | {"set/deep/mine": b"mine"}

    @pytest.mark.parametrize("share", [0.0, 0.7])
    def test_truncated_file(self, put, share):
        wanted, path, data = put(FILES | {"set/noise": os.urandom(50_000)}, share)
        refused(lambda: unpack(wanted, path, data), f"'{path}' is not a whole tar file")
        assert tree(data) == {}
        assert not list(data.glob(".*.part"))

    @pytest.mark.parametrize("name", ["../evil", "set/../../evil"])
    def test_members_that_lead_out_are_refused(self, put, tmp_path, name):
        """A path out of the folder is refused, and the members before it are not put in place."""
        wanted, path, data = put(FILES | {name: b"evil"})
        refused(lambda: unpack(wanted, path, data), "evil")
        assert tree(data) == {}
        assert not list(tmp_path.rglob("evil"))

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    def test_links_and_pipes_are_refused(self, put, kind):
        """Members that are no files or folders are refused, wherever they lead."""
        link = tarfile.TarInfo("set/link")
        link.type, link.linkname = kind, "a.txt"
        wanted, path, data = put(FILES | {"set/link": link})
        refused(lambda: unpack(wanted, path, data), "'set/link' is a link")
        assert tree(data) == {}

    def test_what_a_kill_left_is_cleared(self, put):
        wanted, path, data = put(FILES)
        part = data / ".set.tar.gz.part"
        (part / "set").mkdir(parents=True)
        (part / "set" / "half").write_bytes(b"half")
        unpack(wanted, path, data)
        assert tree(data) == FILES
        assert not part.exists()

    def test_too_little_room(self, put, full_disk):
        wanted, path, data = put(FILES)
        refused(lambda: unpack(wanted, path, data), "free; make room")
        assert tree(data) == {}


def test_settle_into_a_new_place_is_one_rename(tmp_path, monkeypatch):
    """A folder whose target is new is moved as a whole, so that no kill can leave half of it."""
    moves = []
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda self, target: (moves.append(self), replace(self, target))
    )
    (tmp_path / "from" / "deep").mkdir(parents=True)
    (tmp_path / "from" / "deep" / "file").write_bytes(b"x")
    settle(tmp_path / "from", tmp_path / "to")
    assert moves == [tmp_path / "from"]
    assert tree(tmp_path / "to") == {"deep/file": b"x"}


def test_what_cannot_be_read_is_no_full_disk(tmp_path):
    """A source that the system refuses is named, and not the folder that it was to be copied to."""
    error = PermissionError(errno.EACCES, "Permission denied", "/elsewhere/batch")
    told = r"^cannot read '/elsewhere/batch' \(Permission denied\)$"
    with pytest.raises(UserError, match=told), writing(tmp_path / "data"):
        raise error
