"""A network of prepared logits, derivatives by differences, and probabilities, to test losses with."""

import numpy as np
import torch
from torch import nn

CLEAN = np.array([[2.0, 0.5, -1.0], [4.0, -2.0, -1.0], [-0.3, 0.4, 0.1], [6.0, -1.0, -3.0]])
ATTACKED = np.array([[0.7, 1.2, -0.5], [3.0, -1.0, 0.5], [-0.2, 0.3, 0.6], [5.0, -0.5, -2.0]])
LABELS = np.array([0, 2, 1, 0])
"""Four examples of three classes: turned by the attack, wrong and sure of it, unsure, right and sure.

The squared errors of the last one are below SCORE's bound.
"""

HALF = np.log([1 / 2, 1 / 4, 1 / 4])
TURNED = np.log([1 / 8, 1 / 8, 3 / 4])
"""Logits of probabilities that sums can be worked out for by hand.

KL(HALF || TURNED) = 1/2 ln 4 + 1/4 ln 2 + 1/4 ln 1/3 = 1.25 ln 2 - 0.25 ln 3 = 0.591781,
KL(TURNED || HALF) = 1/8 ln 1/4 + 1/8 ln 1/2 + 3/4 ln 3 = 0.75 ln 3 - 0.375 ln 2 = 0.564029.
"""


class Prepared(nn.Module):
    """Returns one parameter for images of zeros and another for images of ones."""

    def __init__(self, clean, attacked, dtype=torch.float64):
        super().__init__()
        self.clean = nn.Parameter(torch.as_tensor(np.asarray(clean), dtype=dtype))
        self.attacked = nn.Parameter(torch.as_tensor(np.asarray(attacked), dtype=dtype))

    def forward(self, x):
        return self.attacked if x[0, 0] else self.clean


def measured(method, clean, attacked, labels, dtype=torch.float64):
    """Loss of `method` at these logits, and its gradients by the clean and the attacked ones."""
    model = Prepared(clean, attacked, dtype)
    x = torch.zeros(len(labels), 1)
    loss = method.outer(model, x, x + 1, torch.as_tensor(labels))
    assert loss.shape == ()
    by_clean, by_attacked = torch.autograd.grad(
        loss, (model.clean, model.attacked), materialize_grads=True
    )
    return float(loss.detach()), by_clean.numpy(), by_attacked.numpy()


def differences(loss, logits):
    """Gradient of `loss` by central differences of fourth order."""
    gradient, width = np.zeros_like(logits), 1e-3
    for place in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[place] = width
        near = loss(logits + step) - loss(logits - step)
        far = loss(logits + 2 * step) - loss(logits - 2 * step)
        gradient[place] = (8 * near - far) / (12 * width)
    return gradient


def assert_loss(method, by_hand):
    """Value and both gradients of the loss of `method` are those of `by_hand(CLEAN, ATTACKED)`."""
    loss, by_clean, by_attacked = measured(method, CLEAN, ATTACKED, LABELS)
    assert abs(loss - by_hand(CLEAN, ATTACKED)) < 1e-12
    expected = differences(lambda logits: by_hand(logits, ATTACKED), CLEAN)
    np.testing.assert_allclose(by_clean, expected, rtol=0, atol=1e-9)
    expected = differences(lambda logits: by_hand(CLEAN, logits), ATTACKED)
    np.testing.assert_allclose(by_attacked, expected, rtol=0, atol=1e-9)


def probabilities(logits):
    """Softmax of the rows."""
    share = np.exp(logits - logits.max(1, keepdims=True))
    return share / share.sum(1, keepdims=True)


def of_label(values, labels):
    """Of each row of `values` the entry at its label."""
    return values[np.arange(len(labels)), labels]
