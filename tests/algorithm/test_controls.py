"""What the controls leave alone, and that every protocol goes all the way to a record."""

import pytest
import torch
from torch import nn

from benchmark.algorithm.criticality import criticality_modules
from benchmark.algorithm.finetune import batch_norm_frozen
from benchmark.engine.kept_weights import read_weights
from benchmark.errors import UserError
from benchmark.run import run_cell
from tiny_runs import changed


def test_bn_only_leaves_every_parameter_equal(tuned):
    """Passes over clean images move the running statistics, all of them, and nothing else."""
    before, after, parameters, _ = tuned("bn-only-alpha-1")
    moved = changed(before, after)
    assert not moved & parameters
    assert moved == {name for name in before if name.split(".")[-1].startswith(("running", "num_b"))}


def test_bn_frozen_leaves_every_buffer_equal(tuned):
    """Only the chosen module's parameters move."""
    before, after, parameters, _ = tuned("rift-bn-frozen-alpha-1")
    moved = changed(before, after)
    assert moved
    assert moved <= parameters
    assert len({name.rsplit(".", 1)[0] for name in moved}) == 1


def test_bn_frozen_is_all_batch_norm():
    """Statistics of vectors stay, too, and modes are as before."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.BatchNorm1d(8)
    ).train()
    with batch_norm_frozen(model):
        model(torch.rand(4, 1, 2, 2))
    assert not any(model[place].running_mean.any() for place in (1, 3))
    assert all(part.training for part in model)


def test_rift_moves_both(tuned):
    """One module's parameters and all statistics, as the released code does."""
    before, after, parameters, _ = tuned("rift-alpha-1")
    moved = changed(before, after)
    assert moved & parameters
    assert moved - parameters == {
        n for n in before if n.split(".")[-1].startswith(("running", "num_b"))
    }


def test_a_named_module_moves_alone(tuned):
    """`module-NAME` trains that module."""
    before, after, parameters, _ = tuned("module-layer2.0.conv1-alpha-1")
    assert changed(before, after) & parameters == {"layer2.0.conv1.weight"}


def test_a_random_layer_is_the_same_at_any_alpha(run):
    """Both endings fine-tune one module, drawn from the cell's own seed."""
    picked = []
    for name in ("random-layer", "random-layer-alpha-1"):
        this = run(name)
        run_cell(this, ("clean",))
        picked.append(this.store.making(this.plan.cell).details.modules)
    assert picked[0] == picked[1]
    theta_at = read_weights(this.store, this.plan.cell)[0]
    assert picked[0][0] in criticality_modules(this.network(theta_at))


def test_the_whole_curve_is_that_of_alpha_star(run):
    """`-curve` measures every alpha, agrees where alpha* was searched, and ends at the same weights."""
    found, whole = run("rift"), run("rift-curve")
    for this in (found, whole):
        run_cell(this, ("clean",))
    part, curve = (this.store.making(this.plan.cell) for this in (found, whole))
    assert part.details.alpha == curve.details.alpha
    assert part.provenance.weights_sha256 == curve.provenance.weights_sha256
    assert all(point.robust is not None for point in curve.details.curve)
    for some, every in zip(part.details.curve, curve.details.curve, strict=True):
        assert some.clean == every.clean
        assert some.robust in (None, every.robust)


def test_both_definitions_of_criticality_are_kept_apart(run):
    """One base model has two journals, and neither measurement wipes out the other."""
    for name in ("rift", "rift-official-code", "top-2", "top-2-official-code"):
        run_cell(run(name), ("clean",))
    makings = {n: run(n).store.making(run(n).plan.cell) for n in ("rift", "rift-official-code")}
    mrc = {name: making.details.criticality for name, making in makings.items()}
    assert mrc["rift"] != mrc["rift-official-code"]
    for suffix in ("", "-official-code"):
        again = run(f"top-2{suffix}")
        making = again.store.making(again.plan.cell)
        assert making.details.criticality == mrc[f"rift{suffix}"]
        least = min(making.details.criticality, key=lambda entry: entry.mrc).module
        assert making.details.modules[0] == least


def test_a_cell_without_a_valid_mrc_is_refused(run):
    """Where every ascent diverges nothing is chosen by MRC, but in the released code's order."""
    diverging = {"images": 64, "steps": 1, "lr": 1e30}
    for name in ("rift", "robust-critical"):
        this = run(name, criticality=diverging)
        with pytest.raises(UserError, match="only 0 of 21 modules have a valid one"):
            run_cell(this, ("clean",))
        assert this.store.making(this.plan.cell) is None
    released = run("rift-official-code", criticality=diverging)
    run_cell(released, ("clean",))
    assert released.store.making(released.plan.cell).details.modules == ["conv1"]
