"""MART: its loss against numpy and by hand, and its constants."""

import numpy as np
import pytest

from baselines.mart import Mart
from prepared import HALF, LABELS, TURNED, assert_loss, measured, of_label, probabilities

ONEHOT = np.eye(3)[LABELS]


def divergences(p, q):
    """KL(p || q) of each row as the authors write it."""
    return (p * (np.log(p) - np.log(q + 1e-12))).sum(1)


def rivals(q):
    """The class of highest probability other than the label, of each row."""
    return np.where(ONEHOT == 1, -1.0, q).argmax(1)


def by_hand(clean, attacked, beta=5.0):
    """Boosted cross-entropy of q and beta times the weighted divergence, as a mean over examples."""
    p, q = probabilities(clean), probabilities(attacked)
    boosted = -np.log(of_label(q, LABELS)) - np.log(1.0001 - of_label(q, rivals(q)) + 1e-12)
    weighted = divergences(p, q) * (1.0000001 - of_label(p, LABELS))
    return (boosted + beta * weighted).mean()


@pytest.mark.parametrize("beta", [0.0, 1.0, 5.0])
def test_loss_and_gradients_equal_numpy(beta):
    """Value and derivatives by both sets of logits are those of the formula."""
    assert_loss(Mart(beta=beta), lambda clean, attacked: by_hand(clean, attacked, beta))


def test_value_worked_out():
    """Two examples, beta 5 without a choice: p = (1/2, 1/4, 1/4), q = (1/8, 1/8, 3/4), label 0; and
    p = q, label 1."""
    # first: -ln 1/8 = 2.079442; -ln(1.0001 - 3/4) = -ln 0.2501 = 1.385894;
    #        5 * 0.591781 * (1.0000001 - 1/2) = 1.479453; together 4.944789
    # second: -ln 1/4 = 1.386294; -ln(1.0001 - 1/2) = -ln 0.5001 = 0.692947; no divergence
    loss, _, _ = measured(Mart(), [HALF, HALF], [TURNED, HALF], [0, 1])
    assert loss == pytest.approx((4.944789 + 2.079241) / 2, abs=1e-6)


def test_constant_of_the_margin():
    """A rival of probability 1 costs -ln(0.0001 + 1e-12) = 9.210340 and not infinity."""
    loss, _, _ = measured(Mart(beta=0), [[0, 0, 0]], [[0, 100, 0]], [0])
    assert loss - 100 == pytest.approx(9.210340, abs=1e-6)


def test_constants_of_the_weight_and_of_the_logarithm():
    """At p_y = 1 the weight is 1e-7, at q = 0 the logarithm is that of 1e-12."""
    # p = (1, 0, 0), q = (0, 1, 0): KL = -ln 1e-12 = 27.631021; the weight leaves 1e-7 of it
    loss, _, _ = measured(Mart(beta=1e7), [[1000, 0, 0]], [[0, 1000, 0]], [0])
    assert loss - 1000 - 9.210340 == pytest.approx(27.631021, abs=1e-5)
