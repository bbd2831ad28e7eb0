"""Checks of records: each kind of mistake and tampering is found and named."""

import copy
import hashlib
import io
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.checkpoints.registry import FILE, VARIABLE
from benchmark.checkpoints.robustbench import ZooArch
from benchmark.data.info import CIFAR10, DIGITS
from benchmark.errors import UserError
from benchmark.models import arch
from benchmark.plans.elsewhere import CheckpointPlan
from benchmark.records.bits import pack_bits
from benchmark.records.cells import Cell
from benchmark.records.checkout import shipped
from benchmark.records.records import CellName, Making, Record, hashed
from benchmark.records.specs import spec_hash
from benchmark.submission.examine import examine
from benchmark.submission.expected import KNOWN_DATA, Expected, first_difference
from benchmark.submission.plausible import check_plausible
from benchmark.submission.read import read
from benchmark.submission.single import missing_commits
from benchmark.submission.together import Library, check_copies
from submitting import (
    ALL,
    ATTACK,
    BASE,
    DROP,
    OOD,
    PGD,
    RESULTS,
    RIFT,
    add_corruptions,
    bits_of,
    change,
    copied,
    edit,
    lines,
    looked_at,
    put,
    put_bits,
    total,
)

ZEROS, ONES = "0" * 64, "1" * 64
MODULE = "rift+mean-sparse"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A base model, its fine-tuning, and a fine-tuning that ended at alpha = 0; to be changed."""
    return copied(tmp_path / "results")


def at(tree: Path, key: str, name: str) -> Path:
    """Where a record or a making is in `tree`, into which it is brought if it is not there."""
    if name == OOD and not (tree / "records" / key / f"{name}.json").exists():
        for each in (BASE, RIFT):
            add_corruptions(tree, each)
    return tree / "records" / key / f"{name}.json"


@pytest.fixture(autouse=True)
def _every_commit_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout that is tested may have no history."""
    monkeypatch.setattr("benchmark.submission.examine.missing_commits", lambda _: frozenset())


def test_committed_records_are_right(tree: Path) -> None:
    """Nothing is found where nothing was changed."""
    assert lines(tree) == []


Tampering = tuple[str, str, Any, str]
"""A record, or the key of a making; a place in it, what is put there, and what is found."""

