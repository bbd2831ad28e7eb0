"""What a call from Python takes of its process, and gives back."""

import copy
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.engine.device import exact_fp32, plain_attention
from benchmark.engine.folded_copy import foldable
from benchmark.engine.precision import FP32, computing_in, used
from benchmark.errors import reason
from benchmark.jobs.soundness import in_order
from benchmark.progress import Progress


def own_draws(stack: ExitStack, seed: int, place: torch.device) -> None:
    """Let torch's generators begin at `seed` until `stack` is closed, fp32 be fp32, and CUDA's kernels
    add in a fixed order; then all are as the caller left them.

    `place` is where the work is done. While CUDA has not begun, torch keeps the last seed that was said
    for when it does, and afterwards that has to be the caller's.
    """
    begun = place.type == "cuda" or torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if begun else ()
    if not begun:
        stack.callback(lambda: torch.cuda.manual_seed_all(torch.initial_seed()))
    if torch.backends.mps.is_available():
        stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
    stack.enter_context(torch.random.fork_rng(devices=devices))
    torch.manual_seed(seed)
    stack.callback(exact_fp32())
    if place.type == "cuda":
        stack.callback(plain_attention())
    cudnn: Any = torch.backends.cudnn
    for name, value in {"deterministic": True, "benchmark": False}.items():
        stack.callback(setattr, cudnn, name, getattr(cudnn, name))
        setattr(cudnn, name, value)


def own_precision(stack: ExitStack, model: nn.Module, x: Tensor, progress: Progress) -> None:
    """Compute in fp32 until `stack` is closed if `model` fails on images x (B, C, H, W) in [0,1] where
    convolutions and products are in bf16, as in attacks."""
    if foldable(model) or not used().uses_bf16(x.device):
        return
    x = in_order(x.detach()).requires_grad_(True)
    try:
        with used().autocast(x.device):
            logits = copy.deepcopy(model).to(x.device).eval()(x)
        torch.autograd.grad(logits.sum(), x)
    except (RuntimeError, TypeError, ValueError) as error:
        progress("precision", 1, 1, f"fp32, because in bf16 the model fails: {reason(error)}")
        stack.enter_context(computing_in(FP32))
