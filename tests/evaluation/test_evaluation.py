"""Evaluations against naive counts, their seeds, and continuing after an interruption."""

import dataclasses
import hashlib
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

import benchmark.data.corruptions.generator
from benchmark.data.corruptions.files import write_files
from benchmark.data.corruptions.generator import CORRUPTIONS_15, CORRUPTIONS_18, corrupt
from benchmark.data.info import CIFAR10, DIGITS
from benchmark.engine import counting
from benchmark.engine.counting import run_seed
from benchmark.engine.pgd import example_starts
from benchmark.errors import UserError
from benchmark.evaluation import EVALUATIONS, evaluation
from benchmark.evaluation.corruptions import GeneratedCorruptions, corruption_seed, generated_folder
from benchmark.progress import silent
from benchmark.records.cells import Cell, derive_seed
from benchmark.records.records import Count
from benchmark.records.specs import spec_hash
from benchmark.records.store import Journal
from killing import killed_after, killing

CELL = Cell("tiny", "digits", "resnet18-w8", "pgd-at", "none", 0)
IMAGES = 40
FEW = 12  # that are judged one by one, in up to 90 copies


@pytest.fixture(scope="module")
def data(digits):
    """Digits with the first test images; one object, so that corrupted copies are made once."""
    return dataclasses.replace(digits, test=digits.test.first(IMAGES))


@pytest.fixture(scope="module")
def split(data):
    """The test images."""
    return data.test


@pytest.fixture
def evaluate(model, data, tmp_path):
    """A function that runs an evaluation by name with a journal of its own or a named one."""
    fresh = itertools.count()

    def run(name, folder=None, progress=silent, on=data, cell=CELL):
        journal = Journal(tmp_path / (folder or f"fresh-{next(fresh)}"), "of this test")
        return evaluation(name).run(model, on, cell, journal, progress)

    return run


@pytest.fixture(scope="module")
def undisturbed(make_network, learned, data, tmp_path_factory):
    """The outcome of every evaluation by name, made once and in one go."""
    model = make_network()
    model.load_state_dict(learned)
    folder = tmp_path_factory.mktemp("undisturbed")
    return {
        name: evaluation(name).run(model, data, CELL, Journal(folder / name, "of this test"), silent)
        for name in ("clean", "pgd10x3", "corruptions-15-gen-v2")
    }


def naive_bits(model, images, labels):
    """Correctness of uint8 images one by one."""
    bits = []
    with torch.no_grad():
        for image, label in zip(images, labels, strict=True):
            x = torch.tensor(image / 255, dtype=torch.float32).permute(2, 0, 1)[None]
            bits.append(bool(model(x).argmax() == label))
    return np.array(bits)


def same(one, other):
    """Whether two outcomes agree in every bit."""
    return (
        one.value == other.value
        and one.parts == other.parts
        and one.bits.keys() == other.bits.keys()
        and all(np.array_equal(one.bits[name], other.bits[name]) for name in one.bits)
    )


class TestClean:
    """Accuracy on clean images."""

    def test_equals_a_naive_count(self, model, split, undisturbed):
        """Images are judged as one by one."""
        outcome = undisturbed["clean"]
        expected = naive_bits(model, split.images.numpy(), split.labels)
        assert np.array_equal(outcome.bits["clean"], expected)
        assert outcome.value == Count(k=int(expected.sum()), n=IMAGES)
        assert 0 < outcome.value.k < IMAGES
        assert outcome.parts == {}
        assert counting.clean_count(model, split) == outcome.value

    def test_model_in_training_mode_is_judged_in_evaluation_mode(self, model, evaluate, undisturbed):
        """Statistics stay, flags come back."""
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        model.train()
        assert same(evaluate("clean"), undisturbed["clean"])
        assert model.training
        assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


