"""`evaluate`: a checkpoint of one's own gets the records that the suite's own models get."""

from pathlib import Path

import pytest
import torch

from benchmark.data.info import DIGITS
from benchmark.engine.weights import Weights, weights_sha256
from benchmark.errors import UserError
from benchmark.evaluation.record import Evaluating
from benchmark.jobs.checkpoint import on_device
from benchmark.models import build
from benchmark.records.cells import Cell
from invoking import Command, Said

ARCH = "resnet18-w4"
KEY = Cell("own", "digits", ARCH, "mine", "none", 0)


@pytest.fixture(scope="module")
def weights():
    """Weights of an untrained network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build(ARCH, DIGITS).state_dict()


@pytest.fixture
def checkpoint(weights, tmp_path):
    """A checkpoint as training code leaves it."""
    path = tmp_path / "Best Model.pth"
    wrapped = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, path)
    return path


@pytest.fixture
def evaluate(store, checkpoint):
    """A function that evaluates the checkpoint, with further arguments."""

    def run(*arguments: str, evaluations: str = "clean", file: Path = checkpoint) -> Said:
        own = ("--weights", file, "--arch", ARCH, "--dataset", "digits", "--threads", "1")
        return Command(store)("evaluate", *own, "--evaluations", evaluations, *arguments)

    return run


def naive_count(weights: dict[str, torch.Tensor], images, labels, mean: float, std: float) -> int:
    """How many images a network that normalises by `mean` and `std` gets right."""
    model = build(ARCH, DIGITS)
    model.load_state_dict(weights)
    model.eval()
    model.normalize.mean.fill_(mean)
    model.normalize.std.fill_(std)
    with torch.no_grad():
        logits = model(images.permute(0, 3, 1, 2) / 255)
    return int((logits.argmax(1) == labels).sum())


def test_a_record_of_every_evaluation(evaluate, store, weights, digits):
    """The default evaluations are made, agree with a naive count, and say what file they are of."""
    answer = evaluate("--name", "mine", evaluations="clean,pgd10x3,corruptions-15-gen-v2").good()
    clean = store.record(KEY, "clean")
    expected = naive_count(weights, digits.test.images, digits.test.labels, 0.3053, 0.3758)
    assert (clean.k, clean.n) == (expected, 500)
    assert list(clean.sources) == ["Best Model.pth"]
    assert any("module." in remark for remark in clean.remarks)
    assert len(store.record(KEY, "corruptions-15-gen-v2").parts) == 75
    line = answer.stdout.splitlines()[0]
    assert line.startswith(f"{KEY.key}  clean  {clean.count.percent} [")  # with its interval
    assert line.endswith(f"] ({clean.k} of 500)")
    assert not (store.artifacts / KEY.key / "evaluation-clean").exists()


def test_the_spec_of_a_checkpoint_stays(evaluate, store, weights):
    """A record says these things of the model and no others, so that older records stay its own."""
    evaluate("--name", "mine")
    assert store.record(KEY, "clean").spec["model"] == {
        "type": "checkpoint",
        "version": 1,
        "key": KEY.key,
        "dataset": DIGITS.spec,
        "arch": {
            "type": "Arch",
            "version": 1,
            "name": ARCH,
            "family": "resnet",
            "blocks": [2, 2, 2, 2],
            "width": 4,
        },
        "weights_sha256": weights_sha256(weights),
    }


@pytest.mark.parametrize(
    ("said_as", "mean", "std"), [("none", 0, 1), ("0.5/0.25", 0.5, 0.25), ("0.1/2", 0.1, 2)]
)
def test_normalisation_is_the_users(evaluate, store, weights, digits, said_as, mean, std):
    """Pixels are normalised as the checkpoint was trained, not as this suite trains."""
    evaluate("--name", "mine", "--normalization", said_as).good()
    expected = naive_count(weights, digits.test.images, digits.test.labels, mean, std)
    assert store.record(KEY, "clean").k == expected


def test_nothing_is_evaluated_twice(evaluate, monkeypatch):
    """What is on record is shown again, what is not is added."""
    first = evaluate("--name", "mine")
    made = []
    honest = Evaluating.record
    monkeypatch.setattr(
        Evaluating, "record", lambda self, name: made.append(name) or honest(self, name)
    )
    assert evaluate("--name", "mine").stdout == first.stdout
    evaluate("--name", "mine", evaluations="clean,pgd10-official-code").good()
    assert made == ["pgd10-official-code"]


def test_a_name_comes_from_file_and_weights(evaluate, store, tmp_path, weights):
    """Other weights in a file of the same name get records of their own, which progress names."""
    keys = [(first := evaluate()).stdout.split("  ")[0]]
    assert f"] {keys[0]}  clean 0/1" in first.stderr
    other = {name: tensor.clone() for name, tensor in weights.items()}
    other["conv1.weight"] += 1
    torch.save(other, tmp_path / "Best Model.pth")
    keys.append(evaluate().stdout.split("  ")[0])
    assert len(set(keys)) == 2
    for key in keys:
        assert key.startswith(f"own/digits/{ARCH}/best-model-")
        assert (store.results / "records" / key / "clean.json").exists()


@pytest.mark.parametrize("name", ["my\u200bmodel.pth", "my\tmodel.pth", "mod\udce8le.pth"])
def test_a_file_may_have_any_name(evaluate, store, tmp_path, weights, name):
    """What a record may not hold is written as its escape."""
    torch.save(weights, other := tmp_path / "other.pth")
    other.rename(tmp_path / name)
    evaluate("--name", "mine", file=tmp_path / name).good()
    (source,) = store.record(KEY, "clean").sources
    assert source.isprintable()
    assert source == ascii(name)[1:-1]


def test_a_name_belongs_to_one_model(evaluate, store, tmp_path, weights):
    """Neither other weights nor another normalisation can be filed under a name that is taken."""
    evaluate("--name", "mine")
    before = store.record_path(KEY, "clean").read_bytes()
    other = tmp_path / "other.pt"
    torch.save({name: tensor + 1 for name, tensor in weights.items()}, other)
    for answer in (
        evaluate("--name", "mine", file=other),
        evaluate("--name", "mine", "--normalization", "none"),
        evaluate("--name", "mine", "--normalization", "none", "--evaluations", "pgd10-official-code"),
    ):
        assert answer.errors()[0].endswith("another --name, or with --checkpoint another --results")
    assert store.record_path(KEY, "clean").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arch", "resnet19"), "unknown architecture 'resnet19'; close to it: resnet18"),
        (("--arch", "resnet34-w4"), "does not fit the network: "),
        (("--dataset", "mnist"), "unknown dataset 'mnist'; known: digits, cifar10"),
        (("--dataset", "cifar100"), "does not fit the network: "),
        (("--evaluations", "cleen"), "unknown evaluation 'cleen'; close to it: clean; known: clean"),
        (("--evaluations", "corruptions-15"), "Digits has no 'corruptions-15'; choose others"),
        (("--normalization", "mnist"), "'mnist' is none of dataset, none, cifar10"),
        (("--normalization", "cifar10"), "Digits needs 1 means"),
        (("--normalization", "0.5/0"), "as many positive standard deviations"),
        (("--name", "../mine"), "lower-case letters, digits, dots and dashes"),
        (("--device", "toaster"), "device 'toaster' is not to be had"),
        (("--weights", "nothing.pt"), "'nothing.pt'"),
        (("--drop", "sub_block1."), "sub_block1."),
    ],
)
def test_wrong_input_is_one_line(evaluate, store, arguments, message):
    """What is wrong is told in one line, and nothing is filed."""
    (line,) = evaluate(*arguments).errors()
    assert message in line
    assert not list(store.results.rglob("*.json"))


def test_models_from_files_stay_out_of_the_tables(evaluate, command, tmp_path):
    """`own` is not a scale: neither built in nor to be had from a file."""
    evaluate("--name", "mine")
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\nsummary = ""\ndatasets = ["digits"]\narchs = ["resnet18-w4"]\nseeds = [0]\n'
    )
    assert "which is taken" in command("status", "--scale", str(path)).stderr
    assert "unknown scale 'own'" in command("status", "--scale", "own").stderr


def test_what_mps_cannot_hold_is_refused():
    """A module with numbers in double precision, as MeanSparse's threshold; torch would raise."""
    module = torch.nn.Module()
    module.register_buffer("threshold", torch.zeros((), dtype=torch.float64))
    with pytest.raises(UserError, match="double precision, which mps has not; --device cpu"):
        on_device(module, Weights.of(module.state_dict()), torch.device("mps"))
