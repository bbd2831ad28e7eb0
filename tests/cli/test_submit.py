"""`submit`: records of others are filed byte for byte, all or none, or refused."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

import benchmark.submission.place
from benchmark.plans.named import scale
from benchmark.records.cells import Cell
from benchmark.records.files import link_once, write_atomically
from benchmark.report.tables.audit import AUDITED, audit_cells
from benchmark.submission.expected import Expected
from benchmark.submission.place import commands
from invoking import MINI, Said, said
from submitting import ALL, ATTACK, BASE, PGD, RESULTS, RIFT, change, contents, copied

PAGE = Path(__file__).parents[2] / "docs" / "contributing-results.md"


@pytest.fixture
def theirs(tmp_path):
    """Somebody else's results tree, with a table that is not looked at."""
    root = copied(tmp_path / "theirs")
    (root / "tables").mkdir()
    (root / "tables" / "notes.txt").write_text("not a record")
    return root


@pytest.fixture(autouse=True)
def _every_commit_is_known(monkeypatch):
    """The checkout that is tested may have no history."""
    monkeypatch.setattr("benchmark.submission.examine.missing_commits", lambda _: frozenset())


@pytest.fixture
def ours(tmp_path):
    """Our results tree, empty and not yet there."""
    return tmp_path / "ours"


def submitted(*arguments: object) -> Said:
    """What `submit` answers, the last of `arguments` being the tree that it files into."""
    *others, results = map(str, arguments)
    return said("submit", *others, "--results", results)


def filed(*arguments: object) -> Said:
    """What `submit` answers where nothing is wrong."""
    return submitted(*arguments).good()


def refused(answer: Said) -> list[str]:
    """The lines of a refusal, which printed no result."""
    assert answer.exit_code == 2
    assert answer.stdout == ""
    return answer.stderr.splitlines()


def test_a_tree_is_filed_byte_for_byte(theirs, ours):
    """Every record and making of another tree stands in ours as it stood there, and nothing else."""
    answer = filed(theirs, ours)
    assert contents(ours) == {f"records/{k}": v for k, v in contents(theirs / "records").items()}
    lines = answer.stdout.splitlines()
    assert len(lines) == 12
    assert all(line.startswith("filed  narrow/") for line in lines)
    assert f"filed  {RIFT}  clean  66.29 % [65.36, 67.21] (6629 of 10000)" in lines
    assert answer.stderr.splitlines()[-2:] == [
        f"  python -m benchmark leaderboard --results {ours}",
        f"  python -m benchmark check --scale narrow --results {ours}",
    ]


def test_what_is_there_already(theirs, ours):
    """The same records again change nothing, and are reported so; new ones are filed."""
    filed(theirs / "records" / BASE, ours)
    before = contents(ours)
    answer = filed(theirs, ours)
    assert sum(line.startswith("already there  ") for line in answer.stdout.splitlines()) == 4
    assert contents(ours).items() > before.items()
    again = submitted(theirs, ours)
    assert again.stdout.count("already there") == 12
    assert again.stderr == ""


def test_a_single_record(theirs, ours, tmp_path):
    """A record alone brings its bits and its making, and goes to the key that its contents name."""
    filed(theirs / "records" / BASE, ours)
    loose = tmp_path / "downloads"
    loose.mkdir()
    for name in ("clean.json", "clean.npz", "making.json"):
        shutil.copy(theirs / "records" / RIFT / name, loose)
    filed(loose / "clean.json", ours)
    assert contents(ours / "records" / RIFT) == contents(loose)


def test_everything_wrong_is_told_and_nothing_filed(theirs, ours):
    """Each mistake of a submission is a line that names its file; what is right is not filed either."""
    paths = [theirs / "records" / RIFT / f"{name}.json" for name in ("clean", PGD)]
    change(paths[0], "provenance/device", " ")
    change(paths[0], "provenance/seconds", 1e9)
    change(paths[1], "parts/run0/k", 1)
    lines = refused(submitted(theirs, ours))
    found = sorted(line.split(": ")[:2] for line in lines[:-1])
    assert found == [["refused", str(path)] for path in (paths[0], paths[0], paths[1])]
    assert lines[-1] == "nothing was filed: 3 mistakes in 2 files"
    assert not ours.exists()


