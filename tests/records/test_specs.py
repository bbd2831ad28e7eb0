"""Specs: plain data with a type and a version at every level, and their hash."""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.plans.plan import Plan
from benchmark.records.specs import spec_hash, spec_of
from handmade import BY_HAND, cell_at


@dataclass(frozen=True)
class Inner:
    """A leaf that names itself."""

    type_name: ClassVar[str] = "leaf"
    version: ClassVar[int] = 3
    size: int = 1


@dataclass(frozen=True)
class Outer:
    """A tree of leaves."""

    version: ClassVar[int] = 1
    rate: float = 0.5
    name: str | None = None
    on: bool = True
    inner: Inner = Inner()
    several: tuple[Inner, ...] = (Inner(2), Inner(3))
    named: dict[str, Any] = field(default_factory=lambda: {"a": Inner(4), "b": [1, 2]})


finite = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | st.integers() | finite | st.text()
plain = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_every_level_carries_type_and_version() -> None:
    """Nested dataclasses, also in tuples and dicts, are written out with type and version."""
    leaf = {"type": "leaf", "version": 3}
    assert spec_of(Outer()) == {
        "type": "Outer",
        "version": 1,
        "rate": 0.5,
        "name": None,
        "on": True,
        "inner": leaf | {"size": 1},
        "several": [leaf | {"size": 2}, leaf | {"size": 3}],
        "named": {"a": leaf | {"size": 4}, "b": [1, 2]},
    }


def test_every_part_of_a_plan_carries_type_and_version() -> None:
    """In the spec of a real record every level made of an object has a type and a version."""
    spec = Plan.of(cell_at("rift"), BY_HAND).evaluation_spec("pgd10x3")
    assert spec is not None
    found = []

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            assert {"type", "version"} <= part.keys()
            found.append(part["type"])
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(spec)
    wanted = {"record", "finetune", "fine-tuning", "adversarial-training", "DatasetInfo", "Arch"}
    wanted |= {"Recipe", "LinfAttack", "algorithm1", "Interpolation", "pgd10x3", "pgd-at"}
    assert wanted <= set(found)


@given(st.dictionaries(st.text(), plain, min_size=2))
def test_the_hash_ignores_the_order_of_names(spec: dict[str, Any]) -> None:
    """A dict written in another order has the same hash of 64 hex digits."""
    backwards = dict(reversed(spec.items()))
    assert spec_hash(spec) == spec_hash(backwards)
    assert re.fullmatch("[0-9a-f]{64}", spec_hash(spec))


@given(st.dictionaries(st.text(), plain), st.text(), leaves, leaves)
def test_the_hash_changes_with_any_field(
    spec: dict[str, Any], name: str, one: object, other: object
) -> None:
    """Two specs that differ in one field (by value or by type) have different hashes."""
    same = spec_hash(spec | {name: one}) == spec_hash(spec | {name: other})
    assert same == (repr(one) == repr(other))


def test_the_hash_of_a_spec_is_frozen() -> None:
    """The hash is sha256 of sorted, compact JSON: a change would make every record stale."""
    known = "7677a452faa3fac4e73f9e89e6cd358b514925013e7e828c583e0af9f461616d"
    assert spec_hash({"version": 1, "type": "x", "parts": [1, 0.5, None, True, "é"]}) == known


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j, Inner, [object()], {"a": {1}}])
def test_other_types_are_refused(value: object) -> None:
    """What is not plain data or a dataclass instance raises and is named."""
    with pytest.raises(TypeError, match="cannot be part of a spec"):
        spec_of(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_hash_needs_finite_numbers(value: float) -> None:
    """NaN and infinity have no canonical form and raise."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        spec_hash({"rate": value})
