"""The state of an unfinished training: written at any step, continued by the same work only."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.engine.takeover import Circumstances, Takeover
from benchmark.engine.weights import clone_state, load_unfinished, save_tensors
from benchmark.records.records import EpochLog
from benchmark.records.stopping import due


@dataclass
class TrainingState:
    """What `epoch` epochs came to: their log, the weights of the best one, the mean of the last ones.

    `seconds` is the time that they took, `begun` has a line for each time that the training was
    continued in other circumstances. Of the next epoch `step` steps are done, on `seen` images
    whose summed loss is `loss` (scalar); `draws` are the states of all generators there.
    """

    epoch: int = 0
    log: list[EpochLog] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    mean: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    begun: list[str] = field(default_factory=list)
    step: int = 0
    seen: int = 0
    loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    draws: dict[str, Tensor] = field(default_factory=dict)

    def begin(self, epoch: int) -> None:
        """Go to the beginning of `epoch`."""
        self.epoch, self.step, self.seen, self.loss, self.draws = epoch, 0, 0, torch.zeros(()), {}

    def note_draws(self, generator: torch.Generator) -> None:
        """Take up the states of the epoch's `generator` and of those that a network itself uses."""
        self.draws = {"epoch": generator.get_state(), "network": torch.get_rng_state()}
        if self.loss.is_cuda:
            self.draws["cuda"] = torch.cuda.get_rng_state(self.loss.device)
        elif self.loss.is_mps:
            self.draws["mps"] = torch.mps.get_rng_state()

    def seed_network(self, seed: int) -> None:
        """Let the network's draws begin at `seed`, or go on as they were inside an epoch."""
        torch.manual_seed(seed)
        if "network" in self.draws:
            torch.set_rng_state(self.draws["network"])
        if "cuda" in self.draws and self.loss.is_cuda:
            torch.cuda.set_rng_state(self.draws["cuda"], self.loss.device)
        if "mps" in self.draws and self.loss.is_mps:
            torch.mps.set_rng_state(self.draws["mps"])

    def average(self, weights: Mapping[str, Tensor], count: int) -> None:
        """Make `mean`, of `count` - 1 epochs, that of `count` with `weights`.

        What is not in floating point, such as a counter, is that of `weights`. A mean that was not
        begun with the first of its epochs stays empty.
        """
        if count == 1:
            self.mean = clone_state(weights)
        elif count > 1:
            self.mean = {name: _nearer(mean, weights[name], count) for name, mean in self.mean.items()}


def has_ended(path: Path, fingerprint: str, log: Sequence[EpochLog]) -> bool:
    """Whether the state at `path` is of the training of `fingerprint` after the epochs of `log`."""
    _, metadata = load_unfinished(path) or ({}, {})
    done = json.loads(metadata.get("log", "[]"))
    return metadata.get("fingerprint") == fingerprint and done == [each.model_dump() for each in log]


def _nearer(mean: Tensor, tensor: Tensor, count: int) -> Tensor:
    now = tensor.detach()
    return mean + (now - mean) / count if now.is_floating_point() else now.clone()


@dataclass
class StateFile:
    """Where the state of a training of `model` by `optimizer` is kept.

    `fingerprint` identifies what is trained and how; `circumstances`, what last bits depend on besides.
    `since` is when it was last written or read, on the clock of `time.monotonic`.
    """

    path: Path
    fingerprint: str
    circumstances: Circumstances
    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    since: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        """Whether the state is to be written now."""
        return due(self.since)

    def save(self, state: TrainingState) -> None:
        """Write `state`, with the time since the last one, and the model and the momentum of
        `parameters` as they are."""
        now = time.monotonic()
        state.seconds, self.since = state.seconds + now - self.since, now
        parts = {"model": self.model.state_dict(), "best": state.best, "mean": state.mean}
        if state.step:
            parts |= {"draws": state.draws, "loss": {"sum": state.loss}}
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
        if state.step:
            metadata |= {"step": str(state.step), "seen": str(state.seen)}
        save_tensors(self.path, tensors, metadata)

    def resume(self, takeover: Takeover, stage: str) -> TrainingState:
        """The state that was left, with the model and the momentum as they were; else a new one.

        Raises `UserError` for one of other settings or circumstances, but for what `takeover` allows.
        """
        if (found := load_unfinished(self.path)) is None:
            return TrainingState()
        tensors, metadata = found
        if (known := metadata["fingerprint"]) != self.fingerprint:
            takeover.set_aside(self.path, known)
            return TrainingState()
        there, begun = json.loads(metadata["circumstances"]), json.loads(metadata["begun"])
        epoch, step = int(metadata["epoch"]), int(metadata.get("step", 0))
        if differing := takeover.differing(self.path, there, self.circumstances):
            inside = f" and {step} steps" if step else ""
            begun.append(f"{stage}: epochs up to {epoch}{inside} were made with {differing}")

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
        state = TrainingState(epoch, log, best, mean, float(metadata["seconds"]), begun)
        if step:
            state.step, state.seen, state.draws = step, int(metadata["seen"]), part("draws.")
            state.loss = tensors["loss.sum"].to(device)
        return state
