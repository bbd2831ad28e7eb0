"""Cells in another precision than their scale fixes: the same draws under keys of their own."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.engine.precision import BF16, FP32, in_precision
from benchmark.errors import UserError
from benchmark.plans.named import SCALES, arguments, scale
from benchmark.records.cells import Cell, ScaleName
from benchmark.submission.expected import Expected
from handmade import store_in
from invoking import MINI, Command, said

NARROW, QUICK = SCALES["narrow"], SCALES["quick"]

KEY = "mini/digits/resnet18-w8/pgd-at/none/seed0"
OTHER = KEY.replace("mini/", "mini-in-bf16/")
CHECKPOINT = "narrow-cifar10-resnet18-w16-pgd-at-seed0"

names = st.from_regex(r"[a-z0-9][a-z0-9.]{0,12}", fullmatch=True)


@given(st.builds(ScaleName, names, st.none() | names, st.none() | names))
def test_a_name_of_a_scale_reads_back_as_its_parts(name):
    """Scale, precision and checkpoint, each of the last two there or not."""
    assert ScaleName.parse(str(name)) == name
    assert Cell(str(name), "digits", "x", "pgd-at", "rift", 0).checkpoint == name.checkpoint


@pytest.mark.parametrize("checkpoint", [None, "one"])
def test_draws_are_those_of_the_scales_own_precision(checkpoint):
    """Seeds of all stages are equal, also from a checkpoint; keys are not."""
    own, other = (
        Cell(str(ScaleName("quick", name, checkpoint)), "digits", "resnet18", "pgd-at", "rift", 0)
        for name in (None, "bf16")
    )
    assert own.key != other.key
    for stage in (("train",), ("pgd10x3", 2), ("finetune",)):
        assert own.seed_for(*stage) == other.seed_for(*stage)


class TestScale:
    """A scale in another precision than its own."""

    def test_its_own_changes_nothing(self):
        """Neither does leaving it out, nor any where the scale fixes none."""
        assert QUICK.precision == FP32
        assert in_precision(QUICK, FP32) is in_precision(QUICK, None) is QUICK
        assert in_precision(NARROW, BF16) is NARROW

    def test_another_is_named_in_keys_files_and_titles(self):
        """Everything else is as before."""
        other = in_precision(QUICK, BF16)
        assert (other.key_names, other.stem) == (("quick-in-bf16",), "quick-in-bf16")
        assert (other.precision, other.apart, QUICK.apart) == (BF16, ", precision bf16", "")
        assert replace(other, name="quick", precision=FP32) == QUICK

    @pytest.mark.parametrize("name", ["quick-in-bf16", "quick-in-auto"])
    def test_is_read_back_by_name(self, name, tmp_path):
        """By `--scale`, by what checks filed records, and as flags."""
        _, precision, _ = ScaleName.parse(name)
        assert scale(name) == Expected().scale(name) == in_precision(QUICK, precision)
        assert arguments(name, tmp_path) == f"quick --precision {precision}"

    def test_of_ones_own_is_read_back_where_it_is_filed(self, tmp_path):
        """The name on file is that of the scale."""
        (tmp_path / "scales").mkdir()
        path = tmp_path / "scales" / "mini.toml"
        path.write_bytes(MINI.read_bytes())
        other = in_precision(scale(str(path)), BF16)
        assert scale("mini-in-bf16", tmp_path) == other
        assert Expected({"mini": scale(str(path))}).scale("mini-in-bf16") == other
        assert arguments("mini-in-bf16-from-x", tmp_path) == (
            f"{path} --precision bf16 --from-checkpoint x"
        )

    def test_may_start_from_a_checkpoint(self, tmp_path):
        """Its precision stands before the checkpoint."""
        (tmp_path / "scales").mkdir()
        text = 'name = "mine"\nsummary = "x"\nseeds = [0]\nprecision = "fp32"\n'
        text += 'datasets = ["cifar10"]\narchs = ["resnet18-w16"]\n'
        (tmp_path / "scales" / "mine.toml").write_text(text)
        slot = f"mine-in-bf16-from-{CHECKPOINT}"
        found = scale(slot, tmp_path)
        assert (found.key_names, found.stem, found.precision) == ((slot,), slot, BF16)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("quick-in-fp32", "'quick-in-fp32' is no other than 'quick', which is in fp32"),
            ("narrow-in-bf16", "'narrow-in-bf16' is no other than 'narrow', which is in any precision"),
            ("quick-in-fp16", "unknown precision 'fp16'; close to it: bf16; known: auto"),
            ("quick-in-", "unknown precision ''"),
        ],
    )
    def test_names_of_nothing_are_refused(self, name, message):
        """Each model has one name."""
        with pytest.raises(UserError, match=message):
            scale(name)

    def test_two_precisions_are_refused(self):
        """What the name and the flag say would contradict each other."""
        with pytest.raises(UserError, match="names its precision; leave --precision fp32 out"):
            in_precision(scale("quick-in-bf16"), FP32)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A store with the base model of one seed in fp32 and in bf16, and the table of the latter."""
    root = tmp_path_factory.mktemp("both")
    path = root / "one.toml"
    path.write_text(MINI.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    command = Command(store_in(root))
    flags = ("table1", "--scale", path, "--only", "*/none/*")
    for precision in ("fp32", "bf16"):
        answer = command(*flags, "--precision", precision).good()
    return command, answer.stdout


class TestCommand:
    """`--precision` where the scale fixes another."""

    def test_makes_models_of_their_own(self, both, mini):
        """Records in fp32 are those of before, and the others say that they are in bf16."""
        store = both[0].store
        exact, other = (store.record(Cell.parse(key), "clean") for key in (KEY, OTHER))
        assert exact.provenance.precision == "fp32"
        assert other.provenance.precision == "bf16, scored in fp32"
        before = mini.record(Cell.parse(KEY), "clean")
        assert exact.provenance.weights_sha256 == before.provenance.weights_sha256
        assert exact.provenance.weights_sha256 != other.provenance.weights_sha256

    def test_says_it_in_the_tables_title_and_name(self, both):
        """Nothing is written over the table in the scale's own precision."""
        assert both[1].startswith(
            "Table 1: adversarial training with and without RiFT, precision bf16 "
        )
        assert "scale mini-in-bf16: " in both[1]
        written = sorted(path.stem for path in (both[0].store.results / "tables").glob("*.csv"))
        assert written == ["table1-mini", "table1-mini-in-bf16"]

    def test_collects_what_is_there(self, both):
        """By the flag, the same table again; `status` knows the cells."""
        flags = ("--scale", MINI, "--precision", "bf16")
        shown = both[0]("table1", *flags, "--seeds", "0", "--collect").good()
        assert shown.stdout == both[1]
        assert f"{OTHER} done" in " ".join(both[0]("status", *flags).stdout.split())

    def test_runs_keys(self, both):
        """A key that names its precision is made in it, without a flag."""
        answer = both[0]("run", OTHER, "--scale", MINI).good()
        assert answer.stdout.startswith(OTHER)

    def test_refuses_keys_of_another_precision(self, both):
        """A key without one is of the scale's own."""
        for key, name in ((KEY, "bf16"), (OTHER, "fp32")):
            refusal = both[0]("run", key, "--scale", MINI, "--precision", name).refusal
            assert "run one scale at a time" in refusal

    def test_judges_and_draws_what_is_asked_for(self, both):
        """A figure names what it lacks, a check the command that makes it, flag and all."""
        flags = ("--scale", MINI, "--precision", "bf16")
        message = both[0]("figure3", *flags, "--collect").refusal
        assert "missing or stale mini-in-bf16/" in message
        assert message.endswith("the same command without --collect makes what is missing")
        judged = said("check", *flags, "--results", str(both[0].store.results))
        assert judged.stdout.startswith("Check of scale mini-in-bf16: ")
        assert f"table1 --scale {MINI} --precision bf16" in " ".join(judged.stdout.split())
