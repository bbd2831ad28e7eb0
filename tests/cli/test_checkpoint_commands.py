"""`checkpoints list`, `get`, `verify`, `export`, `card`, and `evaluate --checkpoint`."""

import hashlib
import io
import json
import re
import shutil
import tomllib
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
import safetensors
import safetensors.torch
import torch

import handmade
import registering
from benchmark.checkpoints import get as getting
from benchmark.checkpoints import registry
from benchmark.checkpoints.entry import CheckpointEntry
from benchmark.checkpoints.registry import checkpoint
from benchmark.data.info import DIGITS
from benchmark.engine.recipes import same_radius
from benchmark.engine.weights import save_tensors, weights_sha256
from benchmark.errors import UserError
from benchmark.jobs.export import export, packed, toml_block
from benchmark.models import build
from benchmark.records.cells import Cell
from benchmark.records.checkout import shipped
from benchmark.records.records import Making
from benchmark.records.store import WEIGHTS, Store
from invoking import Command, said

OURS = "narrow-cifar10-resnet18-w16-pgd-at-seed0"
KEY = "by-hand/digits/resnet18-w4/pgd-at/none/seed0"
ENTRY = registering.ENTRY | {"source": "robustbench:Mine2026", "sha256": None, "eps": "0.1"}
PAGE = b"<!DOCTYPE html><html>Google Drive can't scan this file for viruses</html>"


def checkpoints(*arguments):
    """What a `checkpoints` command says."""
    return said("checkpoints", *arguments)


def refusal(answer, code=2):
    """The one line of what was wrong."""
    (line,) = answer.errors(code)
    return line


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """A store in which the cell `KEY` is done."""
    return finish(handmade.store_in(tmp_path_factory.mktemp("finished")), Cell.parse(KEY), digits.test)


