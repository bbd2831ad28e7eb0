"""All definitions of MRC with nothing left out: every pass of every module runs the whole network.

The oracle of `algorithm.criticality`, which must give the same bits with less work. Sums are taken
in the order that it promises: batch by batch, and within a batch chunk by chunk.
"""

import functools
import math

import torch
from torch.nn.functional import cross_entropy

from benchmark.engine.recipes import (
    CriticalitySettings,
    OfficialCriticality,
    ScaleFreeCriticality,
)
from benchmark.records.cells import derive_seed
from benchmark.records.records import ModuleCriticality


def plain_criticality(model, x_adv, labels, settings, seed, chunk=256):
    """MRC of every convolution and linear module of `model`, which is in evaluation mode."""
    kinds = torch.nn.Conv2d | torch.nn.Linear
    reference = _loss(model, x_adv, labels, chunk)
    ascend = {
        CriticalitySettings: _algorithm1,
        OfficialCriticality: _official,
        ScaleFreeCriticality: functools.partial(_scale_free, reference=reference),
    }[type(settings)]
    entries = []
    for name, module in model.named_modules():
        if not isinstance(module, kinds):
            continue
        weight = module.weight
        start = weight.detach().clone()
        model.requires_grad_(False)
        weight.requires_grad_(True)
        reached, epochs, constrained = ascend(model, name, weight, x_adv, labels, settings, seed, chunk)
        weight.data.copy_(start)
        model.requires_grad_(True)
        mrc, drop, ratio = (None, None, None)
        if reached is not None:
            loss, accuracy, ratio = reached
            mrc, drop = loss - reference[0], reference[1] - accuracy
        entries.append(
            ModuleCriticality(
                module=name,
                mrc=mrc,
                accuracy_drop=drop,
                norm_ratio=ratio,
                epochs=epochs,
                constrained=constrained,
            )
        )
    return entries


@torch.no_grad()
def _loss(model, x_adv, labels, chunk):
    """Mean cross-entropy and accuracy."""
    total, hits = 0.0, 0
    for x, y in zip(x_adv.split(chunk), labels.split(chunk), strict=True):
        logits = model(x)
        total += float(cross_entropy(logits, y, reduction="sum"))
        hits += int((logits.argmax(1) == y).sum())
    return total / len(labels), hits / len(labels)


def _add_gradient(total, model, weight, x_adv, labels, chunk):
    """The gradient of the mean cross-entropy over one batch, on top of `total`."""
    for x, y in zip(x_adv.split(chunk), labels.split(chunk), strict=True):
        loss = cross_entropy(model(x), y, reduction="sum") / len(labels)
        total += torch.autograd.grad(loss, weight)[0]


def _algorithm1(model, name, weight, x_adv, labels, settings, seed, chunk):
    """The end of the ascent (loss, accuracy, norm ratio), epochs, and whether the ball was reached."""
    start = weight.detach().clone()
    norm = float(start.norm())
    for epoch in range(settings.steps):
        total = torch.zeros_like(start)
        for x, y in zip(
            x_adv.split(settings.batch_size), labels.split(settings.batch_size), strict=True
        ):
            _add_gradient(total, model, weight, x, y, chunk)
        weight.data.add_(total, alpha=settings.lr)
        length = float((weight.data - start).norm())
        if not math.isfinite(length):
            return None, epoch + 1, False
        if broken := length >= settings.radius * norm:
            factor = settings.radius * norm / length if length > 0 else 0.0
            weight.data.copy_(start + factor * (weight.data - start))
            break
    loss, accuracy = _loss(model, x_adv, labels, chunk)
    ratio = float((weight.data - start).norm()) / norm if norm > 0 else 0.0
    return (loss, accuracy, ratio) if math.isfinite(loss) else None, epoch + 1, broken


def _official(model, name, weight, x_adv, labels, settings, seed, chunk):
    """The peak among the ends of the epochs, epochs, and whether a projection was ever needed."""
    start = weight.detach().clone()
    norm, projected, peak = float(start.norm()), False, None
    for epoch in range(settings.steps):
        generator = torch.Generator().manual_seed(derive_seed(seed, "order", name, epoch))
        for rows in torch.randperm(len(labels), generator=generator).split(settings.batch_size):
            gradient = torch.zeros_like(start)
            _add_gradient(gradient, model, weight, x_adv[rows], labels[rows], chunk)
            weight.data.add_(gradient, alpha=settings.lr)
        length = float((weight.data - start).norm())
        if not math.isfinite(length):
            return None, epoch + 1, projected
        if length > settings.radius * norm:
            projected = True
            weight.data.copy_(start + settings.radius * norm / length * (weight.data - start))
        loss, accuracy = _loss(model, x_adv, labels, chunk)
        if not math.isfinite(loss):
            return None, epoch + 1, projected
        if peak is None or loss > peak[0]:
            ratio = float((weight.data - start).norm()) / norm if norm > 0 else 0.0
            peak = (loss, accuracy, ratio)
    return peak, settings.steps, projected


def _scale_free(model, name, weight, x_adv, labels, settings, seed, chunk, reference):
    """The highest point of the path, its start included, steps, and whether the border was reached."""
    start = weight.detach().clone()
    norm, there, peak = float(start.norm()), False, (*reference, 0.0)
    for step in range(settings.steps):
        gradient = torch.zeros_like(start)
        _add_gradient(gradient, model, weight, x_adv, labels, chunk)
        length = float(gradient.norm())
        if not math.isfinite(length):
            return None, step, there
        if length == 0:
            return peak, step, there
        weight.data.add_(gradient, alpha=settings.rate * settings.radius * norm / length)
        distance = float((weight.data - start).norm())
        there = there or distance >= (1 - 1e-5) * settings.radius * norm
        if distance > settings.radius * norm:
            weight.data.copy_(start + settings.radius * norm / distance * (weight.data - start))
        loss, accuracy = _loss(model, x_adv, labels, chunk)
        if loss > peak[0]:
            peak = (loss, accuracy, float((weight.data - start).norm()) / norm)
    return peak, settings.steps, there