NEW = "2999-01-01T00:00:00+00:00"
RECIPE = "spec/model/tuning/base/recipe/epochs"
RECORD: list[Tampering] = [
    ("clean", "value", 0.9, r"value 0.9 is not k / n = 6629 / 10000"),
    ("clean", "k", 10001, r"k = 10001 is more than n = 10000"),
    ("clean", "spec_hash", ZEROS, r"spec_hash is not the hash of spec"),
    ("clean", "cell/seed", 1, r"cell is \S+/seed1, but its path says \S+/rift/seed0"),
    ("clean", "cell/dataset", "cifar11", r"cell is \S+ clean: unknown dataset 'cifar11'"),
    ("clean", "cell/scale", "mini.toml", r"'mini.toml' is no name of a scale; name its file by"),
    ("clean", "evaluation", "pgd10x3", r"evaluation is pgd10x3, which belongs into pgd10x3.json"),
    ("clean", "evaluation", "cleen", r"cell is \S+ cleen: unknown evaluation 'cleen'"),
    ("clean", RECIPE, 5, r"epochs is 5, but this checkout would make it with 10 \(stale\)"),
    ("clean", "spec/evaluation/version", 2, r"spec.evaluation.version is 2, .* with 1 \(stale\)"),
    ("clean", "bits_sha256", ZEROS, r"bits_sha256 is 0{64}, but clean.npz has [0-9a-f]{64}"),
    ("clean", "parts", {"clean": {"k": 1, "n": 1}}, r"parts are not those of clean: clean is none"),
    (PGD, "parts/run1/k", 900, r"parts.run1 is 900 of 2000, but the bits say \d+ of 2000"),
    (PGD, "parts/per-image-worst", DROP, r"parts are not those of \S+: per-image-worst is missing"),
    (ATTACK, "parts/zero-gradients/n", 99, r"parts.zero-gradients is of n = 99, .* of 100 images"),
    (PGD, "parts/not-finite", {"k": 2000, "n": 2000}, r"2000 of 2000, but .* \d+ have a wrong answer"),
    (OOD, "parts/fog-1/k", 0, r"parts.fog-1 is 0 of 1000, but the bits say \d+ of 1000"),
    ("clean", "provenance/dirty", True, r"provenance.dirty is true: tracked files differed"),
    ("clean", "provenance/commit", "HEAD", r"provenance.commit is HEAD, not 40 hex digits"),
    ("clean", "provenance/commit", None, r"provenance.dirty is False, but a commit is not named"),
    ("clean", "provenance/versions/torch", DROP, r"versions.torch is nothing, not a version"),
    ("clean", "provenance/started", "yesterday", r"provenance.started is yesterday, not a time"),
    ("clean", "provenance/started", NEW, r"started is 2999.* in the future"),
    ("clean", "provenance/started", NEW.replace("2999", "2023"), r"started is 2023.* before the weig"),
    ("clean", "provenance/seconds", 1e7, r"provenance.seconds is 1e\+07, more than have passed"),
    ("clean", "provenance/device", " ", r"provenance.device is empty"),
    ("clean", "provenance/precision", "int8", r"provenance.precision is int8, not such as fp32"),
    ("clean", "provenance/data_sha256", ZEROS, r"is 0{64}, but the test images of CIFAR-10"),
    ("clean", "provenance/weights_sha256", ZEROS, r"is 0{64}, but making.json is of f6"),
    ("clean", "same_as", BASE, r"same_as is \S+, which has no record of clean with these bits"),
    ("clean", "k", "6629", r"k does not fit schema 1: .* not 6629"),
    ("clean", "provenance/device", DROP, r"provenance.device does not fit schema 1: Field required$"),
    ("clean", "value", float("inf"), r"file is not JSON \(Infinity is not a finite number\)"),
]
FIRST, MRC = "details/epochs/0/selection", "details/criticality/0"
MAKING: list[Tampering] = [
    (RIFT, "details/alpha", 0.5, r"details.alpha is 0.5, but by its curve the rule chooses 0"),
    (RIFT, "details/modules", ["conv1"], r"details.modules is conv1, but rift chooses layer"),
    (RIFT, f"{MRC}/mrc", 0.0, r"details.modules is layer\S+, but rift chooses conv1"),
    (RIFT, "details/criticality/7/mrc", -0.1, r"2.0.shortcut.0, but rift chooses layer3.0.shortcut.0"),
    (RIFT, f"{MRC}/module", "x", r"criticality.0.module is x, but the network has conv1"),
    (RIFT, f"{MRC}/norm_ratio", 0.2, r"norm_ratio is 0.2, beyond the constraint 0.1"),
    (RIFT, f"{MRC}/epochs", 11, r"criticality.0.epochs is 11, but at most 10"),
    (RIFT, "details/criticality", None, r"details.criticality is missing, but rift chooses by it"),
    (RIFT, "details/best_epoch", 9, r"details.best_epoch is 9, but epoch \d scored best"),
    (RIFT, "details/best", {"k": 1, "n": 1000}, r"details.best is 1 of 1000, but that epoch has"),
    (RIFT, FIRST, None, r"epochs.0.selection is missing, but the recipe judges"),
    (RIFT, f"{FIRST}/n", 999, r"epochs.0.selection is of n = 999, but 1000 images"),
    (RIFT, "details/curve/3/alpha", 0.16, r"details.curve has not the points of the protocol's grid"),
    (RIFT, "details/curve/3/clean/n", 2000, r"curve.3.clean is of n = 2000, but 1000 images choose"),
    (RIFT, "details/curve/3/clean/k", 1000, r"curve has no robust accuracy at alpha = 0.15"),
    (RIFT, "details/reference", None, r"details.reference is missing"),
    (RIFT, "spec/selects_on", "hold-out", r"spec.selects_on is hold-out, .* with test \(stale\)"),
    (RIFT, "provenance/data_sha256", ZEROS, r"but the training images of CIFAR-10 are 3567"),
    (ALL, "provenance/weights_sha256", ZEROS, r"but at alpha = 0 it is that of \S+/none/seed0, 99"),
    (BASE, "details/epochs/9/selection", None, r"9.selection is missing, .* the last 2 epochs"),
    (BASE, FIRST, {"k": 1, "n": 2000}, r"epochs.0.selection is there, but"),
]
TAMPERED = [(RIFT, *each) for each in RECORD] + [(key, "making", *each) for key, *each in MAKING]


@pytest.mark.parametrize(
    ("key", "name", "place", "value", "message"), TAMPERED, ids=[message for *_, message in TAMPERED]
)
def test_a_tampered_file(tree: Path, key: str, name: str, place: str, value: Any, message: str) -> None:
    """One changed field is named, with its file, what is there and what would be right."""
    change(at(tree, key, name), place, value)
    found = lines(tree)
    start = f"{key}/{name}.json: "
    assert any(line.startswith(start) and re.search(message, line) for line in found), found
    assert all("\n" not in line for line in found)