def finish(store, cell, test):
    """`store` with an untrained network for `cell`, its making, and its clean record on `test`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = build(cell.arch, DIGITS).eval()
    with torch.no_grad():
        right = model(test.images.permute(0, 3, 1, 2) / 255).argmax(1) == test.labels
    with pytest.MonkeyPatch.context() as patch:
        made = {"weights_sha256": weights_sha256(model.state_dict())}
        patch.setattr(handmade, "PROVENANCE", handmade.PROVENANCE.model_copy(update=made))
        making = handmade.write_making(store, cell)
        bits = {"clean": right.numpy()}
        handmade.write_record(store, cell, "clean", int(right.sum()), len(right), bits=bits)
    metadata = {"fingerprint": making.spec_hash, "making": making.model_dump_json()}
    save_tensors(store.work(cell) / WEIGHTS, model.state_dict(), metadata)
    return store


@pytest.fixture(scope="module")
def weights(finished, tmp_path_factory):
    """The network of the cell `KEY` as a stranger would save it: torch, in DataParallel."""
    state = safetensors.torch.load_file(finished.work(Cell.parse(KEY)) / WEIGHTS)
    path = tmp_path_factory.mktemp("weights") / "mine.pt"
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path.read_bytes()


@pytest.fixture
def enter(tmp_path, monkeypatch):
    """A function that makes `ENTRY`, with other fields, all of the registry, and puts `content` in its
    place, with its hash; returns that place."""
    path, place = tmp_path / "registry" / "checkpoints.toml", tmp_path / "data/checkpoints/mine.pt"
    path.parent.mkdir()
    monkeypatch.setenv("BENCHMARK_CHECKPOINTS", str(path))
    monkeypatch.setenv("BENCHMARK_DATA", str(tmp_path / "data"))

    def write(content=None, **fields):
        if content is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            fields = {"sha256": sha256(content)} | fields
        path.write_text("schema_version = 1\n" + toml_block(CheckpointEntry(**ENTRY | fields)))
        registry._registry.cache_clear()
        return place

    yield write
    registry._registry.cache_clear()


@pytest.fixture
def drive(monkeypatch):
    """Google Drive in place of the real one: give it what it sends, get what was asked of it."""
    asked = []

    def send(content: bytes) -> list[str]:
        def download(drive_id: str, target: Path, *, quiet: bool) -> None:
            asked.append(drive_id)
            target.write_bytes(content)

        monkeypatch.setattr(getting, "drive_id", lambda source, _: f"drive-{source.partition(':')[2]}")
        monkeypatch.setattr(getting, "download_from_drive", download)
        return asked

    return send


def sha256(content: bytes) -> str:
    """The hash of a file of these bytes."""
    return hashlib.sha256(content).hexdigest()


def visible(folder: Path) -> list[str]:
    """Names of the files in a folder that are not hidden."""
    return sorted(path.name for path in folder.glob("*") if path.name[0] != ".")


class TestGet:
    """Files come from addresses, from the zoo or from a copy, and only the right ones stay."""

    def test_mirrors_are_tried_and_nothing_is_fetched_twice(self, enter, serve, weights):
        """A mirror that sends a page is passed over; a file that is there is verified, not fetched."""
        urls = [serve("/page", PAGE), serve("/file", weights)]
        place = enter(source=urls[0], mirrors=urls[1:], sha256=sha256(weights), size=len(weights))
        for said_of in ("in place, verified", "in place already, verified"):
            answer = checkpoints("get", "mine").good()
            assert f"mine: {said_of}: {place}" in answer.stdout
        assert place.read_bytes() == weights
        assert serve.asked == ["/page", "/file"]

    def test_a_web_page_from_drive_is_not_kept(self, enter, drive):
        """What Drive sends instead is told, with the address for a browser and the way back."""
        place = enter()
        drive(PAGE)
        message = refusal(checkpoints("get", "mine"))
        assert "what Google Drive sent is a web page" in message
        assert "https://drive.google.com/file/d/drive-Mine2026/view" in message
        assert f"`checkpoints get mine --file PATH --data-dir {place.parents[1]}`" in message
        assert visible(place.parent) == []

    def test_an_unknown_hash_is_accepted_once(self, enter, drive, weights):
        """A download without a hash on record waits unread for a word, and is not fetched again."""
        place = enter()
        asked = drive(weights)
        message = refusal(checkpoints("get", "mine"))
        assert f"--accept-checksum {sha256(weights)}" in message
        assert "not accepted" in checkpoints("list").stdout
        refusal(checkpoints("get", "mine", "--accept-checksum", "0" * 64))
        assert visible(place.parent) == ["mine.pt"]
        answer = checkpoints("get", "mine", "--accept-checksum", sha256(weights)).good()
        assert "was accepted by you" in answer.stderr
        assert (place.parent / "SHA256SUMS").read_text() == f"{sha256(weights)}  mine.pt\n"
        assert "verified" in checkpoints("get", "mine").stdout
        assert asked == ["drive-Mine2026"]
        checkpoints("verify").good()

    def test_a_copy_is_taken_if_it_is_the_right_one(self, enter, tmp_path, weights):
        """Another file of the user's is refused before it is put in place; the right one is copied."""
        place, copy = enter(sha256=sha256(weights)), tmp_path / "mine copy.pt"
        arguments = ("get", "mine", "--file", copy)
        assert f"there is no file '{copy}'" in refusal(checkpoints(*arguments))
        copy.write_bytes(weights + b" ")
        assert f"expected sha256 {sha256(weights)}" in refusal(checkpoints(*arguments))
        copy.write_bytes(PAGE)
        assert "is a web page" in refusal(checkpoints(*arguments))
        assert not place.exists()
        copy.write_bytes(weights)
        checkpoints(*arguments).good()
        assert place.read_bytes() == copy.read_bytes() == weights

    def test_a_copy_of_unknown_hash_needs_a_word(self, enter, tmp_path, weights):
        """It is put in place together with the word for it, and not before."""
        place, copy = enter(), tmp_path / "copy.pt"
        copy.write_bytes(weights)
        arguments = ("get", "mine", "--file", copy)
        assert f"add --accept-checksum {sha256(weights)}" in refusal(checkpoints(*arguments))
        assert not place.exists()
        checkpoints(*arguments, "--accept-checksum", sha256(weights).upper()).good()
        assert place.read_bytes() == weights
        place.unlink()
        checkpoints(*arguments).good()  # the word was given
        assert place.read_bytes() == weights

    def test_a_copy_takes_the_place_of_what_nobody_accepted(self, enter, drive, tmp_path, weights):
        """Where a download turned out to be another file, the user's own is not passed over."""
        place, copy = enter(), tmp_path / "copy.pt"
        drive(weights + b" ")
        refusal(checkpoints("get", "mine"))
        copy.write_bytes(weights)
        arguments = ("get", "mine", "--file", copy)
        assert f"'{copy}' has sha256 {sha256(weights)}" in refusal(checkpoints(*arguments))
        assert place.read_bytes() == weights + b" "
        checkpoints(*arguments, "--accept-checksum", sha256(weights)).good()
        assert place.read_bytes() == weights

    def test_a_copy_of_what_comes_along_is_refused(self):
        """The flag is not passed over, as if the copy had been taken."""
        assert "leave --file out" in refusal(checkpoints("get", OURS, "--file", "x.pt"))

    def test_a_damaged_file_is_not_used(self, enter, weights):
        """What lies in the place of the file and is another is named; it is the user's to delete."""
        place = enter(weights[:-1], sha256=sha256(weights), source="https://example.org/mine.pt")
        message = refusal(checkpoints("get", "mine"))
        assert f"delete it and `checkpoints get mine --data-dir {place.parents[1]}`" in message

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("nothing",), "no checkpoint is called 'nothing'"),
            (("mine", "--accept-checksum", "abc"), "'abc' is no sha256"),
            (("mine", "--accept-checksum", "0" * 64), "no other is accepted"),
        ],
    )
    def test_wrong_input_is_one_line(self, enter, tmp_path, arguments, message):
        """Unknown names, and hashes that are none or not asked for, are refused."""
        enter(sha256="1" * 64)
        assert message in refusal(checkpoints("get", *arguments, "--data-dir", tmp_path))