class TestPgd:
    """Three runs of PGD-10."""

    def test_equals_a_naive_attack(self, model, split, undisturbed, plain_pgd):
        """Every run equals the written-out attack from the run's own starts."""
        outcome = undisturbed["pgd10x3"]
        assert list(outcome.bits) == ["run0", "run1", "run2"]
        for run in range(3):
            x_adv = plain_pgd(model, split, DIGITS.threat, run_seed(CELL, run))
            with torch.no_grad():
                expected = (model(x_adv).argmax(1) == split.labels).numpy()
            assert np.array_equal(outcome.bits[f"run{run}"], expected)

    def test_value_is_the_lowest_run(self, evaluate, undisturbed, monkeypatch):
        """The value is that of the worst run, whichever, the part `per-image-worst` of all together."""
        drawn = np.random.Generator(np.random.Philox(0)).random((3, IMAGES)) < [[0.5], [0.7], [0.8]]
        for runs in (drawn, drawn[::-1]):
            given = iter(runs.astype(np.int8))
            monkeypatch.setattr(counting, "journaled_pgd_answers", lambda *_, given=given: next(given))
            outcome = evaluate("pgd10x3")
            found = np.stack(list(outcome.bits.values()))
            assert found.dtype == bool and np.array_equal(found, runs)
            assert outcome.value == Count(k=int(drawn[0].sum()), n=IMAGES)
            expected = {f"run{run}": int(bits.sum()) for run, bits in enumerate(runs)}
            expected |= {"per-image-worst": int(drawn.all(0).sum())}
            expected |= {"zero-gradients": 0, "zero-losses": 0}
            assert outcome.parts == {name: Count(k=k, n=IMAGES) for name, k in expected.items()}
        assert drawn.all(0).sum() < drawn[0].sum() < drawn[1:].sum(1).min()
        assert undisturbed["pgd10x3"].value.k < undisturbed["clean"].value.k

    def test_runs_start_at_other_points(self):
        """Each run has its own seed, shared by all fine-tuned versions of a base model."""
        starts = [example_starts(run_seed(CELL, run), 0, 2, (1, 8, 8), 0.12) for run in range(3)]
        assert len(torch.cat(starts).flatten(1).unique(dim=0)) == 6
        tuned = Cell("tiny", "digits", "resnet18-w8", "pgd-at", "rift", 0)
        assert run_seed(tuned.base, 1) == run_seed(CELL, 1)
        other = Cell("tiny", "digits", "resnet18-w8", "pgd-at", "none", 1)
        assert run_seed(other, 1) != run_seed(CELL, 1)

    @pytest.mark.parametrize("name", ["clean", "pgd10x3"])
    @pytest.mark.parametrize("batch", [7, 16, 40, 250])
    def test_batch_size_does_not_matter(self, evaluate, monkeypatch, name, batch, undisturbed):
        monkeypatch.setattr(counting, "BATCH", batch)
        assert same(evaluate(name), undisturbed[name])

    def test_count_of_one_run(self, model, split, undisturbed):
        count = counting.pgd_count(model, split, DIGITS.threat, run_seed(CELL, 1))
        assert count == undisturbed["pgd10x3"].parts["run1"]

    @pytest.mark.parametrize("finished", [1, 4, 8, 10])
    def test_killed_while_writing(self, evaluate, monkeypatch, finished, undisturbed):
        """Batches that were kept are not attacked again, and the bits are the same."""
        monkeypatch.setattr(counting, "BATCH", 16)
        honest, attacked = counting.pgd_answers, []
        with killed_after(finished):
            evaluate("pgd10x3", "shared")
        monkeypatch.setattr(
            counting, "pgd_answers", lambda *args: attacked.append(args[-2]) or honest(*args)
        )
        assert same(evaluate("pgd10x3", "shared"), undisturbed["pgd10x3"])
        assert attacked == ([0, 16, 32] * 3)[finished:]

    def test_progress_counts_images_of_all_runs(self, evaluate, monkeypatch):
        """Progress runs to three times the images."""
        monkeypatch.setattr(counting, "BATCH", 16)
        calls = []
        evaluate("pgd10x3", progress=lambda *call: calls.append(call[:3]))
        done = [16, 32, 40, 56, 72, 80, 96, 112, 120]
        assert calls == [("pgd10x3", images, 120) for images in done]