def test_records_are_written_once(theirs, ours):
    """A right record that differs from one on file is refused, with the first such field."""
    filed(theirs, ours)
    before = contents(ours)
    change(theirs / "records" / RIFT / "clean.json", "provenance/seconds", 99.0)
    line, _ = refused(submitted(theirs, ours))
    assert "clean.json: provenance.seconds is 99.0, but '" in line
    assert line.endswith("is on file with 10.4; results are written once")
    assert contents(ours) == before


def test_what_differs_from_the_file_on_record(theirs, ours):
    """Bits that were lost there, other bytes of the same values, and a list, which is cut."""
    filed(theirs, ours)
    path = theirs / "records" / RIFT / "clean.json"
    (bits,) = (ours / "records" / RIFT).glob("clean.*.npz")
    bits.rename(aside := bits.with_name("aside"))
    line, _ = refused(submitted(theirs, ours))
    assert f"{path}: bits are missing or damaged beside '{ours}/records/{RIFT}/clean.json'" in line
    aside.rename(bits)
    path.write_text(path.read_text().replace("\n", ""))
    line, _ = refused(submitted(theirs, ours))
    assert "clean.json: file is written otherwise, but '" in line
    assert "is on file with the same values; results are written once" in line
    change(path, "remarks", ["a word"] * 99)
    line, _ = refused(submitted(theirs, ours))
    assert "clean.json: remarks is ['a word', " in line
    assert len(line) < 600


def test_two_versions_of_one_record(theirs, ours, tmp_path):
    """A submission that holds two different records of one place is refused."""
    copied(tmp_path / "other")
    change(tmp_path / "other" / "records" / RIFT / "clean.json", "provenance/seconds", 99.0)
    text = f"differs from {theirs}/records/{RIFT}/clean.json, which is of"
    assert any(text in line for line in refused(submitted(theirs, tmp_path / "other", ours)))


@pytest.mark.parametrize("fails_at", [0, 7, 13])
def test_all_or_nothing(theirs, ours, monkeypatch, fails_at):
    """If one file cannot be put in place, those before it are taken back, and no folder stays."""
    filed(theirs / "records" / BASE, ours)
    before, calls = sorted(ours.rglob("*")), iter(range(100))

    def failing(part: Path, target: Path) -> bool:
        if next(calls) == fails_at:
            raise OSError(28, "No space left on device")
        return link_once(part, target)

    monkeypatch.setattr(benchmark.submission.place, "link_once", failing)
    (line,) = refused(submitted(theirs, ours))
    assert "No space left on device); nothing was filed" in line
    assert sorted(ours.rglob("*")) == before


def test_what_others_wrote_meanwhile(theirs, ours, monkeypatch):
    """A file that appears between check and writing is not overwritten."""
    target = ours / "records" / ALL / "clean.json"

    def racing(part: Path, to: Path) -> bool:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("somebody else's")
        return link_once(part, to)

    monkeypatch.setattr(benchmark.submission.place, "link_once", racing)
    (line,) = refused(submitted(theirs, ours))
    assert line.endswith("has just been written by someone else; nothing was filed")
    assert contents(ours).keys() == {f"records/{ALL}/clean.json"}


def test_a_dry_run_writes_nothing(theirs, ours):
    """`--dry-run` tells what would be filed."""
    answer = filed(theirs, "--dry-run", ours)
    assert f"would be filed  {RIFT}  clean" in answer.stdout.splitlines()
    assert not ours.exists()


def test_a_commit_that_is_not_known(theirs, ours):
    """A record from outside a git checkout is filed, with a remark."""
    path = theirs / "records" / RIFT / "clean.json"
    change(path, "provenance/commit", None)
    change(path, "provenance/dirty", None)
    answer = filed(theirs, ours)
    remark = f"remark: {path}: provenance.commit is null: it was made outside of a git checkout"
    assert remark in answer.stderr


