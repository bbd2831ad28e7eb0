"""The registry of checkpoints: what it holds is true, the broken is refused, files are hashed first."""

import hashlib
import re

import pytest
import torch

import registering
from benchmark.checkpoints import registry as module
from benchmark.checkpoints.entry import CheckpointEntry, FileSource
from benchmark.checkpoints.load import load_checkpoint
from benchmark.checkpoints.networks import NORMALISATIONS, normalised, normalization_of
from benchmark.checkpoints.registry import FileState, checkpoint, file_state, registry, verified_file
from benchmark.checkpoints.robustbench import CONSTANTS, drive_id, zoo_arch, zoo_model
from benchmark.data.get.sha256sums import write_sums
from benchmark.data.info import CIFAR10
from benchmark.engine.recipes import pixel_units, same_radius
from benchmark.engine.weights import weights_sha256
from benchmark.errors import UserError
from benchmark.models import build
from benchmark.records.cells import Cell
from benchmark.records.checkout import shipped
from benchmark.records.store import Store
from registering import toml_of

OURS = "narrow-cifar10-resnet18-w16-pgd-at-seed0"
CONTENT = b"\x80 bytes that nobody reads"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ENTRY = registering.ENTRY | {"sha256": SHA256}
LOOSE = {"source": "robustbench:Mine2026", "sha256": None}


@pytest.fixture
def written(tmp_path):
    """A function that writes a registry, of `ENTRY` with other fields or of a text, and reads it."""

    def write(text=None, **fields):
        path = tmp_path / "registry.toml"
        path.write_text(toml_of(ENTRY | fields) if text is None else text)
        module._registry.cache_clear()
        return registry(path)

    yield write
    module._registry.cache_clear()


@pytest.fixture
def put(tmp_path):
    """A function that puts bytes where the file of an entry belongs; its data directory."""

    def write(content=CONTENT):
        path = tmp_path / "data" / "checkpoints" / "mine.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return tmp_path / "data"

    return write


class TestShipped:
    """What `checkpoints.toml` of the repository says."""

    def test_our_own_file_is_the_cell_of_its_records(self, tmp_path):
        entry, store = checkpoint(OURS), Store(shipped("results/README.md").parent, tmp_path)
        cell = Cell.parse(entry.cell)
        network, info = entry.network
        loaded = load_checkpoint(verified_file(entry, tmp_path), build(network.name, info))
        assert weights_sha256(loaded.state) == store.making(cell).provenance.weights_sha256
        assert entry.published
        for name, value in entry.published.items():
            assert store.record(cell, name).value == value

    def test_what_ids_do_not_say_is_said(self):
        """Known surprises: another method, another radius, extra images, an over-fitted epoch."""
        known = registry()
        assert "TRADES-AWP" in known["wu2020adversarial-cifar10"].what
        assert known["wu2020adversarial-cifar100"].what.startswith("AT-AWP")
        zhang = known["zhang2019theoretically-cifar10"]
        assert zhang.eps == "0.031"
        assert zhang.drop == ("sub_block1.",)
        wang = known["wang2020improving-cifar10"]
        assert wang.extra_data
        assert "WRN-28-10" in wang.what
        assert "over-fitted" in known["rice2020overfitting-cifar100"].what

    def test_unknown_hashes_are_of_the_zoo_only(self):
        """Whatever is not of RobustBench's zoo has a hash, and what is has its id under its dataset."""
        for entry in registry().values():
            assert (entry.sha256 is not None) or entry.kind is FileSource.ROBUSTBENCH
            assert entry.what.endswith(".")
            if entry.is_zoo:
                assert entry.arch == entry.source

    def test_zoo_files_fit_the_networks_they_are_given_to(self, monkeypatch):
        """RobustBench's network and ours are alike in names, shapes, mean and std, bar the dropped."""
        # Only names and shapes matter, and drawing 200 million numbers takes seconds.
        monkeypatch.setattr(torch.Tensor, "normal_", lambda self, *_, **__: self)
        for layer in (torch.nn.Conv2d, torch.nn.Linear):
            monkeypatch.setattr(layer, "reset_parameters", lambda self: None)
        checked = []
        for entry in registry().values():
            if entry.kind is not FileSource.ROBUSTBENCH:
                continue
            assert drive_id(entry.source, entry.dataset)
            if entry.is_zoo:
                continue
            theirs = zoo_model(zoo_arch(entry.source, entry.dataset)).state_dict()
            mean, std = (theirs.pop(name, None) for name in CONSTANTS)
            network, info = entry.network
            ours = build(network.name, info).state_dict()
            kept = {n: t.shape for n, t in theirs.items() if not n.startswith(entry.drop or "\n")}
            assert kept == {name: tensor.shape for name, tensor in ours.items()}
            assert all(any(name.startswith(part) for name in theirs) for part in entry.drop)
            expected = ((0,) * 3, (1,) * 3) if mean is None else (mean.flatten(), std.flatten())
            for one, other in zip((info.mean, info.std), expected, strict=True):
                torch.testing.assert_close(torch.tensor(one), torch.as_tensor(other).float())
            checked.append(entry.name)
        assert {"zhang2019theoretically-cifar10", "wu2020adversarial-cifar100"} <= set(checked)

    def test_an_unknown_name_brings_its_likes(self):
        with pytest.raises(UserError, match=r"close to it: .*wu2020adversarial-cifar10"):
            checkpoint("Wu2020Adversarial")