def leaves(raw: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of `raw` that is no object or list, with its place."""
    if isinstance(raw, dict | list):
        for name, inner in raw.items() if isinstance(raw, dict) else enumerate(raw):
            yield from leaves(inner, f"{place}/{name}" if place else str(name))
    else:
        yield place, raw


# What may have several values that are all right, for anybody who has not run the same again.
PROVENANCE = ("commit", "versions", "threads", "resumed", "seconds", "device")
FREE = (*(f"provenance/{name}" for name in PROVENANCE), "parts/zero-gradients/k", "remarks")


@pytest.mark.parametrize("name", ["clean", PGD, ATTACK])
def test_no_field_of_a_record_is_free(tree: Path, name: str) -> None:
    """Whatever value of a record is changed, something is found; versions stand for a whole spec."""
    path = at(tree, RIFT, name)
    original = json.loads(path.read_text())
    others = [entry for entry in read([tree]).entries if entry.path != path]
    expected, tried = Expected(), 0
    for place, value in leaves(original):
        if place.startswith(FREE) or (place.startswith("spec/") and not place.endswith("/version")):
            continue
        changes: dict[type, Callable[[Any], Any]] = {bool: lambda v: not v, int: lambda v: v + 1}
        changes[float] = lambda v: v / 2
        raw = copy.deepcopy(original)
        put(raw, place, changes.get(type(value), lambda v: f"x{v}")(value))
        path.write_text(json.dumps(raw))
        reading = read([path])
        changed = [entry for entry in reading.entries if entry.path == path]
        assert reading.problems or examine(changed, others, expected).problems, place
        tried += 1
    assert tried > 20


# --- files and bits ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("altered", "message"),
    [
        (lambda content: b"\xef\xbb\xbf" + content, "Unexpected UTF-8 BOM"),
        (lambda content: content.decode().encode("utf-16"), "codec can't decode"),
        (lambda content: content.replace(b'"k":', b'"k": 1, "k":', 1), "k stands twice in one object"),
        (lambda content: content.replace(b'"device": "', b'"device": "\\ud800'), "Invalid JSON: "),
    ],
    ids=["BOM", "UTF-16", "twice", "surrogate"],
)
def test_json_that_readers_disagree_on(
    tree: Path, altered: Callable[[bytes], bytes], message: str
) -> None:
    """What Python's reader of JSON takes and the suite's may not, or otherwise, is refused."""
    path = at(tree, RIFT, "clean")
    before = path.read_bytes()
    path.write_bytes(altered(before))
    assert path.read_bytes() != before
    (line,) = [line for line in lines(tree) if line.startswith(f"{RIFT}/clean.json: ")]
    assert message in line


def test_a_changed_bit(tree: Path) -> None:
    """A bit more than the record counts is found although the file's hash fits."""
    path = at(tree, RIFT, "clean")
    bits = bits_of(path)
    bits["clean"][np.flatnonzero(~bits["clean"])[-1]] = True
    put_bits(path, bits)
    assert lines(tree) == [f"{RIFT}/clean.json: k is 6629 of 10000, but the bits say 6630"]


def test_a_count_beyond_floats(tree: Path) -> None:
    """A number of images of hundreds of digits is a mistake like any other."""
    path = at(tree, RIFT, "clean")
    edit(path, lambda raw: raw.update(k=0, n=10**400, value=0.0))
    start, end = f"{RIFT}/clean.json: n is 1000", "0..., but clean is of 10000 answers"
    assert any(line.startswith(start) and line.endswith(end) for line in lines(tree))


def test_bits_of_other_images(tree: Path) -> None:
    """Bits of fewer images than the evaluation is of are named."""
    path = at(tree, RIFT, "clean")
    put_bits(path, {"clean": bits_of(path)["clean"][:9000]})
    assert f"{RIFT}/clean.json: bits are of 9000 images, but clean is of 10000" in lines(tree)


def test_a_corruption_that_is_left_out(tree: Path) -> None:
    """A corruption missing in bits, parts and count alike is missed."""
    path = at(tree, RIFT, OOD)
    bits = bits_of(path)
    del bits["fog-5"]
    change(path, "parts/fog-5")
    change(path, "n", 74_000)
    put_bits(path, bits, total(bits))
    (line,) = lines(tree)
    assert line.endswith(f"bits do not have the arrays of {OOD}: fog-5 is missing")


def test_an_image_that_survives_again(tree: Path) -> None:
    """An image that one attack of AutoAttack broke cannot survive the next."""
    path = at(tree, RIFT, ATTACK)
    bits = bits_of(path)
    broken = np.flatnonzero(~bits["apgd-ce"])[0]
    for name in ("apgd-t", "fab-t", "square"):
        bits[name][broken] = True
    put_bits(path, bits, 36)
    assert lines(tree) == [
        f"{RIFT}/{ATTACK}.json: bits of apgd-t hold 1 images that apgd-ce had broken already"
    ]


def saved(**arrays: Any) -> bytes:
    """A file that says its number of images, and these arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, n=np.int64(10_000), **arrays)
    return buffer.getvalue()


def zipped(member: bytes, packing: int = zipfile.ZIP_STORED) -> bytes:
    """A file whose only member holds these bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        archive.writestr("n.npy", member)
    return buffer.getvalue()


def headed(header: str) -> bytes:
    """A file whose only member has this header."""
    return zipped(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header.encode())


PACKED = zipped(bytes(5000) + b"abc" * 2000, zipfile.ZIP_LZMA)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PACKED[:60] + bytes(30) + PACKED[90:], "bits cannot be read from clean.npz"),
        (saved(), "it has no arrays of bits"),
        (b"", "bits cannot be read from clean.npz"),
        (b"PK\x03\x04 nor this", "bits cannot be read from clean.npz"),
        (saved(clean=np.array([{"a": 1}], dtype=object)), "Python objects, which are not read"),
        (
            headed("{'descr': '<f8', 'fortran_order': False, 'shape': (12000000000,)}"),
            "n.npy is said to be float64 of shape (12",
        ),
        (zipped(bytes(65 * 2**20), zipfile.ZIP_DEFLATED), "its arrays have more than"),
        (headed("{[]: 1}"), "no header of a .npy file"),
        (headed("{1: 1, 'a': 2}"), "no header of a .npy file"),
        (headed("{'descr': (), 'fortran_order': False, 'shape': ()}"), "no header of a .npy file"),
        (None, f"{RIFT}/clean.json: bits are missing: clean."),
    ],
    ids=[
        *("LZMA", "hollow", "empty", "broken", "pickled", "boasting", "swelling"),
        *("list as key", "keys of two types", "no type", "missing"),
    ],
)
def test_bits_that_cannot_be_read(tree: Path, content: bytes | None, message: str) -> None:
    """A file that holds no bits is refused without an exception, and by its hash."""
    path = at(tree, RIFT, "clean").with_suffix(".npz")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    found = lines(tree)
    assert any(message in line for line in found)
    assert any("bits_sha256 is" in line for line in found) == (content is not None)


