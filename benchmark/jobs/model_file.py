"""A network of one's own as a file: safetensors with a model card, and back.

The card begins with YAML as Hugging Face's hub reads it. The licence is the author's to name.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from benchmark.checkpoints.mismatch import shape_mismatch
from benchmark.checkpoints.registry import checkpoint
from benchmark.checkpoints.unwrap import FileTensors
from benchmark.engine.device import TO_A_CALLER, torch_device
from benchmark.engine.weights import clone_state, load_tensors, save_tensors
from benchmark.errors import UserError, line
from benchmark.jobs.checkpoint import load_model_file, registered_model
from benchmark.jobs.soundness import refuse_lazy
from benchmark.records.files import at_home, write_atomically
from benchmark.report.markup import markdown

SUFFIX = ".safetensors"
Scores = Mapping[str, float]
"""Accuracies (fractions) by what they are of."""


def load_checkpoint(
    name: Path | str,
    model: nn.Module | None = None,
    *,
    data_dir: Path | str = "data",
    device: torch.device | str = "cpu",
) -> nn.Module:
    """Load an adversarially trained network of the registry, or a file into a network of one's own.

    Args:
        name: a name of the registry (`python -m benchmark checkpoints list`), or the path of a
            safetensors file, such as `RiftResult.save` writes, for `model`. Nothing is unpickled.
        model: the network that the file is of; it stays as it is.
        data_dir: where downloaded files of the registry are.
        device: where the network goes.

    Returns:
        The network with these weights in evaluation mode, from pixels in [0,1] to logits.

    Raises:
        UserError: for an unknown name, and for a file that is missing, not the registry's or not
            `model`'s in names, shapes and types.
    """
    place = torch_device(device, TO_A_CALLER)
    if model is not None:
        return restored(at_home(name), model).to(place)
    if at_home(name).is_file():
        raise UserError(f"'{name}' is a file; say of which network by model=")
    network, loaded = load_model_file(registered_model(checkpoint(str(name)), at_home(data_dir)))
    network.load_state_dict(loaded.state)
    return network.to(place).eval()


def save_checkpoint(model: nn.Module, path: Path | str, scores: pd.DataFrame | None = None) -> None:
    """Write the weights of `model` to `path` (safetensors) and a model card beside it (`.md`).

    Args:
        path: ends in `.safetensors`; `load_checkpoint(path, model)` reads it.
        scores: what `evaluate` returned; the card has it.

    Raises:
        UserError: for a path with another ending.
    """
    save_model(at_home(path), model, [], {} if scores is None else scored(scores), {})


def scored(frame: pd.DataFrame) -> Scores:
    """The accuracies of what `evaluate` returned."""
    return {
        f"{name}, {answers:,} answers": float(value)
        for name, value, answers in zip(frame.index, frame["accuracy"], frame["answers"], strict=True)
    }


def save_model(
    path: Path, model: nn.Module, told: Sequence[str], scores: Scores, facts: Mapping[str, str]
) -> None:
    """Write the weights of `model` with `facts` to `path`, and a card with `told` and `scores`.

    Raises `UserError` unless `path` ends in `.safetensors`.
    """
    if path.suffix != SUFFIX:
        raise UserError(f"'{path}' does not end in {SUFFIX}, which the file will be")
    kind, parameters = type(model).__name__, sum(x.numel() for x in model.parameters())
    save_tensors(path, clone_state(model.state_dict()), {"format": "pt", "network": kind, **facts})
    lines = [
        f"# {markdown(path.stem, marks=True)}",
        "",
        f"`{kind}`, {parameters:,} parameters, pixels in [0, 1] to logits.",
    ]
    if told:
        lines += ["", "```", *map(line, told), "```"]
    if scores:
        lines += ["", "| accuracy | percent |", "| --- | --- |"]
        named = {markdown(name, marks=True): value for name, value in scores.items()}
        lines += [f"| {name} | {100 * value:.2f} |" for name, value in named.items()]
    lines += ["", "```python", "from benchmark import load_checkpoint", ""]
    lines += [f"model = load_checkpoint({json.dumps(path.name)}, {kind}(...))", "```", ""]
    card = "\n".join([*_front_matter(path.stem, scores), "", *lines])
    write_atomically(path.with_suffix(".md"), card.encode())


def restored(path: Path, model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode with the weights of a safetensors file.

    Raises `UserError` unless names, shapes and types are those of `model`, and numbers are finite.
    """
    if not path.is_file():
        raise UserError(f"there is no file '{path}'")
    try:
        file = FileTensors(path, load_tensors(path)[0])
    except UserError as error:
        raise UserError(
            f"'{path}' is no whole safetensors file, and nothing else is read into a network of one's "
            "own; save_checkpoint writes one"
        ) from error
    refuse_lazy(model)
    network = model.state_dict()
    if problem := shape_mismatch(file.tensors, network):
        raise UserError(f"'{path}' does not fit the network: {problem}")
    model = copy.deepcopy(model)
    model.load_state_dict(file.converted(network))
    return model.eval()


def _front_matter(name: str, scores: Scores) -> list[str]:
    """YAML: library, tags, and the accuracies as a model index. Texts are written as in JSON."""
    lines = [
        "---",
        "library_name: pytorch",
        "pipeline_tag: image-classification",
        "tags: [adversarial-robustness, image-classification, rift]",
        "# license: name one here, such as mit",
    ]
    if scores:
        lines += [
            "metrics: [accuracy]",
            "model-index:",
            f"- name: {json.dumps(name)}",
            "  results:",
            "  - task: {type: image-classification}",
            "    dataset: {type: custom, name: images of its author}",
            "    metrics:",
        ]
        lines += [
            f"    - {{type: accuracy, name: {json.dumps(title)}, value: {value:.6g}}}"
            for title, value in scores.items()
        ]
    return [*lines, "---"]
