"""`evidence` from nothing to the file, and back after an interruption."""

import json
import shutil
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

import benchmark.jobs.theorems as measuring
from benchmark.data.info import DIGITS
from benchmark.engine.kept_weights import read_weights
from benchmark.engine.weights import load_tensors
from benchmark.models import build
from benchmark.plans.named import scale
from benchmark.plans.states import evidence_cells, stale_evidence
from benchmark.records.evidence import FACTORS, evidence, evidence_path
from benchmark.report.theorems import text
from handmade import copied_to, store_in
from invoking import MINI, Command
from killing import calls_of


def run(store, *arguments):
    """The command on `mini.toml`."""
    scaled = [] if "--scale" in arguments else ["--scale", MINI]
    return Command(store)("evidence", *arguments, *scaled)


@pytest.fixture(scope="module")
def measured(mini, tmp_path_factory):
    """A store with the evidence of both seeds of `mini.toml`, and what was said; to be copied."""
    store = copied_to(store_in(tmp_path_factory.mktemp("evidence")), mini)
    return store, run(store).good()


@pytest.fixture
def own(measured, store):
    """A copy of the measured store, to be changed."""
    return copied_to(store, measured[0])


@pytest.fixture
def rescaled(monkeypatch):
    """How often a module was rescaled and measured."""
    return calls_of(monkeypatch, measuring, "_rescaled")


def without_times(found):
    """What does not depend on when it was measured, and in how many attempts."""
    content = json.loads(found.model_dump_json())
    for each in content["seeds"]:
        for name in ("started", "seconds", "resumed", "commit", "dirty"):
            del each["provenance"][name]
    return json.dumps(content)