class TestCorruptions:
    """15 corruptions at five severities."""

    def test_equals_a_naive_count(self, model, split, undisturbed):
        """Each part is the accuracy on the corrupted copies, the value their mean."""
        outcome = undisturbed["corruptions-15-gen-v2"]
        seed = derive_seed("digits", "corruptions", "gen-v2")
        ids = np.arange(IMAGES)
        assert len(outcome.parts) == 75
        for name in CORRUPTIONS_15:
            for severity in (1, 3, 5):
                copies = corrupt(split.images.numpy(), name, severity, seed=seed, ids=ids)
                x = torch.from_numpy(copies).permute(0, 3, 1, 2) / 255
                with torch.no_grad():
                    expected = (model(x).argmax(1) == split.labels).numpy()
                part = f"{name}-{severity}"
                assert np.array_equal(outcome.bits[part], expected), part
                assert outcome.parts[part] == Count(k=int(expected.sum()), n=IMAGES)
        mean = np.mean([part.fraction for part in outcome.parts.values()])
        assert outcome.value.n == 75 * IMAGES
        assert outcome.value.fraction == pytest.approx(mean, abs=1e-12)
        assert list(outcome.bits) == list(outcome.parts)

    def test_images_do_not_depend_on_the_cell(self, data, evaluate, undisturbed):
        """The same network as another cell meets the same copies, though they are made anew."""
        cell, name = dataclasses.replace(CELL, seed=7, finetune="rift"), "corruptions-15-gen-v2"
        assert same(evaluate(name, on=dataclasses.replace(data), cell=cell), undisturbed[name])

    @pytest.mark.parametrize("finished", [1, 40, 75])
    def test_killed_between_parts(self, evaluate, monkeypatch, finished, undisturbed):
        """Parts that were kept are not judged again, and the bits are the same."""
        expected = undisturbed["corruptions-15-gen-v2"]
        with pytest.raises(KeyboardInterrupt):
            evaluate("corruptions-15-gen-v2", "shared", killing(finished, stage="corruptions"))
        honest, judged = counting.clean_answers, []
        monkeypatch.setattr(
            counting, "clean_answers", lambda *args: judged.append(args) or honest(*args)
        )
        assert same(evaluate("corruptions-15-gen-v2", "shared"), expected)
        assert len(judged) == 75 - finished

    def test_order_is_that_of_the_paper(self, undisturbed):
        names = list(undisturbed["corruptions-15-gen-v2"].parts)
        assert names[:6] == [f"gaussian_noise-{s}" for s in (1, 2, 3, 4, 5)] + ["shot_noise-1"]
        assert names[-1] == "jpeg_compression-5"


