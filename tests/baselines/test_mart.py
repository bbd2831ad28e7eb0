"""MART: its loss against numpy and by hand, its constants, and the slips that other codes have made."""

import numpy as np
import pytest

from baselines.mart import Mart
from prepared import (
    ATTACKED,
    CLEAN,
    HALF,
    LABELS,
    TURNED,
    assert_loss,
    measured,
    of_label,
    probabilities,
)

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


def test_no_clean_cross_entropy():
    """With beta = 0 the clean logits have no gradient and no part in the value."""
    loss, by_clean, _ = measured(Mart(beta=0), CLEAN, ATTACKED, LABELS)
    other, _, _ = measured(Mart(beta=0), -CLEAN, ATTACKED, LABELS)
    assert np.abs(by_clean).max() == 0
    assert loss == other


def test_weight_is_of_the_natural_probability():
    """Images that are clean and wrong weigh more than those that only the attack turns."""
    # label 0, and the same with the classes in reverse: KL is 0.591781 both times, p_y is 1/2 and 1/4,
    # so the weights are 1/2 and 3/4, whereas 1 - q_y is 7/8 and 1/4
    beta = 4.0
    swapped = HALF[[2, 1, 0]], TURNED[[2, 1, 0]]
    for clean, attacked, weight in ((HALF, TURNED, 1 / 2), (*swapped, 3 / 4)):
        loss, _, _ = measured(Mart(beta=beta), [clean], [attacked], [0])
        without, _, _ = measured(Mart(beta=0), [clean], [attacked], [0])
        assert loss - without == pytest.approx(beta * 0.591781 * weight, abs=1e-6)


def test_gradient_goes_through_weight_and_target():
    """By the clean logits: beta / B * (weight * dKL - KL * p_y (onehot - p)); nothing is detached."""
    p, q = probabilities(CLEAN), probabilities(ATTACKED)
    own = of_label(p, LABELS)[:, None]
    ratio = np.log(p) - np.log(q + 1e-12)
    divergence = (p * ratio).sum(1, keepdims=True)
    through_target = (1.0000001 - own) * p * (ratio - divergence)
    through_weight = -divergence * own * (ONEHOT - p)
    assert min(np.abs(through_target).max(), np.abs(through_weight).max()) > 0.02
    _, by_clean, _ = measured(Mart(), CLEAN, ATTACKED, LABELS)
    expected = 5 / 4 * (through_target + through_weight)
    np.testing.assert_allclose(by_clean, expected, rtol=0, atol=1e-13)


def test_gradient_by_the_attacked_logits():
    """Cross-entropy, margin at the rival and weighted divergence, each in closed form."""
    p, q = probabilities(CLEAN), probabilities(ATTACKED)
    rival = rivals(q)
    top = of_label(q, rival)[:, None]
    margin = top * (np.eye(3)[rival] - q) / (1.0001 - top + 1e-12)
    share = p * q / (q + 1e-12)
    divergence = (1.0000001 - of_label(p, LABELS)[:, None]) * (q * share.sum(1, keepdims=True) - share)
    expected = (q - ONEHOT + margin + 5 * divergence) / 4
    _, _, by_attacked = measured(Mart(), CLEAN, ATTACKED, LABELS)
    np.testing.assert_allclose(by_attacked, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("label", "rival"), [(0, 3 / 8), (1, 1 / 2), (2, 1 / 2)])
def test_margin_leaves_the_label_out(label, rival):
    """q = (1/2, 3/8, 1/8): the rival of class 0 is class 1, of the others class 0."""
    q = np.array([1 / 2, 3 / 8, 1 / 8])
    loss, _, _ = measured(Mart(beta=0), [[0, 0, 9]], [np.log(q)], [label])
    assert loss == pytest.approx(-np.log(q[label]) - np.log(1.0001 - rival), abs=1e-9)


def test_margin_is_of_the_attacked_probabilities():
    """A sure clean output leaves the margin at even attacked logits as it is."""
    # q = (1/3, 1/3, 1/3): ln 3 - ln(1.0001 - 1/3) = 1.098612 + 0.405315 = 1.503927
    loss, _, _ = measured(Mart(beta=0), [[0, 50, 0]], [[0, 0, 0]], [0])
    assert loss == pytest.approx(1.503927, abs=1e-6)


def test_constant_of_the_margin():
    """A rival of probability 1 costs -ln(0.0001 + 1e-12) = 9.210340 and not infinity."""
    loss, _, _ = measured(Mart(beta=0), [[0, 0, 0]], [[0, 100, 0]], [0])
    assert loss - 100 == pytest.approx(9.210340, abs=1e-6)


def test_constants_of_the_weight_and_of_the_logarithm():
    """At p_y = 1 the weight is 1e-7, at q = 0 the logarithm is that of 1e-12."""
    # p = (1, 0, 0), q = (0, 1, 0): KL = -ln 1e-12 = 27.631021; the weight leaves 1e-7 of it
    loss, _, _ = measured(Mart(beta=1e7), [[1000, 0, 0]], [[0, 1000, 0]], [0])
    assert loss - 1000 - 9.210340 == pytest.approx(27.631021, abs=1e-5)
