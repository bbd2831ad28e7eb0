"""The adversarially trained network in the repository."""

from pathlib import Path

from torch import nn

from benchmark.data import dataset_info
from benchmark.engine.weights import load_tensors
from benchmark.models import build

FILE = "narrow-cifar10-resnet18-w16-pgd-at-seed0.safetensors"


def committed_network() -> nn.Module:
    """ResNet18 of width 16 for CIFAR-10, in evaluation mode."""
    network = build("resnet18-w16", dataset_info("cifar10"))
    network.load_state_dict(load_tensors(Path(__file__).parents[2] / "checkpoints" / FILE)[0])
    return network.eval()