class TestGenerated:
    """Copies that this suite makes."""

    def test_files_on_disk_are_read_and_change_nothing(self, evaluate, data, tmp_path, undisturbed):
        """With the files of `data generate` the bits are the same, and no copy is made."""
        write_files(
            data.test.images.numpy(),
            generated_folder(tmp_path, DIGITS),
            "digits",
            seed=corruption_seed(DIGITS),
            threads=1,
        )
        stored = dataclasses.replace(data, directory=tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(benchmark.data.corruptions.generator, "corrupt", None)
            outcome = evaluate("corruptions-15-gen-v2", on=stored)
        assert same(outcome, undisturbed["corruptions-15-gen-v2"])

    def test_frost_pictures_change_frost_alone(self, evaluate, data, tmp_path, undisturbed):
        """With the user's pictures only frost is other, and their hash is told."""
        name, pictures = "corruptions-15-gen-v2-pictures", tmp_path / "frost"
        stored = dataclasses.replace(data, directory=tmp_path)
        with pytest.raises(UserError, match="frost"):
            evaluation(name).check(stored)
        pictures.mkdir()
        noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
        Image.fromarray(noise).save(pictures / "one.png")
        evaluation(name).check(stored)
        outcome = evaluate(name, on=stored)
        expected = undisturbed["corruptions-15-gen-v2"].bits
        other = {name for name in expected if not np.array_equal(expected[name], outcome.bits[name])}
        assert other
        assert {name.rsplit("-", 1)[0] for name in other} == {"frost"}
        assert list(outcome.sources) == ["frost"]


class TestOfficial:
    """Published copies, here hand-made ones of the first digits."""

    @pytest.fixture
    def published(self, data, tmp_path):
        """Digits as a dataset with published copies: each severity of a file is shifted further."""
        folder = tmp_path / "CIFAR-10-C"
        folder.mkdir()
        few = data.test.first(FEW)
        images = few.images.numpy()
        for place, name in enumerate({*CORRUPTIONS_15, *CORRUPTIONS_18}):
            copies = [np.roll(images, (severity, place), (1, 2)) for severity in range(5)]
            np.save(folder / f"{name}.npy", np.concatenate(copies))
        np.save(folder / "labels.npy", np.tile(few.labels.numpy().astype(np.uint8), 5))
        info = dataclasses.replace(DIGITS, corruptions="CIFAR-10-C")
        return dataclasses.replace(data, info=info, test=few, directory=tmp_path)

    @pytest.mark.parametrize(
        ("name", "parts"),
        [("corruptions-15", 75), ("corruptions-18", 90), ("corruptions-18-severity-1", 18)],
    )
    def test_equals_a_naive_count(self, model, evaluate, published, tmp_path, name, parts):
        """Every part is the accuracy on the images of its file and severity; hashes are told."""
        evaluation(name).check(published)
        outcome = evaluate(name, on=published)
        assert len(outcome.parts) == parts
        for part, bits in outcome.bits.items():
            corruption, severity = part.rsplit("-", 1)
            path = tmp_path / "CIFAR-10-C" / f"{corruption}.npy"
            images = np.load(path)[(int(severity) - 1) * FEW :][:FEW]
            assert np.array_equal(bits, naive_bits(model, images, published.test.labels)), part
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert outcome.sources[corruption] == digest
        assert len(outcome.sources) == len({part.rsplit("-", 1)[0] for part in outcome.parts})
        assert any("of the user's own" in remark for remark in outcome.remarks)

    def test_the_first_images_of_every_severity(self, model, evaluate, published, tmp_path):
        """`-first-N` judges the first N images of each part, and no others."""
        outcome = evaluate("corruptions-15-first-9", on=published)
        assert {len(bits) for bits in outcome.bits.values()} == {9} and outcome.value.n == 75 * 9
        copies = np.load(tmp_path / "CIFAR-10-C" / "fog.npy")
        for severity in range(1, 6):
            images = copies[(severity - 1) * FEW :][:9]
            expected = naive_bits(model, images, published.test.labels[:9])
            assert np.array_equal(outcome.bits[f"fog-{severity}"], expected)

    def test_answers_on_files_that_were_replaced_since_a_kill_are_given_again(
        self, evaluate, published, tmp_path
    ):
        """Bits are of the files whose hashes are told, not of those that lay there before, and every
        hash is told."""
        path = tmp_path / "CIFAR-10-C" / "gaussian_noise.npy"
        right = path.read_bytes()
        np.save(path, np.zeros_like(np.load(path)))
        with pytest.raises(KeyboardInterrupt):
            evaluate("corruptions-15", "shared", killing(40), published)
        path.unlink()
        path.write_bytes(right)
        resumed = evaluate("corruptions-15", "shared", on=published)
        assert resumed.sources["gaussian_noise"] == hashlib.sha256(right).hexdigest()
        whole = evaluate("corruptions-15", on=published)
        assert same(resumed, whole) and resumed.sources == whole.sources and len(whole.sources) == 15

    def test_what_is_missing_is_told_before_anything_runs(self, data, published, tmp_path):
        """A missing file or folder stops a cell before it is trained."""
        (tmp_path / "CIFAR-10-C" / "fog.npy").unlink()
        with pytest.raises(UserError, match=r"fog\.npy' is missing"):
            evaluation("corruptions-15").check(published)
        elsewhere = dataclasses.replace(published, directory=tmp_path / "elsewhere")
        with pytest.raises(UserError, match="data get cifar10-c"):
            evaluation("corruptions-18").check(elsewhere)
        with pytest.raises(UserError, match="--data-dir"):
            evaluation("corruptions-18").check(dataclasses.replace(published, directory=None))


class TestRegistry:
    """Evaluations by name."""

    def test_specs_name_what_numbers_depend_on(self):
        """The attack is part of a PGD record, the source of the images of an OOD record."""
        assert evaluation("pgd10x3").spec(DIGITS)["attack"]["eps"] == DIGITS.threat.eps
        assert evaluation("corruptions-15-gen-v2").spec(DIGITS)["source"]["type"] == "gen-v2"
        assert evaluation("corruptions-15").spec(CIFAR10)["source"] == "CIFAR-10-C"
        assert evaluation("corruptions-15").spec(DIGITS) is None
        assert evaluation("clean").spec(CIFAR10) == evaluation("clean").spec(DIGITS)

    def test_no_two_evaluations_share_a_spec_or_a_label(self):
        """Numbers of different evaluations can be told apart in a file and in a table."""
        specs = {spec_hash(evaluation(name).spec(CIFAR10)) for name in EVALUATIONS}
        labels = {evaluation(name).label for name in EVALUATIONS}
        assert len(specs) == len(labels) == len(EVALUATIONS)

    def test_generated_copies_are_never_called_official(self):
        """Name, label, summary, spec and note of a generated set say `gen-v2`."""
        for name, chosen in EVALUATIONS.items():
            texts = [name, chosen.label, chosen.summary, str(chosen.spec(CIFAR10))]
            told = ["gen-v2" in text for text in (*texts, chosen.note(CIFAR10) or "gen-v2")]
            assert all(told) if isinstance(chosen, GeneratedCorruptions) else not any(told[:-1])

    def test_unknown_name_is_refused(self):
        with pytest.raises(UserError, match="'aa'; known: clean, corruptions-15, "):
            evaluation("aa")