def test_stray_files(tree: Path) -> None:
    """What is neither record, bits nor making, and what is at no key, is named in a results tree."""
    (deep := tree / "records" / "narrow" / RIFT).mkdir(parents=True)
    shutil.copy(at(tree, RIFT, "clean").with_suffix(".npz"), deep)
    places = (f"{RIFT}/notes.txt", f"{RIFT}/gone.npz", "narrow/clean.json", f"narrow/{RIFT}/clean.json")
    for place in places:
        shutil.copy(at(tree, RIFT, "clean"), tree / "records" / place)
    found = lines(tree)
    assert f"{RIFT}/notes.txt: file is no record, no bits of one and no making" in found
    assert f"{RIFT}/gone.npz: file is no record, no bits of one and no making" in found
    for place in places[2:]:
        assert f"{place}: file is at no key of a results tree; its contents are {RIFT}" in found


def test_a_linked_folder(tree: Path, tmp_path: Path) -> None:
    """What is behind a link counts in tables, and is not read here: the link is named."""
    shutil.move(tree / "records" / RIFT, tmp_path / "elsewhere")
    (tree / "records" / RIFT).symlink_to(tmp_path / "elsewhere")
    (line,) = lines(tree)
    assert line.startswith(f"{RIFT}: file is a link to a folder, in which nothing was checked")


# --- together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (f"{RIFT}/making.json", "which has no making.json, neither beside it nor on file"),
        (f"{BASE}/clean.json", f"starts from {BASE}, which has no record of clean, neither here"),
        (f"{BASE}/making.json", f"starts from {BASE}, which has no making.json, neither here"),
    ],
)
def test_what_must_be_there(tree: Path, removed: str, message: str) -> None:
    """A record needs its making, and a fine-tuned one those of its base model."""
    (tree / "records" / removed).unlink()
    (tree / "records" / removed).with_suffix(".npz").unlink(missing_ok=True)
    assert any(line.startswith(RIFT) and message in line for line in lines(tree))


@pytest.mark.parametrize("other_weights", [False, True])
def test_a_fabricated_seed(tree: Path, other_weights: bool) -> None:
    """Files of one seed that were given the names of another are found by whatever seeds decide."""
    records = tree / "records"
    for key in (BASE, RIFT, ALL):
        folder = records / key.replace("seed0", "seed1")
        shutil.copytree(records / key, folder)
        for path in folder.glob("*.json"):
            raw = json.loads(path.read_text().replace("/seed0", "/seed1"))
            raw["cell"]["seed"], raw["spec_hash"] = 1, spec_hash(raw["spec"])
            weights = raw["provenance"]["weights_sha256"]
            if other_weights:
                raw["provenance"]["weights_sha256"] = hashlib.sha256(weights.encode()).hexdigest()
            path.write_text(json.dumps(raw))
    handed, on_file = ([e for e in read([tree]).entries if e.cell.seed == seed] for seed in (1, 0))
    problems = examine(handed, on_file, Expected()).problems
    found = {(each.path.parent.parent.name, each.field) for each in problems}
    expected = {(name, "details.epochs") for name in ("none", "rift", "all-layers")}
    assert found == expected | (set() if other_weights else {("none", "provenance.weights_sha256")})
    assert {(each.path.parent.name, each.path.stem) for each in problems} == {("seed1", "making")}
    assert all(re.search(r"that of narrow/\S+/seed0", each.text) for each in problems)