class TestFile:
    """What may stand in a registry."""

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"dataset": "mnist"}, "dataset: unknown dataset 'mnist'"),
            ({"arch": "resnet19"}, "arch: unknown architecture 'resnet19'"),
            ({"arch": "robustbench:"}, "arch: unknown architecture"),
            ({"method": "magic"}, "method: "),
            ({"cell": "quick/digits"}, "cell: 'quick/digits' is not a cell key"),
            ({"cell": "quick/digits/resnet18-w8/pgd-at/none/seed0"}, "of another dataset"),
            ({"cell": "quick/digits/resnet18-w4/pgd-at/rift/seed0"}, "none, if fine-tuned"),
            ({"sha256": None}, "sha256 is missing"),
            ({"source": "../mine.pt"}, "is no path below the registry"),
            ({"source": "/etc/mine.pt"}, "is no path below the registry"),
            ({"source": "other.pt"}, "is no path below the registry to mine.pt"),
            ({"source": "mine.pt", "mirrors": ["https://a.org/b"]}, "only an address has mirrors"),
            ({"source": "file:///etc/mine.pt"}, "begins with file:; https: and http: are right"),
            ({"source": "ftp://a.org/mine.pt"}, "begins with ftp:; https: and http: are right"),
            ({"mirrors": ["ftp://a.org/b"]}, "'ftp://a.org/b' is no http or https address"),
            ({"normalization": "mnist"}, "'mnist' is none of dataset, none"),
            ({"normalization": "cifar10"}, "Digits needs 1 means"),
            ({"arch": "robustbench:X", "normalization": "none"}, "normalise pixels themselves"),
            ({"eps": "8 of 255"}, "eps: "),
            ({"what": "two\nlines"}, "what: "),
            ({"hash": "abc"}, "hash: "),
            ({"root": "/"}, "root: "),
        ],
    )
    def test_a_broken_entry_is_one_line(self, written, tmp_path, fields, named):
        where = re.escape(f"'{tmp_path / 'registry.toml'}', checkpoint ")
        with pytest.raises(UserError, match=rf"^{where}.*{re.escape(named)}.*$"):
            written(**fields)

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("[[checkpoint", "is not TOML"),
            ("schema_version = 2\n", "schema_version = 1"),
            ("schema_version = 1\nother = 1\n", "holds 'other'"),
            ("schema_version = 1\ncheckpoint = 1\n", "holds 'checkpoint'"),
            (toml_of(ENTRY, ENTRY | {"file": "b.pt"}), "two entries are named 'mine'"),
            (toml_of(ENTRY, ENTRY | {"name": "other"}), "file 'mine.pt' is that of mine too"),
            (toml_of(ENTRY) + "published = {clean = 66.3}\n", "published.clean"),
            (toml_of(ENTRY) + "published = {clear = 0.6}\n", "unknown evaluation 'clear'"),
        ],
    )
    def test_a_broken_file_is_one_line(self, written, tmp_path, text, named):
        """What is wrong with the file as a whole, and values that are no fractions, are named."""
        where = re.escape(str(tmp_path / "registry.toml"))
        with pytest.raises(UserError, match=rf"^'{where}'.*{re.escape(named)}.*$"):
            written(text)

    def test_the_environment_names_another(self, written, tmp_path, monkeypatch):
        """`BENCHMARK_CHECKPOINTS` takes the place of the shipped registry."""
        written()
        monkeypatch.setenv("BENCHMARK_CHECKPOINTS", str(tmp_path / "registry.toml"))
        assert list(registry()) == ["mine"]
        assert checkpoint("mine").urls == ("https://example.org/mine.pt",)

    def test_paths_are_from_the_registry(self, written, tmp_path):
        """A file beside a registry of one's own is found from there, not from the repository."""
        entry = written(source="weights/mine.pt")["mine"]
        with pytest.raises(UserError, match=r"mine\.pt'; put the right file there, or mend its entry"):
            verified_file(entry, tmp_path / "data")
        (tmp_path / "weights").mkdir()
        (tmp_path / "weights" / "mine.pt").write_bytes(CONTENT)
        assert verified_file(entry, tmp_path / "data") == tmp_path / "weights" / "mine.pt"


