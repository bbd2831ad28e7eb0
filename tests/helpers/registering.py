"""An entry of a registry of checkpoints, and registries as texts."""

import json
from typing import Any

ENTRY: dict[str, Any] = {
    "name": "mine",
    "dataset": "digits",
    "arch": "resnet18-w4",
    "method": "pgd-at",
    "source": "https://example.org/mine.pt",
    "file": "mine.pt",
    "sha256": "0" * 64,
    "licence": "MIT",
    "what": "A small network.",
    "eps": "0.08",
    "selects_on": "test",
}


def toml_of(*entries: dict[str, Any]) -> str:
    """A registry of entries of texts, numbers and lists of texts; None is left out."""
    lines = ["schema_version = 1"]
    for entry in entries:
        lines.append("[[checkpoint]]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in entry.items() if value is not None]
    return "\n".join(lines) + "\n"
