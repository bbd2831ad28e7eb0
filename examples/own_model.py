"""RiFT on a network of one's own: torchvision's ResNet18, made smaller for 8x8 digits.

Plain PyTorch trains it adversarially, `benchmark.rift` does the rest:

    python examples/own_model.py [FOLDER]

FOLDER receives the network before and after RiFT, each as a safetensors file with its model card.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmark import LinfAttack, evaluate, rift, save_checkpoint

ATTACK = LinfAttack(eps=0.2, step_size=0.05, steps=10)
Images = tuple[Tensor, Tensor]


def small_resnet18() -> nn.Module:
    """The first two stages of ResNet18, with a stem for small grey images, 10 classes."""
    model = resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, kernel_size=3, stride=2, padding=1, bias=False)
    model.maxpool = model.layer3 = model.layer4 = nn.Identity()
    model.fc = nn.Linear(128, 10)
    return model


def three_splits(judged: int = 100) -> tuple[Images, Images, Images]:
    """Images to train on, to choose alpha* on, `judged` of them, and to report: pixels (N, 1, 8, 8) in
    [0, 1]."""
    digits = load_digits()
    pixels = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target)
    rows, test = train_test_split(range(len(labels)), test_size=200, stratify=labels, random_state=0)
    train, judge = train_test_split(rows, test_size=judged, stratify=labels[rows], random_state=0)
    return tuple((pixels[part], labels[part]) for part in (train, judge, test))


def pgd(model: nn.Module, x: Tensor, labels: Tensor, steps: int, step: float) -> Tensor:
    """Adversarial images within `ATTACK.eps` of x, from a random start."""
    low, high = (x - ATTACK.eps).clamp(0, 1), (x + ATTACK.eps).clamp(0, 1)
    x = x + torch.empty_like(x).uniform_(-ATTACK.eps, ATTACK.eps)
    for _ in range(steps):
        x = x.detach().clamp(low, high).requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(model(x), labels), x)
        x = x + step * slope.sign()
    return x.detach().clamp(low, high)


def trained_adversarially(model: nn.Module, train: Images, epochs: int = 3) -> nn.Module:
    """`model` once it is trained on PGD-2 examples."""
    x, labels = train
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    steps = epochs * (len(x) // 64 + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            x_adv = pgd(model, x[rows], labels[rows], steps=2, step=0.75 * ATTACK.eps)
            optimizer.zero_grad()
            F.cross_entropy(model(x_adv), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def main(folder: str | None = None) -> None:
    """Train, fine-tune by RiFT, and report on images that chose nothing."""
    train, judge, test = three_splits()
    torch.manual_seed(0)
    model = trained_adversarially(small_resnet18(), train)
    result = rift(
        model,
        train,
        judge,
        attack=ATTACK,
        mrc={"images": 64, "steps": 2},
        recipe={"epochs": 2, "milestones": (), "select_last": 2, "lr": 0.02},
    )
    print(result.summary())
    print(result.criticality.sort_values("MRC").head(3).to_string(index=False))
    for name, network in (("before", model), ("after", result.model)):
        scores = evaluate(network, test, ["clean", "pgd10x3"], attack=ATTACK, progress=False)
        clean, robust = 100 * scores["accuracy"]
        print(f"{name} RiFT: {clean:.2f} % of 200 test images, {robust:.2f} % under PGD-10")
    if folder:
        save_checkpoint(model, Path(folder) / "digits-at.safetensors")
        result.save(Path(folder) / "digits-rift.safetensors", scores)


if __name__ == "__main__":
    main(*sys.argv[1:])