def test_dirty_records(theirs, ours):
    """Records of changed code are refused, in one line for many files, unless they are allowed."""
    for path in (theirs / "records").rglob("*.json"):
        change(path, "provenance/dirty", True)
    assert submitted(theirs, ours).exit_code == 2
    assert not ours.exists()
    line, last = submitted("--check", theirs).stderr.splitlines()
    assert line.startswith(f"wrong: 12 files, such as {theirs}/records/narrow/")
    assert "provenance.dirty is true" in line
    assert last == f"12 mistakes in 12 files of '{theirs}'"
    filed("--check", "--allow-dirty", theirs)
    filed(theirs, "--allow-dirty", ours)
    assert contents(ours / "records") == contents(theirs / "records")


# --- the tree itself --------------------------------------------------------------------------------


def test_checking_a_tree(theirs):
    """`--check` counts what is there, and finds in a tree what a submission is refused for."""
    answer = filed("--check", theirs)
    assert answer.stdout.splitlines() == ["narrow: 3 cells, 9 records, 3 makings", "nothing is wrong"]
    change(theirs / "records" / RIFT / "clean.json", "value", 0.7)
    answer = submitted("--check", theirs)
    assert answer.exit_code == 2
    first, last = answer.stderr.splitlines()
    assert first.endswith("value 0.7 is not k / n = 6629 / 10000")
    assert last == f"1 mistake in 1 file of '{theirs}'"


def test_the_leaderboard_of_another_tree(theirs):
    """What is out of date there is told with a command that writes there."""
    answer = said("leaderboard", "--check", "--results", theirs)
    assert answer.exit_code == 1
    *_, command = answer.stderr.splitlines()
    assert command == f"`python -m benchmark leaderboard --results {theirs}` writes them"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name RECORDS to submit, or --check to check the results tree; not both"),
        (("x", "--check"), "name RECORDS to submit, or --check to check the results tree; not both"),
        (("gone",), "'gone' does not exist; name record files, or folders that hold them"),
        ((str(MINI),), "is no record; name its .json file, its bits are read from beside it"),
        ((str(RESULTS / "tables"),), "holds no records; name a results tree"),
        (("--check",), "has no folder records; name a results tree by --results"),
        ((str(RESULTS), "--scale", "narrow"), "--scale 'narrow' is no TOML file"),
    ],
)
def test_wrong_input_is_one_line(ours, arguments, message):
    """What cannot be submitted at all ends in one line and exit code 2."""
    (line,) = refused(submitted(*arguments, ours))
    assert message in line
    assert not ours.exists()


# --- a scale of one's own, and the page -------------------------------------------------------------


@pytest.fixture
def workplace(own_mini, monkeypatch):
    """A folder to work in, with the base models of a scale of one's own, made a moment ago."""
    folder = own_mini.results.parent
    (folder / "my.toml").write_bytes(MINI.read_bytes())
    own_mini.results.rename(folder / "mine")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BENCHMARK_RESULTS", "results")
    return folder


def test_checks_of_what_was_filed(tmp_path):
    """Each scale with new records is checked, and so are models from elsewhere and from checkpoints."""
    name, rest = "narrow-cifar10-resnet18-w16-pgd-at-seed0", "cifar10/resnet18-w16/pgd-at/none/seed0"
    keys = (f"mini/digits/{rest.partition('/')[2]}", f"narrow-from-{name}/{rest}", f"own/{rest}")
    mini = scale(str(MINI))
    made = commands([Cell.parse(key) for key in keys], Expected({"mini": mini}), tmp_path)
    assert [line for line in made if " check " in line] == [
        f"python -m benchmark check --scale {tmp_path}/scales/mini.toml --results {tmp_path}",
        f"python -m benchmark check --scale narrow --from-checkpoint {name} --results {tmp_path}",
        f"python -m benchmark check --scale own --results {tmp_path}",
    ]


def test_an_audit_of_a_checkpoint_can_be_complete(tmp_path):
    """Without what chooses on a hold-out, on which its weights were trained."""
    name = "narrow-from-narrow-cifar10-resnet18-w16-pgd-at-seed0"
    cells = audit_cells(scale(name), [each for each in AUDITED if each != "rift-held-out"])
    for cell in cells:
        (tmp_path / "records" / cell.key).mkdir(parents=True)
    made = commands(cells, Expected(), tmp_path)
    assert any(line.startswith("python -m benchmark audit --scale narrow --from-") for line in made)


