"""On a CUDA device: what has to be as on the processor, or the same each time."""

import pytest
import torch
from torch.nn.functional import conv2d

from baselines.pgd_at import PgdAt
from benchmark.data.info import DIGITS
from benchmark.engine.counting import clean_answers, clean_count
from benchmark.engine.device import torch_device
from benchmark.engine.pgd import gaussian_start, uniform_start
from benchmark.engine.recipes import Recipe
from benchmark.engine.training import fit
from benchmark.engine.weights import weights_sha256

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS"),  # of a thread without a context
]
RECIPE = Recipe(
    epochs=2, batch_size=64, lr=0.05, milestones=(1,), attack_steps=2, attack_path=1.5, select_last=1
)


@pytest.fixture(scope="module")
def device():
    """The first device, as a command has it."""
    return torch_device("cuda")


@pytest.mark.parametrize("draw", [uniform_start, gaussian_start])
def test_random_starts_are_those_of_the_processor(device, draw):
    """Bit by bit: they are drawn there."""
    x = torch.zeros(5, 1, 8, 8)
    here, there = (draw(each, 0.1, torch.Generator().manual_seed(1)) for each in (x, x.to(device)))
    assert there.is_cuda and torch.equal(here, there.cpu())


def test_batches_are_those_of_the_processor(device, digits):
    """In the same order, shifted and mirrored alike; a division may round the last bit otherwise."""
    few = digits.train.first(40)
    for (x, labels), (ours, theirs) in zip(
        *(
            split.epoch(16, DIGITS.augmentation, torch.Generator().manual_seed(2))
            for split in (few, few.to(device))
        ),
        strict=True,
    ):
        torch.testing.assert_close(ours.cpu(), x, rtol=0, atol=1e-6)
        assert torch.equal(theirs.cpu(), labels)


def test_fp32_is_no_tf32(device):
    """TF32 errs by some 5e-4 of a sum's size, fp32 by less than 1e-5."""
    generator = torch.Generator().manual_seed(3)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((8, 64, 16, 16), (64, 64, 3, 3)))
    for exact, found in (
        (conv2d(x.double(), weight.double()), conv2d(x.to(device), weight.to(device))),
        (x[0, 0].double() @ x[1, 0].double(), x[0, 0].to(device) @ x[1, 0].to(device)),
    ):
        assert float((found.cpu() - exact).abs().max()) < 5e-5 * float(exact.abs().max())


def test_answers_are_those_of_the_processor(device, digits, model):
    """But for an image whose two largest logits are next to equal."""
    here = clean_answers(model, digits.test)
    there = clean_answers(model.to(device), digits.test.to(device))
    assert int((here != there).sum()) <= 1


@pytest.mark.parametrize("mixed", [False, True])
def test_a_training_repeats_its_bytes(device, digits, make_network, tmp_path, in_bf16, mixed):
    """Forward, backward and choice, in fp32 and in bf16."""
    train, judged = digits.train.first(320).to(device), digits.test.first(100).to(device)
    if mixed:
        in_bf16()

    def once(name):
        fitted = fit(
            make_network().to(device),
            train,
            DIGITS,
            PgdAt(),
            RECIPE,
            seed=3,
            select=lambda tuned: clean_count(tuned, judged),
            checkpoint=tmp_path / name,
            fingerprint="of this test",
            mixed=mixed,
        )
        return weights_sha256(fitted.state)

    assert once("one") == once("another")