class TestVerify:
    """Hash, size, names and shapes."""

    def test_the_committed_file_offline(self, tmp_path):
        """The file in the repository fits its network and is the one behind its records."""
        results = shipped("results/README.md").parent
        answer = checkpoints("verify", "--data-dir", tmp_path, "--results", results).good()
        assert answer.stdout.startswith(f"{OURS}: sha256 ")
        assert f"the weights behind {checkpoint(OURS).cell}" in answer.stdout

    def test_a_changed_file_is_named_and_never_loaded(self, enter, weights, monkeypatch):
        """One other byte ends with exit code 1 before torch sees the file."""
        enter(weights[:-1] + b"x", sha256=sha256(weights))
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch read the file"))
        message = refusal(checkpoints("verify"), code=1)
        assert message.startswith("mine: ")
        assert "expected sha256" in message

    def test_a_file_for_another_network_is_named(self, enter, weights):
        """The right bytes for the wrong network, or under a wrong prefix, end with exit code 1."""
        for fields, named in (
            ({"arch": "resnet18-w8"}, "does not fit the network"),
            ({"prefix": "net."}, "does not begin with the prefix 'net.'"),
            ({"drop": ["nothing."]}, "nothing."),
        ):
            enter(weights, **fields)
            assert named in refusal(checkpoints("verify"), code=1)

    def test_a_file_with_another_normalisation_is_named(self, enter, weights):
        """What the entry has to say is in the line, and with it the file is verified."""
        state = torch.load(io.BytesIO(weights), weights_only=True)["state_dict"]
        layer = {"module.mean": torch.tensor([0.5]), "module.std": torch.tensor([0.25])}
        buffer = io.BytesIO()
        torch.save(layer | state, buffer)
        enter(buffer.getvalue())
        answer = checkpoints("verify")
        assert 'in a registry normalization = "0.5/0.25"' in refusal(answer, code=1)
        enter(buffer.getvalue(), normalization="0.5/0.25")
        checkpoints("verify").good()

    def test_how_names_were_mapped_is_told(self, enter, weights):
        """What was undone to fit the network is in the line, of a prefix that was told, too."""
        enter(weights, prefix="module.")
        answer = checkpoints("verify", "mine").good()
        assert "removed 'module.' from the front of every name" in answer.stdout

    def test_what_is_named_has_to_be_there(self, enter, tmp_path):
        """A checkpoint that is asked for and missing is no success; without names there is nothing."""
        enter()
        assert "is not at" in refusal(checkpoints("verify", "mine", "--data-dir", tmp_path), code=1)
        checkpoints("verify", "--data-dir", tmp_path).good()

    def test_no_file_is_read_without_torchs_protection(self, tmp_path, monkeypatch):
        """The environment variable that lets files run code is refused in one line, exit code 2."""
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        message = checkpoints("verify", "--data-dir", tmp_path).refusal
        assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set" in message


