"""The adversarial examples of a criticality measurement: crafted once at the weights theta_AT, then
fixed while weights move (Algorithm 1 of the paper, lines 1-5; the released code does the same)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.info import LinfAttack
from benchmark.engine.counting import RIGHT, adversarial_batch, judged
from benchmark.models.segments import Network
from benchmark.progress import Progress, silent
from benchmark.records.stopping import stop_if_asked
from benchmark.records.store import Journal

CHUNK = 256
"""Most examples that go through a network at once; larger batches are sums over chunks."""


@dataclass(frozen=True, eq=False)
class AdversarialSet:
    """Adversarial examples (N, C, H, W) in [0,1] with labels (N,), or their activations (N, ...) at a
    cut through a network (`benchmark.algorithm.rolling`)."""

    x_adv: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: slice | Tensor) -> "AdversarialSet":
        """The examples of a slice (without copying) or of an index tensor (B,), in that order."""
        return AdversarialSet(self.x_adv[rows], self.labels[rows])

    def batches(self, size: int) -> "list[AdversarialSet]":
        """The examples in order, `size` at a time; the last batch may be smaller."""
        return [self.take(slice(start, start + size)) for start in range(0, len(self), size)]

    def chunks(self) -> "list[AdversarialSet]":
        """The examples in order, at most `CHUNK` at a time."""
        return self.batches(CHUNK)


def adversarial_set(
    model: nn.Module,
    split: Split,
    attack: LinfAttack,
    seed: int,
    journal: Journal,
    progress: Progress = silent,
) -> AdversarialSet:
    """PGD examples for every image of `split`, crafted in evaluation mode, kept chunk by chunk."""
    chunks = []
    for start in range(0, len(split), CHUNK):
        name = f"x_adv-{start:06d}"
        if (kept := journal.get(name)) is None:
            stop = min(start + CHUNK, len(split))
            x_adv, _ = adversarial_batch(model, split, start, stop, attack, seed)
            kept = {"x_adv": x_adv.cpu().numpy()}
            journal.put(name, **kept)
        chunks.append(torch.from_numpy(kept["x_adv"]))
        progress("criticality: adversarial examples", min(start + CHUNK, len(split)), len(split))
    x_adv = torch.cat(chunks).to(split.labels.device, memory_format=torch.channels_last)
    return AdversarialSet(x_adv, split.labels)


@dataclass
class Tally:
    """Cross-entropy and correct answers, summed chunk by chunk."""

    loss: float = 0.0
    hits: int = 0
    examples: int = 0

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a chunk of logits (B, K) with labels (B,)."""
        self.loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        self.hits += int((judged(logits, labels) == RIGHT).sum())
        self.examples += len(labels)

    def means(self) -> tuple[float, float]:
        """Mean cross-entropy and accuracy (fraction)."""
        return self.loss / self.examples, self.hits / self.examples


@torch.no_grad()
def robust_loss(network: Network, examples: AdversarialSet) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (fraction) of `network` as it is on `examples`."""
    tally = Tally()
    for chunk in examples.chunks():
        stop_if_asked()
        tally.add(network(chunk.x_adv), chunk.labels)
    return tally.means()
