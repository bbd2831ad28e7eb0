"""Records and scales of strangers: whatever stands in one, it is refused, or filed where it belongs."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_text import ENCODABLE, live

from benchmark.records.cells import Cell
from benchmark.submission.read import read
from invoking import MINI, Said, said
from submitting import BASE, RESULTS, contents, copied

FEW = settings(max_examples=max(20, settings.default.max_examples // 4))
NAMES = ("scale", "dataset", "arch", "method", "finetune")
VALUES = st.one_of(
    ENCODABLE,
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False),
    st.just({"a": [{}]}),
    st.lists(ENCODABLE, max_size=2),
)


@pytest.fixture(autouse=True, scope="module")
def _every_commit_is_known() -> Iterator[None]:
    """The checkout that is tested may have no history."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.submission.examine.missing_commits", lambda _: frozenset())
        yield


def places(raw: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in JSON, whole parts included."""
    if place:
        yield place
    inner = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for name, part in inner:
        yield from places(part, (*place, name))


def put(raw: Any, place: tuple[Any, ...], value: Any, *, as_key: bool) -> None:
    """Put `value` at `place`, or call what is there so."""
    *outer, last = place
    for name in outer:
        raw = raw[name]
    if as_key and isinstance(raw, dict):
        raw[str(value)] = raw.pop(last)
    else:
        raw[last] = value


def handed_in(root: Path, name: str, content: str) -> Said:
    """What `submit` says to one record of which `content` is the JSON, and only files in `results`."""
    theirs, ours = root / "theirs", root / "a" / "b" / "ours"
    copied(theirs, [BASE], ["making", "clean"])
    loose = shutil.move(theirs / "records" / BASE, root / "loose")
    Path(loose, f"{name}.json").write_text(content)
    before = contents(root)
    answer = said("submit", loose, "--results", ours)
    after = {path: each for path, each in contents(root).items() if path not in before}
    assert {path: each for path, each in contents(root).items() if path in before} == before
    assert all(path.startswith("a/b/ours/records/") for path in after)
    assert not any(path.is_symlink() for path in root.rglob("*"))
    assert not live(answer.stdout + answer.stderr)
    assert answer.exit_code in (0, 2)
    if answer.exit_code == 2:
        assert not after
    else:
        for entry in read([ours]).entries:
            assert Cell.parse(entry.cell.key) == entry.cell
        assert said("submit", "--check", "--results", ours).exit_code == 0
    return answer


ORIGINALS = {
    name: json.loads((RESULTS / "records" / BASE / f"{name}.json").read_text())
    for name in ("clean", "making")
}


@FEW
@given(st.data(), st.sampled_from(sorted(ORIGINALS)), VALUES, st.booleans())
def test_a_fuzzed_record_is_refused_or_filed_inside(
    data: st.DataObject, name: str, value: Any, as_key: bool
) -> None:
    """A record with anything in any place, or under any name, leaves nothing outside of `results`."""
    raw = json.loads(json.dumps(ORIGINALS[name]))
    put(raw, data.draw(st.sampled_from(list(places(raw)))), value, as_key=as_key)
    with tempfile.TemporaryDirectory() as folder:
        handed_in(Path(folder), name, json.dumps(raw))


@FEW
@given(st.sampled_from(NAMES), ENCODABLE)
@example("method", "../../../x")
@example("scale", "..")
@example("finetune", "")
@example("arch", "ABC")
@example("method", "x\0y")
@example("scale", "own/../../x")
def test_a_fuzzed_name_is_refused_by_its_field(field: str, text: str) -> None:
    """A name that none of this version has is refused, naming the field, or the cell that has it."""
    raw = json.loads(json.dumps(ORIGINALS["clean"]))
    raw["cell"][field] = text
    with tempfile.TemporaryDirectory() as folder:
        answer = handed_in(Path(folder), "clean", json.dumps(raw))
    assert answer.exit_code == 2
    assert "clean.json: cell" in answer.stderr


@pytest.mark.parametrize("text", ["x\n\\input{/etc/passwd}", "\x1b]0;x\x07", "../../../x"])
@pytest.mark.parametrize("field", ["name", "summary"])
def test_a_scale_that_is_filed_is_of_lines(tmp_path: Path, field: str, text: str) -> None:
    """`submit --scale` refuses a scale whose name is none, or whose summary is no line, in one line."""
    old = MINI.read_text()
    new = re.sub(rf"^{field} = .*$", lambda _: f"{field} = {json.dumps(text)}", old, flags=re.MULTILINE)
    theirs, scale, ours = (tmp_path / name for name in ("theirs", "theirs.toml", "ours"))
    scale.write_text(new)
    copied(theirs, [BASE], ["making", "clean"])
    answer = said("submit", theirs, "--scale", scale, "--results", ours)
    assert not live(answer.stdout + answer.stderr)
    fine = (field, text) == ("summary", "../../../x")
    assert fine == (answer.exit_code == 0) == ours.exists()
    assert fine or len(answer.errors()) == 1


def test_a_linked_tree_is_not_filed_into(tmp_path: Path) -> None:
    """With a link anywhere on the way nothing is filed, and nothing is written where it leads."""
    for depth in range(1, 8):
        root = tmp_path / str(depth)
        theirs, ours, outside = root / "theirs", root / "ours", root / "outside"
        copied(theirs, [BASE], ["making", "clean"])
        outside.mkdir()
        link = ours / "/".join(["records", *BASE.split("/")][:depth])
        link.parent.mkdir(parents=True)
        link.symlink_to(outside)
        (refusal,) = said("submit", theirs, "--results", ours).errors()
        assert "symbolic link" in refusal
        assert str(outside) in refusal
        assert not any(outside.iterdir())
        assert not contents(ours)
