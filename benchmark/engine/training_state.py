"""The state of an unfinished training: written after every epoch, continued by the same work only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.engine.precision import FP32
from benchmark.engine.takeover import Circumstances, Takeover
from benchmark.engine.weights import clone_state, load_unfinished, save_tensors
from benchmark.records.records import EpochLog


@dataclass
class TrainingState:
    """What `epoch` epochs came to: their log, the weights of the best one, the mean of the last ones.

    `begun` has a line for each time that the training was continued in other circumstances.
    """

    epoch: int = 0
    log: list[EpochLog] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    mean: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    begun: list[str] = field(default_factory=list)

    def average(self, weights: Mapping[str, Tensor], count: int) -> None:
        """Make `mean`, of `count` - 1 epochs, that of `count` with `weights`.

        What is not in floating point, such as a counter, is that of `weights`. A mean that was not
        begun with the first of its epochs stays empty.
        """
        if count == 1:
            self.mean = clone_state(weights)
        elif count > 1:
            self.mean = {name: _nearer(mean, weights[name], count) for name, mean in self.mean.items()}


def _nearer(mean: Tensor, tensor: Tensor, count: int) -> Tensor:
    moved = tensor.detach() - mean
    return mean + (moved / count if moved.is_floating_point() else moved)


@dataclass(frozen=True)
class StateFile:
    """Where the state of a training of `model` by `optimizer` is kept between its epochs.

    `fingerprint` identifies what is trained and how; `circumstances`, what last bits depend on besides.
    """

    path: Path
    fingerprint: str
    circumstances: Circumstances
    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer

    def save(self, state: TrainingState) -> None:
        """Write `state`, and the model and the momentum of `parameters` as they are."""
        parts = {"model": self.model.state_dict(), "best": state.best, "mean": state.mean}
        tensors = {f"{part}.{name}": x for part, named in parts.items() for name, x in named.items()}
        for name, parameter in self.parameters.items():
            if (buffer := self.optimizer.state[parameter].get("momentum_buffer")) is not None:
                tensors[f"momentum.{name}"] = buffer
        metadata = {
            "fingerprint": self.fingerprint,
            "circumstances": json.dumps(dict(self.circumstances)),
            "begun": json.dumps(state.begun),
            "epoch": str(state.epoch),
            "seconds": str(state.seconds),
            "log": json.dumps([entry.model_dump() for entry in state.log]),
        }
        save_tensors(self.path, tensors, metadata)

    def resume(self, takeover: Takeover, stage: str) -> TrainingState:
        """The state that was left, with the model and the momentum as they were; else a new one.

        Raises `UserError` for one of other settings or circumstances, but for what `takeover` allows.
        """
        if (found := load_unfinished(self.path)) is None:
            return TrainingState()
        tensors, metadata = found
        known = metadata.get("fingerprint", "")
        if not known.startswith(self.fingerprint):
            takeover.set_aside(self.path, known)
            return TrainingState()
        # A state that does not tell its circumstances has its precision behind its fingerprint.
        there = {"precision": known.removeprefix(self.fingerprint).strip() or FP32}
        there = json.loads(metadata.get("circumstances", json.dumps(there)))
        epoch, begun = int(metadata["epoch"]), json.loads(metadata.get("begun", "[]"))
        if differing := takeover.differing(self.path, there, self.circumstances):
            begun.append(f"{stage}: epochs up to {epoch} were made with {differing}")

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        for name, buffer in part("momentum.").items():
            parameter = self.parameters[name]
            momentum = torch.empty_like(parameter).copy_(buffer)
            self.optimizer.state[parameter]["momentum_buffer"] = momentum
        device = next(self.model.parameters()).device
        best, mean = (
            {name: tensor.to(device) for name, tensor in part(prefix).items()}
            for prefix in ("best.", "mean.")
        )
        log = [EpochLog.model_validate(entry) for entry in json.loads(metadata["log"])]
        return TrainingState(epoch, log, best, mean, float(metadata.get("seconds", 0)), begun)
