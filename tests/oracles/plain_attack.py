"""PGD and a step of adversarial training as one would write them down: fp32, contiguous tensors, batch
normalisation as it stands. What `engine.pgd` and `engine.training` are measured against."""

import torch
from torch.nn.functional import cross_entropy, kl_div


def plain_pgd(model, x, labels, attack, start, clean=None):
    """PGD from `start` in the mode of `model`; on the KL to `clean` log-probabilities, if given."""
    low, high = (x - attack.eps).clamp(0, 1), (x + attack.eps).clamp(0, 1)
    x_adv = (x + start).clamp(low, high)
    for _ in range(attack.steps):
        x_adv.requires_grad_(True)
        logits = model(x_adv)
        if clean is None:
            loss = cross_entropy(logits, labels, reduction="sum")
        else:
            loss = kl_div(logits.log_softmax(1), clean, reduction="sum", log_target=True)
        (gradient,) = torch.autograd.grad(loss, x_adv)
        x_adv = (x_adv.detach() + attack.step_size * gradient.sign()).clamp(low, high)
    return x_adv


@torch.no_grad()
def plain_right(model, x, labels):
    """Which images a model in evaluation mode gets right."""
    return model(x).argmax(1) == labels


def plain_pgd_at_step(model, x, labels, attack, start, optimizer):
    """PGD-AT: craft and train in training mode, then a clean pass; returns the loss."""
    model.train()
    x_adv = plain_pgd(model, x, labels, attack, start)
    loss = cross_entropy(model(x_adv), labels)
    _descend(loss, optimizer)
    with torch.no_grad():
        model(x)
    return float(loss.detach())


def plain_trades_step(model, x, labels, attack, start, optimizer, beta=6.0):
    """TRADES: craft in evaluation mode on the KL to the clean answers; returns the loss."""
    model.eval()
    with torch.no_grad():
        clean = model(x).log_softmax(1)
    x_adv = plain_pgd(model, x, labels, attack, start, clean)
    model.train()
    logits, logits_adv = model(x), model(x_adv)
    with torch.no_grad():
        model(x)
    divergence = kl_div(
        logits_adv.log_softmax(1), logits.log_softmax(1), reduction="batchmean", log_target=True
    )
    loss = cross_entropy(logits, labels) + beta * divergence
    _descend(loss, optimizer)
    return float(loss.detach())


def _descend(loss, optimizer):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