class TestHeld:
    """A file is handed out only if it is the right one."""

    def test_the_right_bytes(self, written, put):
        entry = written(size=len(CONTENT))["mine"]
        data = put()
        assert verified_file(entry, data).read_bytes() == CONTENT
        assert file_state(entry, data) is FileState.VERIFIED

    def test_a_missing_file_says_how_to_get_it(self, written, tmp_path):
        entry = written()["mine"]
        get = f"`checkpoints get mine --data-dir {tmp_path}` downloads it"
        with pytest.raises(UserError, match=get):
            verified_file(entry, tmp_path)
        assert file_state(entry, tmp_path) is FileState.MISSING

    @pytest.mark.parametrize("content", [CONTENT + b" ", b"\x81" + CONTENT[1:]])
    def test_other_bytes_are_refused(self, written, put, content):
        """A byte more, less or other is another file, and both hashes are told."""
        entry, data = written()["mine"], put(content)
        with pytest.raises(UserError, match=f"{SHA256}.*{hashlib.sha256(content).hexdigest()}"):
            verified_file(entry, data)
        assert file_state(entry, data) is FileState.DAMAGED

    def test_another_length_is_told_as_such(self, written, put):
        """Where the registry knows the size, a truncated file is told by it."""
        entry = written(size=len(CONTENT))["mine"]
        with pytest.raises(UserError, match=f"expected {len(CONTENT)} bytes, found 3"):
            verified_file(entry, put(CONTENT[:3]))

    def test_a_file_of_unknown_hash_has_to_be_accepted(self, written, put):
        """Without a hash on record it is refused with the one it has, and taken once that is noted."""
        entry, data = written(**LOOSE)["mine"], put()
        assert file_state(entry, data) is FileState.UNACCEPTED
        with pytest.raises(UserError, match=f"checkpoints get mine --accept-checksum {SHA256}"):
            verified_file(entry, data)
        write_sums(data / "checkpoints", {"mine.pt": SHA256})
        assert verified_file(entry, data).read_bytes() == CONTENT
        put(CONTENT + b" ")
        assert file_state(entry, data) is FileState.DAMAGED

    def test_what_was_accepted_does_not_outweigh_the_registry(self, written, put):
        entry, data = written()["mine"], put(b"\x80 other")
        write_sums(data / "checkpoints", {"mine.pt": hashlib.sha256(b"\x80 other").hexdigest()})
        assert file_state(entry, data) is FileState.DAMAGED


@pytest.mark.parametrize(
    ("eps", "value", "same"),
    [
        ("8/255", 8 / 255, True),
        ("0.5", 0.5, True),
        ("0.031", 8 / 255, False),
        (pixel_units(1 / 30), 1 / 30, True),
    ],
)
def test_eps_is_a_number(eps, value, same):
    """Quotients and decimals are read as written, also with fewer digits, as `export` writes them."""
    assert same_radius(CheckpointEntry(**ENTRY | {"eps": eps}).eps, value) is same


@pytest.mark.parametrize("how", ["dataset", *NORMALISATIONS, "0.25/0.5,0.6,0.7"])
def test_normalisations_have_a_text(how):
    """The text of a mean and std makes them again."""
    info = normalised(CIFAR10, how)
    assert normalised(CIFAR10, normalization_of(CIFAR10, info.mean, info.std)) == info