@pytest.mark.parametrize("width", [80, 110])
def test_list_says_what_each_really_is(tmp_path, monkeypatch, width):
    """Every entry has its numbers and whether it is here in a line, what it is below, in the width."""
    monkeypatch.setenv("COLUMNS", str(width))
    answer = checkpoints("list", "--data-dir", tmp_path).good()
    lines = answer.stdout.splitlines()
    assert 0.8 * width < max(map(len, lines)) <= width
    by_name: dict[str, tuple[list[str], list[str]]] = {}
    for line in lines[1:]:
        if line.startswith("    "):
            list(by_name.values())[-1][1].extend(line.split())
        else:
            name, *numbers = line.split()
            by_name[name] = numbers, []
    assert list(by_name) == list(registry.registry())
    for name, entry in registry.registry().items():
        assert entry.what in " ".join(by_name[name][1])
    numbers, below = by_name["wu2020adversarial-cifar10"]
    assert numbers == ["missing", "85.36", "56.17", "—"]
    facts = "cifar10, wrn-34-10, trades-awp, eps 8/255, licence MIT. TRADES-AWP"
    assert " ".join(below).startswith(facts)
    assert by_name[OURS][0][0] == "verified"


class TestExport:
    """A finished cell as a file, a card and an entry."""

    @pytest.fixture
    def exported(self, finished, tmp_path):
        """The cell `KEY`, exported."""
        path = tmp_path / "registry" / "checkpoints" / "small-digits.safetensors"
        return path, Command(finished)("checkpoints", "export", KEY, "--out", path).good()

    def test_the_file_holds_weights_and_making(self, finished, exported):
        """Tensors are those of the cell bit by bit; the metadata say how they were made and score."""
        path, _ = exported
        ours = safetensors.torch.load_file(finished.work(Cell.parse(KEY)) / WEIGHTS)
        theirs = safetensors.torch.load_file(path)
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.items())
        with safetensors.safe_open(path, "pt") as file:
            said_of = file.metadata()
        making, clean = finished.making(Cell.parse(KEY)), finished.record(Cell.parse(KEY), "clean")
        assert said_of["cell"] == KEY
        assert said_of["spec_hash"] == said_of["fingerprint"] == making.spec_hash
        assert Making.model_validate_json(said_of["making"]) == making
        assert json.loads(said_of["records"]) == {"clean": {"k": clean.k, "n": clean.n}}
        assert json.loads(said_of["recipe"]) == making.spec["recipe"]
        assert (said_of["format_version"], said_of["licence"]) == ("1", "MIT")

    def test_the_same_cell_gives_the_same_bytes(self):
        """Neither hash seeds nor the order of metadata reach the file; the library reads it."""
        state = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.int64)}
        facts = {f"fact {number}": "ä" * number for number in range(9)}
        content = packed(state, facts)
        assert content == packed(state, dict(reversed(facts.items())))
        length = int.from_bytes(content[:8], "little")
        assert length % 8 == 0
        assert list(json.loads(content[8 : 8 + length])["__metadata__"]) == sorted(facts)
        back = safetensors.torch.load(content)
        assert all(torch.equal(back[name], tensor) for name, tensor in state.items())

    def test_the_block_is_an_entry(self, finished, exported, store, monkeypatch, tmp_path):
        """The printed table, in a registry beside the file, verifies and evaluates as the cell did."""
        path, answer = exported
        toml = path.parent / "checkpoints.toml"
        toml.write_text("schema_version = 1\n" + answer.stdout)
        monkeypatch.setenv("BENCHMARK_CHECKPOINTS", str(toml))
        clean = finished.record(Cell.parse(KEY), "clean")
        entry = checkpoint("small-digits")
        assert entry.published == {"clean": clean.value}
        assert (entry.method, entry.cell, entry.normalization) == ("pgd-at", KEY, "dataset")
        checkpoints("verify", "--data-dir", tmp_path, "--results", finished.results).good()
        evaluate = partial(Command(store), "evaluate", "--evaluations", "clean", "--threads", "1")
        evaluate("--checkpoint", "small-digits").good()
        model = ("--arch", "resnet18-w4", "--dataset", "digits")
        evaluate("--weights", path, *model, "--name", "own").good()
        for name in ("small-digits", "own"):
            cell = Cell("own", "digits", "resnet18-w4", name, "none", 0)
            record = store.record(cell, "clean")
            assert (record.k, record.n) == (clean.k, clean.n)
            assert (entry.summary in record.remarks) == (name == "small-digits")

    def test_the_source_leads_to_the_file_from_the_registry(self, finished, monkeypatch, tmp_path):
        """Below the folder of the registry in use it is the path from there, else the file alone."""
        toml = tmp_path / "mine" / "checkpoints.toml"
        toml.parent.mkdir()
        toml.write_text("schema_version = 1\n")
        monkeypatch.setenv("BENCHMARK_CHECKPOINTS", str(toml))
        for folder, source, told in (
            (toml.parent / "given" / "on", "given/on/net.safetensors", "into the registry\n"),
            (tmp_path / "other", "net.safetensors", f"into a registry in '{tmp_path / 'other'}'"),
        ):
            out = folder / "net.safetensors"
            answer = Command(finished)("checkpoints", "export", KEY, "--out", out).good()
            (entry,) = tomllib.loads(answer.stdout)["checkpoint"]
            assert (entry["source"], entry["file"]) == (source, "net.safetensors")
            assert told in answer.stderr

    def test_an_evaluation_with_a_dot_in_its_name(self):
        """It is one name in the entry, too."""
        numbers = {"clean": 0.75, "my-attack-1.0": 0.5}
        entry = checkpoint(OURS).model_copy(update={"published": numbers})
        (read,) = tomllib.loads(toml_block(entry))["checkpoint"]
        assert read["published"] == numbers

    def test_the_card_says_what_counts(self, finished, exported):
        """The card has the hash, the numbers with an interval, and the lines that load the file."""
        path, _ = exported
        card = path.with_suffix(".md").read_text()
        clean = finished.record(Cell.parse(KEY), "clean")
        assert sha256(path.read_bytes()) in card
        assert f"| Std (`clean`) | {100 * clean.value:.2f} [" in card
        code = card.split("```")[1].removeprefix("python\n")
        assert len([line for line in code.splitlines() if line]) == 5
        space: dict[str, object] = {}
        exec(code.replace(path.name, str(path)), space)
        assert not space["model"].training
        assert "What it is not" in card
        assert "`python -m benchmark evaluate --checkpoint small-digits`" in card

    def test_clean_training_has_no_radius(self, store, digits):
        """An entry says the eps that its network was trained at, not the dataset's, and its card
        claims no adversarial training."""
        cell = Cell.parse(KEY.replace("pgd-at", "standard"))
        made = export(cell, "clean.safetensors", finish(store, cell, digits.test), name="clean")
        assert same_radius(made.entry.eps, 0)
        assert "| adversarial training | none, on clean images only |" in made.card
        assert not re.search("Linf|recipe of the adversarial|tags: .*adversarial-training", made.card)

    def test_what_chose_the_checkpoint_that_it_starts_from(self, tmp_path):
        """It chose what is exported, too."""
        store = Store(shipped("results/README.md").parent, tmp_path)
        cell = Cell.parse(f"narrow-from-{OURS}/cifar10/resnet18-w16/pgd-at/none/seed0")
        place = store.work(cell) / WEIGHTS
        place.parent.mkdir(parents=True)
        shutil.copyfile(shipped(f"checkpoints/{OURS}.safetensors"), place)
        made = export(cell, "given.safetensors", store, name="given")
        assert made.entry.selects_on == checkpoint(OURS).selects_on == "test"

    def test_what_cannot_be_exported_is_one_line(self, finished, store, tmp_path):
        """Unfinished cells, weights of another making and files that exist leave nothing behind."""
        handmade.copied_to(store, finished)
        out = tmp_path / "out.safetensors"

        def refused(key: str = KEY, out: Path = out, *more: str) -> str:
            return Command(store)("checkpoints", "export", key, "--out", out, *more).refusal

        assert "is not a cell key" in refused("by-hand/digits")
        assert "has no making" in refused(KEY.replace("seed0", "seed7"))
        assert "of weights made elsewhere" in refused(KEY.replace(KEY.partition("/")[0], "own"))
        assert "does not end in .safetensors" in refused(KEY, tmp_path / "out.pt")
        assert "cannot be an entry of a registry: name: " in refused(KEY, out, "--name", "A B")
        assert "registry: licence: " in refused(KEY, out, "--licence", "A\nB")
        (tmp_path / "file").touch()
        assert refused(KEY, tmp_path / "file" / "x.safetensors").endswith("another folder by --out")
        out.with_suffix(".md").write_text("mine")
        assert "out.md' exists" in refused()
        out.with_suffix(".md").unlink()
        path = store.work(Cell.parse(KEY)) / WEIGHTS
        state = safetensors.torch.load_file(path)
        state["conv1.weight"] += 1
        safetensors.torch.save_file(state, path)
        assert "are not those of the making" in refused()
        path.unlink()
        assert "bring its folder from where they were made" in refused()
        store.record_path(Cell.parse(KEY), "clean").unlink()
        assert "has no record" in refused()
        assert not list(tmp_path.glob("out*"))

    def test_committed_cards_are_of_today(self):
        """Model cards in the repository are what `card` prints of the committed records."""
        folder = shipped("checkpoints/README.md").parent
        cards = [path for path in folder.glob("*.md") if path.name != "README.md"]
        assert cards
        for path in cards:
            answer = checkpoints("card", path.stem, "--results", folder.parent / "results").good()
            assert path.read_text() == answer.stdout

    def test_a_card_is_of_a_cell(self):
        """A checkpoint that others made has no card here, but a link."""
        message = refusal(checkpoints("card", "zhang2019theoretically-cifar10"))
        assert "https://arxiv.org/abs/1901.08573" in message