@pytest.mark.parametrize(("scale", "told"), [("narrow-in-fp32", False), ("small", True)])
def test_another_precision_has_the_same_seeds(tree: Path, scale: str, told: bool) -> None:
    """So a cell in it may come out alike, as where `auto` is fp32; a cell of another scale may not."""
    entries = read([tree]).entries
    renamed = [
        replace(
            entry,
            file=entry.file.model_copy(
                update={"cell": entry.file.cell.model_copy(update={"scale": scale})}
            ),
        )
        for entry in entries
    ]
    assert any(check_copies(renamed, Library((*renamed, *entries)))) == told


@pytest.mark.parametrize(
    ("scale", "precision", "told"),
    [
        ("quick", "fp32, compiled", False),
        ("quick", "bf16, scored in fp32", True),
        ("quick-in-bf16", "fp32", True),
        ("quick-in-bf16", "bf16, scored in bf16 above margins of 0.2, else in fp32", False),
        ("quick-in-auto", "bf16, scored in fp32", False),
    ],
)
def test_the_precision_that_a_scale_fixes(tree: Path, scale: str, precision: str, told: bool) -> None:
    """Work in another one has keys of its own."""
    path = at(tree, RIFT, "clean")
    change(path, "cell/scale", scale)
    change(path, "provenance/precision", precision)
    text = f"provenance.precision is {precision}, but {scale} is in "
    assert any(text in line for line in lines(tree)) == told


def test_models_of_one_base_model_may_agree(tree: Path) -> None:
    """Bits of the base model are no copy in its fine-tuning, which may have changed no answer."""
    bits = bits_of(at(tree, BASE, OOD))
    put_bits(at(tree, RIFT, OOD), bits, total(bits))
    assert lines(tree) == []


