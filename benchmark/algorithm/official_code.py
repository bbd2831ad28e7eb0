"""What the code released with the paper (Immortalise/RiFT) does differently from it (no torch)."""

from typing import Literal

README_MODULES = {
    ("cifar10", "resnet18"): "layer2.1.conv2",
    ("cifar10", "resnet34"): "layer2.3.conv2",
    ("cifar10", "wrn-34"): "block1.layer.3.conv2",
    ("cifar100", "resnet18"): "layer2.1.conv2",
    ("cifar100", "resnet34"): "layer2.3.conv2",
    ("cifar100", "wrn-34"): "block1.layer.2.conv2",
    ("tiny-imagenet", "resnet18"): "layer3.1.conv2",
    ("tiny-imagenet", "resnet34"): "layer3.5.conv2",
    ("tiny-imagenet", "wrn-34"): "block1.layer.2.conv2",
}
"""The layer to fine-tune by dataset and network, "non-robust-critical module" in its README.md."""


def readme_module(dataset: str, arch: str) -> str | None:
    """The layer that its README names for a network of any width; None where it names none."""
    for (known, network), module in README_MODULES.items():
        if known == dataset and (arch == network or arch.startswith(f"{network}-")):
            return module
    return None


def criticality_split(dataset: str) -> Literal["train", "test"]:
    """The split that criticality is measured on: test images, but training images of Tiny-ImageNet
    (main.py, `generate_adv_dataset`)."""
    return "train" if dataset == "tiny-imagenet" else "test"
