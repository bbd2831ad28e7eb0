"""SCORE: its loss against numpy and by hand, and the bound it is clipped at."""

import numpy as np
import pytest

from baselines.score import Score
from prepared import ATTACKED, CLEAN, HALF, LABELS, TURNED, assert_loss, measured, probabilities

ONEHOT = np.eye(3)[LABELS]
BOUND = 0.135  # of three classes at 0.3: 0.3^2 + 0.3^2 / 2 = 0.09 + 0.045


def excess(clean, attacked, beta=6.0, bound=BOUND):
    """Squared errors to the label and, beta times, to the clean output, less the bound."""
    p, q = probabilities(clean), probabilities(attacked)
    return ((p - ONEHOT) ** 2).sum(1) + beta * ((q - p) ** 2).sum(1) - bound


def by_hand(clean, attacked, **choices):
    """Mean of the excess where there is one."""
    return np.maximum(excess(clean, attacked, **choices), 0).mean()


@pytest.mark.parametrize(
    ("smoothing", "bound", "beta"), [(0.3, BOUND, 6.0), (0.3, BOUND, 1.0), (0.0, 0.0, 4.0)]
)
def test_loss_and_gradients_equal_numpy(smoothing, bound, beta):
    """Value and derivatives by both sets of logits are those of the formula."""
    assert_loss(
        Score(beta=beta, smoothing=smoothing),
        lambda clean, attacked: by_hand(clean, attacked, beta=beta, bound=bound),
    )


def test_value_worked_out():
    """Without a choice beta is 6 and the smoothing 0.3. Three examples of p = (1/2, 1/4, 1/4) and (0.8,
    0.1, 0.1), the last below the bound."""
    # 1: label 0, q = (1/8, 1/8, 3/4): 1/4 + 1/16 + 1/16 = 0.375; (9 + 1 + 16) / 64 = 0.40625;
    #    0.375 + 6 * 0.40625 - 0.135 = 2.6775
    # 2: label 1, q = p: 1/4 + 9/16 + 1/16 = 0.875; 0.875 - 0.135 = 0.74
    # 3: label 0, q = p = (0.8, 0.1, 0.1): 0.04 + 0.01 + 0.01 = 0.06 < 0.135, nothing
    sure = np.log([0.8, 0.1, 0.1])
    loss, _, _ = measured(Score(), [HALF, HALF, sure], [TURNED, HALF, sure], [0, 1, 0])
    assert loss == pytest.approx((2.6775 + 0.74 + 0) / 3, abs=1e-12)


def test_example_below_the_bound_has_no_gradient():
    """The last example adds nothing to either gradient, the others do."""
    assert list(excess(CLEAN, ATTACKED) < 0) == [False, False, False, True]
    _, by_clean, by_attacked = measured(Score(), CLEAN, ATTACKED, LABELS)
    for gradient in (by_clean, by_attacked):
        assert list(np.abs(gradient).max(1) > 1e-3) == [True, True, True, False]
        assert not gradient[3].any()


@pytest.mark.parametrize(
    ("smoothing", "classes", "bound"),
    [(0.3, 10, 0.1000), (0.3, 100, 0.0909), (0.4, 10, 0.1778), (0.4, 100, 0.1616), (0.3, 3, 0.135)],
)
def test_bound_is_the_squared_error_of_label_smoothing(smoothing, classes, bound):
    """(1 - s, s / (K - 1), ...) against (1, 0, ...): the published numbers, and the sum itself."""
    smooth = np.full(classes, smoothing / (classes - 1))
    smooth[0] = 1 - smoothing
    made = Score(smoothing=smoothing).bound(classes)
    assert made == pytest.approx(bound, abs=5e-5)
    assert made == pytest.approx(((smooth - np.eye(classes)[0]) ** 2).sum(), abs=1e-15)


@pytest.mark.parametrize(("classes", "bound"), [(10, 0.1000), (100, 0.0909)])
def test_classes_are_counted_in_the_logits(classes, bound):
    """Even logits: squared error (K - 1)^2 / K^2 + (K - 1) / K^2 = 1 - 1/K, less the bound."""
    even = np.zeros((2, classes))
    loss, _, _ = measured(Score(), even, even, [0, 1])
    assert loss == pytest.approx(1 - 1 / classes - bound, abs=5e-5)