def test_a_private_checkpoint(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that only a registry of somebody's own has, or has otherwise, is refused."""
    name, given = "narrow-cifar10-resnet18-w16-pgd-at-seed0", shipped(FILE).read_text()
    for key in (BASE, RIFT):
        change(at(tree, key, "clean"), "cell/scale", "narrow-from-mine")
    start = f"{RIFT}/clean.json: cell.scale is narrow-from-mine: checkpoint 'mine' is not in the "
    assert any(line.startswith(start) for line in lines(tree))
    own = tmp_path / "own.toml"
    own.write_text(given.replace(f'name = "{name}"', 'name = "mine"'))
    monkeypatch.setenv(VARIABLE, str(own))
    assert any(line.startswith(start) for line in lines(tree))
    other = tmp_path / "other.toml"
    other.write_text(given.replace('sha256 = "9', 'sha256 = "8'))
    monkeypatch.setenv(VARIABLE, str(other))
    with pytest.raises(UserError, match=f"'{name}' is another in the repository's {FILE}"):
        Expected().scale(f"narrow-from-{name}")


def test_commits_that_the_repository_lacks(tmp_path: Path) -> None:
    """A commit of the repository is known, and any other hash is missing; without git nothing is."""

    def git(*arguments: str) -> str:
        names = ("-c", "user.name=somebody", "-c", "user.email=somebody")
        command = ["git", "-C", str(tmp_path), *names, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    other = "1" * 40
    assert missing_commits([other], tmp_path) == frozenset()
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "one")
    head, tree = git("rev-parse", "HEAD", "HEAD^{tree}").split()
    assert missing_commits([head, other, tree, None, "HEAD"], tmp_path) == {other, tree}


def test_a_remark_on_a_missing_commit(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that the repository lacks is no mistake, and is remarked on."""
    other, path = "1" * 40, at(tree, RIFT, "clean")
    change(path, "provenance/commit", other)
    monkeypatch.setattr(
        "benchmark.submission.examine.missing_commits", lambda named: frozenset({other} & set(named))
    )
    _, examined = looked_at(tree)
    assert examined.problems == ()
    (remark,) = examined.remarks
    assert remark.path == path
    assert remark.text.startswith(f"is {other}, which this repository does not have")


def test_another_value_of_the_same_weights(tree: Path) -> None:
    """At alpha = 0 a fine-tuned model has the bits of its base model, on the same machine exactly."""
    path = at(tree, ALL, "clean")
    change(path, "provenance/threads", 2)  # as the base model's
    bits = bits_of(path)
    right, wrong = np.flatnonzero(bits["clean"])[0], np.flatnonzero(~bits["clean"])[0]
    bits["clean"][[right, wrong]] = [False, True]
    put_bits(path, bits)
    start = f"{ALL}/clean.json: k makes 6628 of the first 10000 images right, but {BASE}"
    assert any(line.startswith(start) for line in lines(tree))


def test_what_was_counted_before_the_fine_tuning(tree: Path) -> None:
    """At alpha = 0 the base model's record is taken over, with its time, however much older it is."""
    for key, name in ((BASE, "making"), (BASE, "clean"), (ALL, "clean")):
        change(at(tree, key, name), "provenance/started", "2026-11-01T00:00:00+00:00")
    assert lines(tree) == []
    change(at(tree, ALL, "clean"), "provenance/started", "2026-10-01T00:00:00+00:00")
    (line,) = lines(tree)
    assert line.endswith("before the weights were begun, 2026-11-01T00:00:00+00:00")


def test_the_first_year(tree: Path) -> None:
    """A time from which no day can be taken is no end of the command."""
    change(at(tree, BASE, "making"), "provenance/started", "0001-01-01T00:00:00+00:00")
    assert lines(tree) == []


def test_an_adaptive_attack_is_of_a_base_network_too() -> None:
    """A module by itself may survive far more than beside the network that it was made of."""
    name, scale = "pgd10x3-adaptive-first-1000", "narrow-from-narrow-cifar10-resnet18-w16-pgd-at-seed0"
    key = BASE.replace("narrow", scale)
    path = RESULTS / "records" / key.replace("none", "rift+mean-sparse") / f"{name}.json"
    *_, entry = read([path]).entries
    alone = dict.fromkeys(entry.bits, entry.bits["module"])
    elsewhere = Cell("own", "cifar10", "resnet18-w16", "mine", "none", 0)
    for cell, fields in ((elsewhere, []), (Cell.parse(key), ["k"])):
        file = entry.file.model_copy(update={"cell": CellName.of(cell)})
        other = replace(entry, file=file, bits=alone)
        assert [field for field, _ in check_plausible(other, Library((entry, other)))] == fields


@pytest.mark.parametrize(
    ("name", "value", "k", "message"),
    [
        (PGD, True, 2000, "k leaves 2000 of 2000 images to pgd10x3-first-2000 and only"),
        (ATTACK, True, 100, "k leaves 100 of 100 images to autoattack-first-100 and only"),
        (OOD, True, 75000, "corruptions do not help"),
        (ATTACK, False, 0, "remarks lack what its bits say: warning: 0 of 100 images survive"),
    ],
)
def test_implausible_values(tree: Path, name: str, value: bool, k: int, message: str) -> None:
    """Numbers that fit their bits but no network: below chance, or better under a stronger attack."""
    path = at(tree, RIFT, name)
    put_bits(path, {each: np.full_like(array, value) for each, array in bits_of(path).items()}, k)
    assert any(line.startswith(f"{RIFT}/{name}.json: ") and message in line for line in lines(tree))


def test_as_many_as_one_constant_answer(tree: Path) -> None:
    """A tenth of ten classes is what a constant gets right; one image more is not."""
    path, said = at(tree, RIFT, "clean"), "no more than one constant answer gets right"
    for k in (1000, 1001):
        put_bits(path, {"clean": np.arange(10_000) < k}, k)
        assert any(said in line for line in lines(tree)) == (k == 1000)


@pytest.mark.parametrize(("more", "told"), [(45, False), (55, True)])
def test_corruptions_may_help_by_chance(tree: Path, more: int, told: bool) -> None:
    """Up to five points above the clean images of the same 1,000."""
    path = at(tree, RIFT, OOD)
    bits = bits_of(path)
    wrong = np.flatnonzero(~next(iter(bits.values())))[:more]
    for array in bits.values():
        array[wrong] = True
    put_bits(path, bits, total(bits))
    assert any("corruptions do not help" in line for line in lines(tree)) == told


@pytest.mark.parametrize(("more", "told"), [(9, False), (11, True)])
def test_machines_differ_by_a_point_where_images_have_several_answers(
    tree: Path, more: int, told: bool
) -> None:
    """The same weights under the same corruptions, at another number of threads."""
    for key in (BASE, ALL):
        add_corruptions(tree, key)
    path = tree / "records" / ALL / f"{OOD}.json"
    change(path, "provenance/threads", 7)
    bits = bits_of(path)
    for place, array in enumerate(bits.values()):
        turned = np.flatnonzero(~array)[: more + (1 if place % 2 else -1)]
        array[turned] = True
    put_bits(path, bits, total(bits))
    assert any(f"{OOD}, of the same weights" in line for line in lines(tree)) == told


def test_a_record_may_know_that_it_is_odd(tree: Path) -> None:
    """Where a record itself warns of masked gradients, AutoAttack may leave more images than PGD."""
    path = at(tree, RIFT, ATTACK)
    clean = bits_of(path)["clean"]
    put_bits(path, dict.fromkeys(bits_of(path), clean), int(clean.sum()))
    assert any("which is more than chance" in line for line in lines(tree))
    edit(path, lambda raw: raw["remarks"].append("warning: gradients may be masked"))
    assert lines(tree) == []


# --- other kinds of cells ---------------------------------------------------------------------------


def own_record(
    root: Path, finetune: str = "none", *, name: str = "mine", n: int = 500, mean: float = 0.5
) -> Path:
    """A record of a model made elsewhere, with its own normalisation; 400 of the first n digits."""
    given = json.loads((RESULTS / "records" / BASE / "clean.json").read_text())
    info = replace(DIGITS, mean=(mean,), std=(0.25,))
    cell = Cell("own", "digits", "resnet18-w8", name, finetune, 0)
    evaluation = "clean" if n == 500 else f"clean-first-{n}"
    plan = CheckpointPlan(cell, info, arch("resnet18-w8"), given["provenance"]["weights_sha256"])
    packed, sha256 = pack_bits({"clean": np.arange(n) < 400})
    spec = plan.evaluation_spec(evaluation)
    assert spec is not None
    given["provenance"]["data_sha256"] = KNOWN_DATA["digits"].test_sha256
    counts = {"k": 400, "n": n, "value": 400 / n, "bits_sha256": sha256, "evaluation": evaluation}
    made = Record.model_validate(given | {"cell": vars(cell)} | counts | hashed(spec))
    path = root / "records" / cell.key / f"{evaluation}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.model_dump_json(indent=1))
    path.with_suffix(".npz").write_bytes(packed)
    return path


def test_a_model_from_elsewhere(tmp_path: Path) -> None:
    """A record of `evaluate` needs no making and may have any normalisation, but not any weights."""
    path = own_record(tmp_path / "results")
    assert lines(tmp_path / "results") == []
    change(path, "provenance/weights_sha256", ZEROS)
    (line,) = lines(tmp_path / "results")
    assert "spec.model.weights_sha256 is 99d2662b" in line
    change(path, "spec/model/arch/width", 16)
    assert any("spec.model.arch.width is 16, but" in line for line in lines(tmp_path / "results"))


def test_a_spec_without_a_model(tmp_path: Path) -> None:
    """It is a problem like any other, not the end of the command."""
    change(own_record(tmp_path / "results"), "spec/model")
    (line,) = lines(tmp_path / "results")
    assert "spec.model is nothing, but this checkout would make it with {'type'" in line


def test_a_name_from_elsewhere_is_of_one_model(tmp_path: Path) -> None:
    """Two normalisations are two models; the same one may have any number of records."""
    for mean, told in ((0.5, 0), (0.25, 2)):
        root = tmp_path / str(mean) / "results"
        own_record(root)
        own_record(root, n=450, mean=mean)
        found = [line for line in lines(root) if "another than that of the record of" in line]
        assert len(found) == told


def test_the_same_weights_under_two_names(tmp_path: Path) -> None:
    """They may answer otherwise where pixels are normalised otherwise, and nowhere else."""
    for mean, told in ((0.0, 0), (0.5, 2)):
        root = tmp_path / str(mean) / "results"
        own_record(root)
        put_bits(own_record(root, name="other", mean=mean), {"clean": np.arange(500) < 100}, 100)
        found = lines(root)
        assert len(found) == told
        assert all("of the same weights" in line for line in found)


def test_a_registered_name_from_elsewhere(tmp_path: Path) -> None:
    """It is of the registry's dataset, network and file."""
    name = "narrow-cifar10-resnet18-w16-pgd-at-seed0"
    own_record(tmp_path / "results", name=name)
    found = "; ".join(lines(tmp_path / "results"))
    assert f"{name} on digits/resnet18-w8, which the registry has on cifar10/resnet18-w16" in found
    assert f"have no file with the sha256 of {name}" in found


def test_a_registered_network_of_robustbench(tmp_path: Path) -> None:
    """In a key it has another name than in the registry."""
    given = json.loads((RESULTS / "records" / BASE / "clean.json").read_text())
    zoo = ZooArch("Engstrom2019Robustness", "cifar10", "Linf", "1.1.1")
    cell = Cell("own", "cifar10", zoo.name, "engstrom2019robustness-cifar10", "none", 0)
    plain = replace(CIFAR10, mean=(0.0,) * 3, std=(1.0,) * 3)
    plan = CheckpointPlan(cell, plain, zoo, given["provenance"]["weights_sha256"])
    spec = plan.evaluation_spec("clean")
    assert spec is not None
    folder = tmp_path / "results" / "records" / cell.key
    folder.mkdir(parents=True)
    made = Record.model_validate(given | {"cell": vars(cell)} | hashed(spec))
    (folder / "clean.json").write_text(made.model_dump_json(indent=1))
    shutil.copy(RESULTS / "records" / BASE / "clean.npz", folder)
    assert lines(tmp_path / "results") == []


def test_a_fine_tuned_model_from_elsewhere(tmp_path: Path) -> None:
    """There is no such thing: its key would say of what this suite knows nothing."""
    own_record(tmp_path / "results", finetune="rift")
    found = lines(tmp_path / "results")
    assert any("a model from elsewhere has the key own/" in line for line in found)


def test_a_model_of_the_registry(tmp_path: Path) -> None:
    """Cells that start from a checkpoint are compared with the registry's file."""
    root, names = copied(tmp_path / "results", [BASE]), BASE.split("/")[1:]
    checkpoint = f"narrow-{'-'.join(names[:3])}-seed0"
    cell = Cell.parse(f"narrow-from-{checkpoint}/{'/'.join(names)}")
    plan = Expected().plan(cell)
    assert plan.base.checkpoint is not None
    details = {
        "kind": "checkpoint",
        "name": plan.base.checkpoint.name,
        "file_sha256": plan.base.checkpoint.sha256,
        **{name: getattr(plan.base.checkpoint, name) for name in ("source", "licence", "what", "eps")},
        "notes": [],
    }
    given = json.loads(at(root, BASE, "making").read_text())
    made = given | {"cell": CellName.of(cell).model_dump(), "details": details} | hashed(plan.spec)
    path = at(root, cell.key, "making")
    path.parent.mkdir(parents=True)
    path.write_text(Making.model_validate(made).model_dump_json())
    assert lines(root) == []
    change(path, "details/file_sha256", ZEROS)
    change(path, "provenance/weights_sha256", ONES)
    found = "\n".join(lines(root))
    assert re.search(r"details.file_sha256 is 0000.*but the registry has", found)
    assert re.search(rf"weights_sha256 is 1111.*model, {BASE}, has 99d2", found)


@pytest.mark.parametrize("place", ["reference", "points/3/clean", "points/3/robust"])
def test_the_images_that_choose_numbers(tmp_path: Path, place: str) -> None:
    """A module's numbers are chosen on as many images as alpha is."""
    start = f"narrow-from-{'-'.join(BASE.split('/')[:4])}-seed0"
    keys = [BASE.replace("narrow", start, 1).replace("none", name) for name in ("none", MODULE)]
    root = copied(tmp_path / "results", keys, ("making",))
    assert lines(root) == []
    change(at(root, keys[-1], "making"), f"details/{place}/n", 999)
    field = place.replace("/", ".")
    assert any(f"details.{field} is of n = 999, but 1000 images" in line for line in lines(root))


def test_a_limit_that_is_none(tree: Path) -> None:
    """A record of the first N images of N or fewer is no record of the first images."""
    folder, name = tree / "records" / BASE, "clean-first-10000"
    for suffix in ("json", "npz"):
        shutil.copy(folder / f"clean.{suffix}", folder / f"{name}.{suffix}")
    change(folder / f"{name}.json", "evaluation", name)
    assert any("but there are 10000 test images: leave its limit out" in line for line in lines(tree))


def test_files_that_were_read(tree: Path) -> None:
    """A record of the published corruptions names the hash of each file; one of our own reads none."""
    name = "corruptions-15-first-1000"
    for key in (BASE, RIFT):
        source, path = at(tree, key, OOD), at(tree, key, name)
        for suffix in (".json", ".npz"):
            shutil.copy(source.with_suffix(suffix), path.with_suffix(suffix))
        spec = Expected().plan(Cell.parse(key)).evaluation_spec(name)
        assert spec is not None
        change(path, "evaluation", name)
        change(path, "spec/evaluation", spec["evaluation"])
    found = lines(tree)
    assert len(found) == 2 * 15
    assert f"{RIFT}/{name}.json: sources lack fog: the sha256 of the file that was read" in found


# --- specs and any content --------------------------------------------------------------------------

VALUES = st.integers(-3, 3) | st.sampled_from([0.0, 0.5, 1.0]) | st.text(max_size=2)
PLAIN = st.recursive(
    st.none() | st.booleans() | VALUES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
SPECS = st.dictionaries(st.sampled_from("abc"), PLAIN, max_size=3)


@given(SPECS, SPECS)
def test_specs_differ_where_their_hashes_do(one: dict[str, Any], other: dict[str, Any]) -> None:
    """A first difference is found just where the hashes of two specs differ, and it is one."""
    assert (first_difference(one, other) is None) == (spec_hash(one) == spec_hash(other))