class TestEvaluate:
    """`evaluate --checkpoint`."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--checkpoint", OURS, "--arch", "resnet18"), "leave them out"),
            (("--checkpoint", OURS, "--normalization", "none"), "leave them out"),
            (("--checkpoint", "nothing"), "no checkpoint is called 'nothing'"),
            (("--checkpoint", "zhang2019theoretically-cifar10"), "`checkpoints get zhang2019"),
            (("--arch", "resnet18", "--dataset", "digits"), "name a file by --weights"),
        ],
    )
    def test_wrong_input_is_one_line(self, command, tmp_path, arguments, message):
        """A checkpoint says everything itself, and has to be there; without one a file is needed."""
        assert message in command("evaluate", *arguments, "--data-dir", tmp_path).refusal
        assert not list(command.store.results.rglob("*.json"))

    def test_another_radius_is_remarked(self, enter, command, weights):
        """Weights trained with another eps than they are attacked with say so in every record."""
        enter(weights)
        command("evaluate", "--checkpoint", "mine", "--evaluations", "clean").good()
        record = command.store.record(Cell("own", "digits", "resnet18-w4", "mine", "none", 0), "clean")
        remark = "checkpoint mine was trained at eps 0.1 and is attacked at eps 0.08 here"
        assert remark in record.remarks
        assert record.sources == {"mine.pt": sha256(weights)}


def test_without_robustbench_the_way_by_hand_is_told(enter, tmp_path, monkeypatch):
    """A zoo file that cannot be fetched names what to install and how to bring a copy."""
    enter()
    missing = Mock(side_effect=UserError("RobustBench is not installed; install it"))
    monkeypatch.setattr("benchmark.checkpoints.robustbench.import_robustbench", missing)
    message = refusal(checkpoints("get", "mine", "--data-dir", tmp_path))
    assert "RobustBench is not installed" in message
    assert "--file PATH" in message
