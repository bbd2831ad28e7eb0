"""TRADES: its loss against numpy and by hand, and the slips that other codes of it have made."""

import numpy as np
import pytest

from baselines.trades import Trades
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


def test_divergence_is_a_mean_over_examples_and_a_sum_over_classes():
    """A second example of no divergence halves the divergence and does not divide by classes."""
    # cross-entropies ln 2 and ln 4: mean 1.5 ln 2 = 1.039721; divergence 6 * 0.591781 / 2 = 1.775343
    loss, _, _ = measured(Trades(), [HALF, HALF], [TURNED, HALF], [0, 1])
    assert loss == pytest.approx(2.815063, abs=1e-6)


def test_gradient_goes_through_the_clean_probabilities():
    """By the clean logits: (p - onehot) / B + beta / B * p (log p/q - KL), the last from the target."""
    p, q = probabilities(CLEAN), probabilities(ATTACKED)
    ratio = np.log(p / q)
    through_target = p * (ratio - (p * ratio).sum(1, keepdims=True))
    expected = (p - np.eye(3)[LABELS] + 6 * through_target) / 4
    _, by_clean, _ = measured(Trades(), CLEAN, ATTACKED, LABELS)
    assert np.abs(through_target).max() > 0.05
    np.testing.assert_allclose(by_clean, expected, rtol=0, atol=1e-13)


def test_gradient_by_the_attacked_logits():
    """beta / B * (q - p), which the reversed divergence does not have."""
    p, q = probabilities(CLEAN), probabilities(ATTACKED)
    _, _, by_attacked = measured(Trades(), CLEAN, ATTACKED, LABELS)
    np.testing.assert_allclose(by_attacked, 6 * (q - p) / 4, rtol=0, atol=1e-13)


def test_labels_of_attacked_images_do_not_count():
    """Labels enter through the clean cross-entropy: other labels move the loss by it alone."""
    other = np.array([1, 0, 2, 2])
    loss, _, by_attacked = measured(Trades(), CLEAN, ATTACKED, LABELS)
    moved, _, still = measured(Trades(), CLEAN, ATTACKED, other)
    p = probabilities(CLEAN)
    expected = np.log(of_label(p, LABELS) / of_label(p, other)).mean()
    assert moved - loss == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(by_attacked, still)
