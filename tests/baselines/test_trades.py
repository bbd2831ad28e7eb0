"""TRADES: its loss against numpy and by hand."""

import numpy as np
import pytest

from baselines.trades import Trades
from prepared import HALF, LABELS, TURNED, assert_loss, measured, of_label, probabilities


def divergences(clean, attacked):
    """KL(p || q) of each row, p clean and q attacked."""
    p, q = probabilities(clean), probabilities(attacked)
    return (p * np.log(p / q)).sum(1)


def by_hand(clean, attacked, beta=6.0):
    """Mean cross-entropy of the clean logits and beta times the mean divergence."""
    entropy = -np.log(of_label(probabilities(clean), LABELS))
    return entropy.mean() + beta * divergences(clean, attacked).mean()


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_loss_and_gradients_equal_numpy(beta):
    """Value and derivatives by both sets of logits are those of the formula."""
    assert_loss(Trades(beta=beta), lambda clean, attacked: by_hand(clean, attacked, beta))


def test_value_worked_out():
    """A batch of one, label 0: ln 2 + 6 * 0.591781 (beta is 6 without a choice); the other direction
    would make 4.077321."""
    # cross-entropy of (1/2, 1/4, 1/4) at 0: ln 2 = 0.693147; 6 * 0.591781 = 3.550685
    loss, _, _ = measured(Trades(), [HALF], [TURNED], [0])
    assert loss == pytest.approx(4.243833, abs=1e-6)
