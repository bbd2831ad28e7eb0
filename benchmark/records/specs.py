"""Specifications: what made a number, as plain nested data with a type and a version at every level.

A spec is hashed canonically. Records carry the spec and its hash; a record whose hash is not what
the code would make today is stale. `version` is raised by hand when a change may alter numbers, so
that reformatting a file does not void a long run.
"""

import dataclasses
import hashlib
import json
from typing import Any

Spec = dict[str, Any]


def spec_of(value: Any) -> Any:
    """Plain data for `value`: frozen dataclasses become `{"type", "version", **fields}`.

    A dataclass may name itself through a `type_name` class attribute; otherwise its class name is
    used. It must declare a `version` class attribute.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind: Any = type(value)
        fields = {f.name: spec_of(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": getattr(kind, "type_name", kind.__name__), "version": kind.version} | fields
    if isinstance(value, dict):
        return {str(name): spec_of(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [spec_of(item) for item in value]
    if isinstance(value, float):
        return float(value)  # numpy's too, which no file has
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be part of a spec")


def spec_hash(spec: Spec) -> str:
    """sha256 (64 hex digits) of the canonical JSON of `spec`."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