class TestCommand:
    """From nothing to the file."""

    def test_measures_the_weights_on_disk(self, measured, digits, plain_pgd):
        """Rises, norms and hashes are those of the weights in artifacts, by plain loops."""
        store, said = measured
        found = evidence(store.results, "mini")
        assert [each.seed for each in found.seeds] == [0, 1]
        assert said.stdout == text(found) + "\n"
        assert stale_evidence(found, store, scale(str(MINI))) == {}
        for each, cell in zip(found.seeds[:1], evidence_cells(scale(str(MINI))), strict=False):
            theta_at, theta_star = (read_weights(store, part)[0].state for part in (cell.base, cell))
            theta_ft = theta_at | load_tensors(store.work(cell) / "finetuned.safetensors")[0]
            details, images = store.making(cell).details, digits.train.first(64)
            mrcs = {entry.module: entry.mrc for entry in details.criticality}
            assert ([each.module], each.mrc) == (details.modules, min(mrcs.values()))
            model = build("resnet18-w8", DIGITS).eval()
            model.load_state_dict(theta_at)
            seed = cell.base.seed_for("criticality")
            x_adv = plain_pgd(model, images, DIGITS.threat, seed)
            loss = partial(self.loss, model, images.labels)
            reference, name = loss(theta_at, x_adv), f"{each.module}.weight"
            for move, state in zip(each.moves, (theta_ft, theta_star), strict=False):
                alone = theta_at | {name: state[name]}
                ratio = (state[name] - theta_at[name]).norm() / theta_at[name].norm()
                assert move.norm_ratio == pytest.approx(float(ratio), rel=1e-4, abs=1e-9)
                assert move.loss_rise == pytest.approx(loss(alone, x_adv) - reference, abs=1e-4)
                assert move.loss_rise_with_bn == pytest.approx(loss(state, x_adv) - reference, abs=1e-4)
                model.load_state_dict(alone)
                again = plain_pgd(model, images, DIGITS.threat, seed)
                assert move.loss_rise_recrafted == pytest.approx(
                    loss(alone, again) - reference, abs=1e-3
                )

    @staticmethod
    def loss(model, labels, state, x):
        """Mean cross-entropy of a state dict."""
        model.load_state_dict(state)
        with torch.no_grad():
            return float(cross_entropy(model(x), labels))

    def test_a_second_run_measures_nothing(self, own, measured, monkeypatch):
        """What is on disk is shown again, with the same bytes."""
        path = evidence_path(own.results, "mini")
        before = path.read_bytes()
        monkeypatch.setattr(measuring, "measure", None)
        for arguments in ((), ("--collect",), ("--seeds", "1")):
            assert run(own, *arguments).stdout == measured[1].stdout
        run(own, "--dry-run").good()
        assert path.read_bytes() == before

    @pytest.mark.parametrize("calls", [1, 3])
    def test_resumed_equals_uninterrupted(self, own, measured, rescaled, calls):
        """Killed in either seed, the same command continues to the same content, losing nothing."""
        evidence_path(own.results, "mini").unlink()
        for cell in evidence_cells(scale(str(MINI))):
            chunks = sorted((own.work(cell) / "evidence").glob("*-x*.chunk"))
            assert len(chunks) == 2 * len(FACTORS)
            for chunk in chunks[:2]:
                chunk.unlink()
        rescaled.most = calls
        assert run(own).exit_code == 130
        kept = evidence(own.results, "mini")
        assert [each.seed for each in kept.seeds] == [0] if calls > 2 else kept is None
        rescaled.most = None
        run(own).good()
        assert rescaled.made == 4
        expected = evidence(measured[0].results, "mini")
        assert without_times(evidence(own.results, "mini")) == without_times(expected)

    def test_what_another_device_did_is_named(self, own, rescaled, monkeypatch):
        """Its part is taken, and the provenance says so, as that of a record does."""
        evidence_path(own.results, "mini").unlink()
        first, _ = evidence_cells(scale(str(MINI)))
        shutil.rmtree(own.work(first) / "evidence")
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr("benchmark.engine.provenance.device_name", lambda _device: "another")
            rescaled.most = 1
            assert run(own).exit_code == 130
        rescaled.most = None
        run(own).good()
        (line,), others = (each.provenance.begun for each in evidence(own.results, "mini").seeds)
        assert line.startswith("evidence: a part was done on device another") and not others

    def test_stale_evidence_is_refused_and_superseded_on_demand(self, own, monkeypatch):
        """Nothing is overwritten silently: the old file stays, or goes to results/superseded."""
        path = evidence_path(own.results, "mini")
        old = json.loads(path.read_text())
        old["seeds"][0]["tuned_sha256"] = "c" * 64
        path.write_text(json.dumps(old))
        assert "on other weights than those on record; --redo-stale" in run(own).refusal
        shown = run(own, "--collect")
        assert (shown.exit_code, "stale: mini/" in shown.stderr) == (0, True)
        assert json.loads(path.read_text()) == old
        honest, seeds = measuring.measure, []
        monkeypatch.setattr(
            measuring, "measure", lambda run: seeds.append(run.plan.cell.seed) or honest(run)
        )
        run(own, "--redo-stale").good()
        assert seeds == [0]
        assert stale_evidence(evidence(own.results, "mini"), own, scale(str(MINI))) == {}
        (moved,) = own.results.glob("superseded/*/evidence/mini.json")
        assert json.loads(moved.read_text()) == old

    def test_mistakes_are_one_line(self, store):
        """An unknown scale or seed is named; nothing is written."""
        for arguments, message in (
            (("--seeds", "7"), "scale 'mini' has no seed 7; it has 0, 1"),
            (("--seeds", "x"), "is not a list of whole numbers"),
            (("--scale", "huge"), "unknown scale 'huge'"),
        ):
            assert message in run(store, *arguments).refusal
        assert "no evidence at scale 'mini'" in run(store, "--collect").stderr
        assert not store.results.exists()

    def test_seeds_are_those_of_the_network(self, store, tmp_path):
        """Where a scale names seeds for its first network, these are what there is and no others."""
        path = tmp_path / "mini.toml"
        path.write_text(MINI.read_text() + "[networks.resnet18-w8]\nseeds = [5, 0]\n")
        run(store, "--scale", path, "--seeds", "5", "--dry-run").good()
        message = run(store, "--scale", path, "--seeds", "1").refusal
        assert message == "scale 'mini' has no seed 1; it has 5, 0"

    def test_a_failing_seed_leaves_the_others(self, own, monkeypatch):
        """One seed that fails is named, the other is measured and filed."""
        evidence_path(own.results, "mini").unlink()
        honest = measuring.measure

        def fails(run):
            if run.plan.cell.seed == 0:
                raise RuntimeError("no luck")
            return honest(run)

        monkeypatch.setattr(measuring, "measure", fails)
        said = run(own)
        assert said.exit_code == 1
        assert "rift/seed0: RuntimeError: no luck" in said.stderr
        assert "not measured: seed 0" in said.stderr
        assert [each.seed for each in evidence(own.results, "mini").seeds] == [1]