def test_a_scale_of_ones_own(workplace):
    """Its file is asked for, filed with the records, and then known; another of its name is refused."""
    assert "unknown scale 'mini'" in said("submit", "mine", "--allow-dirty").stderr
    filed = Path("results/scales/mini.toml")
    said("submit", "mine", "--allow-dirty", "--scale", "my.toml").good()
    filed.unlink()  # as of records that were made in this tree
    answer = said("submit", "mine", "--allow-dirty", "--scale", "my.toml").good()
    assert f"filed  {filed}" in answer.stdout.splitlines()
    assert filed.read_bytes() == MINI.read_bytes()
    assert scale(str(filed)).name == "mini"
    said("submit", "--check", "--allow-dirty").good()
    Path("other.toml").write_text(MINI.read_text().replace("epochs = 3", "epochs = 4"))
    other = said("submit", "mine", "--allow-dirty", "--scale", "other.toml")
    assert other.exit_code == 2
    assert "other.toml: name is mini, and 'results/scales/mini.toml' is another" in other.stderr
    assert "recipe.epochs is 3, but this checkout would make it with 4 (stale)" in other.stderr


def test_the_page_for_outsiders(workplace):
    """Every command of the page works, in its order; it has 20 lines of text or so."""
    text = PAGE.read_text().splitlines()
    assert len([line for line in text if line.strip()]) <= 22
    commands = [
        shlex.split(line)[3:] for line in text if line.startswith("       python -m benchmark ")
    ]
    names = [name for name, *_ in commands]
    assert names == ["table1", "evaluate", "submit", "submit", "submit"]
    Path("my.toml").write_text(MINI.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    weights = Path("artifacts/mini/digits/resnet18-w8/pgd-at/none/seed0/weights.safetensors")
    shutil.copy(weights, "net.safetensors")
    for name, *arguments in commands:
        dirty = ["--allow-dirty"] if name == "submit" else []  # the checkout that is tested may be
        answer = said(name, *arguments, *dirty).good()
    filed = {path.parts[2] for path in Path("results/records").rglob("*.json")}
    assert filed == {"mini", "own"}
    assert {Path(line).name for line in answer.stdout.splitlines()[-1:]} == {"nothing is wrong"}


def test_the_order_of_files(theirs, ours, monkeypatch):
    """A killed process leaves no record without its making and its bits, which are put there first."""
    order: list[str] = []

    def noted(part: Path, target: Path) -> bool:
        name = target.relative_to(ours / "records").as_posix()
        order.append(re.sub(r"\.[0-9a-f]{12}\.npz", ".npz", name))
        return link_once(part, target)

    monkeypatch.setattr(benchmark.submission.place, "link_once", noted)
    filed(theirs, ours)
    for key in (BASE, RIFT, ALL):
        for name in ("clean", ATTACK):
            places = [f"{key}/{file}" for file in ("making.json", f"{name}.npz", f"{name}.json")]
            assert [each for each in order if each in places] == places


def test_both_names_of_bits(theirs, ours):
    """Bits are filed by the name with their hash; a record that is there by the older one is there."""
    old = theirs / "records" / BASE / "clean.npz"
    assert old.exists()
    filed(theirs, ours)
    (new,) = (ours / "records" / BASE).glob("clean.*.npz")
    assert new.read_bytes() == old.read_bytes()
    for one, other in ((theirs, ours), (ours, theirs)):
        assert "already there" in submitted(one, other).good().stdout
        assert "filed  " not in submitted(one, other).good().stdout
    assert not (ours / "records" / BASE / "clean.npz").exists()


def test_hidden_files_are_not_read(theirs, ours):
    """Neither those handed in nor those in the tree, nor what a killed process has left there."""
    for root in (theirs, ours):
        for name in ("._clean.json", ".DS_Store", ".ipynb_checkpoints/x.json", ".h-1-00000000.part"):
            write_atomically(root / "records" / BASE / name, b"\0")
    filed(theirs, ours)
    assert said("submit", "--check", "--results", ours).good().stdout.endswith("nothing is wrong\n")


def test_files_that_are_too_large(theirs, ours):
    """A file beyond any record's size is not read."""
    with (theirs / "records" / RIFT / "clean.json").open("r+") as file:
        file.truncate(2**24 + 1)
    lines = refused(submitted(theirs, ours))
    assert any("clean.json has 16,777,217 bytes, more than 16,777,216" in line for line in lines)
