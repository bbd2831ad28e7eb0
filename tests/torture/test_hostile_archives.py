"""Hostile bytes where archives, arrays and checkpoints are read: refused in one line, or read; no more.

Nothing is written outside of the folder that is meant, and nothing in a file is run. A few seconds;
`--hypothesis-profile torture` draws more.
"""

import hashlib
import io
import os
import pickle
import random
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmark.checkpoints.load import load_checkpoint
from benchmark.data import cifar_batches, tiny_imagenet_source
from benchmark.data.get.archives import Archive
from benchmark.data.get.unpack import unpack
from benchmark.data.info import CIFAR10
from benchmark.data.sealed import mapped_array
from benchmark.errors import UserError

few = settings(max_examples=settings.default.max_examples // 4)
NAMES = st.sampled_from(
    ["set/a", "set/b/c", "../x", "/nowhere/x", "set/../../x", "C:\\x", "..\\x", "a\x00b", "\x1b[31m",
     "set", "set/a/b", ".", "", "n" * 300, "\udc80", "é\n", "con", "set//a", "~/x"]
)  # fmt: skip
TAR_TYPES = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
     tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, b"Z"]
)  # fmt: skip
SIZES = st.sampled_from([0, 2**31, 2**63, 2**64 - 1])


class Bomb:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def damaged(data, content):
    """`content` with bytes changed, cut out or doubled, as `data` draws it."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, 2**20)) % max(len(content), 1)
        how = data.draw(st.integers(0, 3))
        if how == 0:
            content[at : at + 1] = data.draw(st.binary(min_size=1, max_size=8))
        elif how == 1:
            del content[at:]
        elif how == 2:
            content[at : at + 8] = struct.pack("<Q", data.draw(SIZES))
        else:
            content[at:at] = content[at : at + 600]
    return bytes(content)


def one_line(error):
    """The message is one printable line."""
    assert str(error).isprintable() and len(str(error)) < 4000


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder that has to stay as it is but for `inside`, and a place for the hostile file."""
    root = tmp_path_factory.mktemp("room")
    (root / "inside").mkdir()
    return root


@few
@given(data=st.data(), kind=st.sampled_from(["tar", "tar.gz", "tar.xz"]))
def test_archives(room, data, kind):
    """Members of any name, kind and size, then damaged: in the folder or nowhere."""
    buffer, members = io.BytesIO(), data.draw(st.lists(st.tuples(NAMES, TAR_TYPES), max_size=4))
    with tarfile.open(fileobj=buffer, mode=f"w:{kind.partition('.')[2]}") as packed:
        for name, type_ in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = type_, 63, "/etc/passwd"
            packed.addfile(member, io.BytesIO(b"content" * 9))
    path = room / "archive"
    path.write_bytes(damaged(data, buffer.getvalue()))
    before = set(room.iterdir())
    try:
        unpack(Archive("set", "set.tar", "", "0" * 32, None, (), "set"), path, room / "inside")
    except UserError as error:
        one_line(error)
    assert set(room.iterdir()) == before
    assert not any(each.is_symlink() for each in (room / "inside").rglob("*"))


@few
@given(data=st.data(), claimed=st.sampled_from([(5,), (10**12,), (2**40, 2**40), (-1,), (0,)]))
def test_arrays(room, data, claimed):
    """A header may claim what it will: an array of the right shape, or a line."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": claimed}
    )
    path = room / "array.npy"
    path.write_bytes(damaged(data, buffer.getvalue() + b"\1" * 5))
    try:
        assert mapped_array(path, (5,), "B", "uint8 is right").sum() >= 0
    except UserError as error:
        one_line(error)


@few
@given(data=st.data(), entry=st.sampled_from(["wnids.txt", "val/val_annotations.txt"]))
def test_zip_of_pictures(room, data, entry):
    """A list whose entry claims 3 GB is not read, whatever else was done to the file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr(f"tiny-imagenet-200/{entry}", b"n01\n" * 9)
    content = bytearray(buffer.getvalue())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 3 * 10**9)
    path = room / "pictures.zip"
    path.write_bytes(damaged(data, content))
    try:
        with tiny_imagenet_source.opened(path) as files:
            for name in files.names:
                assert len(files.read(name)) < 10**6
    except UserError as error:
        one_line(error)


@few
@given(data=st.data(), kind=st.sampled_from(["zip", "legacy", "safetensors", "pickle"]))
def test_checkpoints(room, data, kind):
    """Damage, objects and code beside weights: weights that fit, or a line; no folder is made."""
    model, witness = nn.Linear(3, 2), room / "witness"
    beside = data.draw(
        st.sampled_from([3, np.float32(3), Bomb(os.mkdir, str(witness)), Bomb(exec, "import os"),
                         Bomb(getattr, "x", "upper"), Bomb(bytearray, 10**3), random.Random(0)])
    )  # fmt: skip
    content, buffer = {"state_dict": model.state_dict(), "beside": beside}, io.BytesIO()
    if kind == "safetensors":
        buffer.write(safetensors.torch.save(model.state_dict()))
    elif kind == "pickle":
        buffer.write(pickle.dumps(content, data.draw(st.sampled_from([2, 4, 5]))))
    else:
        torch.save(content, buffer, _use_new_zipfile_serialization=kind == "zip")
    path = room / "weights.pt"
    path.write_bytes(damaged(data, buffer.getvalue()))
    try:
        loaded = load_checkpoint(path, model)
    except UserError as error:
        one_line(error)
    else:
        assert loaded.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert all(tensor.isfinite().all() for tensor in loaded.state.values())
        model.load_state_dict(loaded.state, strict=True)
    assert not witness.exists()


@few
@given(data=st.data(), protocol=st.sampled_from([2, 4, 5]))
def test_batches(room, data, protocol):
    """A pickle of CIFAR's form, damaged or with code in it: ten images or a line."""
    witness = room / "witness"
    beside = data.draw(st.sampled_from([None, Bomb(os.mkdir, str(witness)), Bomb(exec, "import os")]))
    batch = {"data": np.zeros((10, 3072), np.uint8), "labels": [*range(10)], "beside": beside}
    path = room / "batch"
    path.write_bytes(damaged(data, pickle.dumps(batch, protocol)))
    try:
        assert len(cifar_batches.read_split(CIFAR10, [path], "labels", 10)) == 10
    except UserError as error:
        one_line(error)
    assert not witness.exists()
