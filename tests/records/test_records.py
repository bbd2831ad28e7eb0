"""Records and makings: what a file of results may hold, and what is refused."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.plans.plan import Plan
from benchmark.records.records import Applied, Count, Finetuning, Making, Record, Training, parse_file
from benchmark.records.store import Store
from handmade import BY_HAND, cell_at, record_and_bits, write_making

RECORD, _ = record_and_bits(Plan.of(cell_at("rift"), BY_HAND), "clean", 480, 500)
PATH = "results/records/by-hand/clean.json"


def changed(**fields: Any) -> str:
    """The JSON of a good record with some fields replaced, or dropped where they are `...`."""
    content = json.loads(RECORD.model_dump_json()) | fields
    return json.dumps({name: value for name, value in content.items() if value is not ...})


def test_a_record_reads_back_as_it_was_written() -> None:
    """JSON and back gives an equal record, whose cell and count are those it was made from; what was
    added to the format later is not written where it is 0 or empty."""
    text = RECORD.model_dump_json()
    assert not any(name in text for name in ("not_finite", "plugins"))
    again = parse_file(Record, text, PATH)
    assert again == RECORD
    assert again.cell.cell == cell_at("rift")
    assert again.count == Count(k=480, n=500)
    assert again.count.percent == "96.00 %"


@pytest.mark.parametrize(("finetune", "kind"), [("none", Training), ("rift", Finetuning)])
def test_a_making_reads_back_as_it_was_written(
    store: Store, finetune: str, kind: type[Training | Finetuning]
) -> None:
    """Makings of base models and of fine-tunings keep their kind through JSON."""
    making = write_making(store, cell_at(finetune))
    again = parse_file(Making, making.model_dump_json(), PATH)
    assert again == making
    assert isinstance(again.details, kind)


provenance = json.loads(RECORD.provenance.model_dump_json())
cell = json.loads(RECORD.cell.model_dump_json())


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("", "file", "Invalid JSON"),
        (b"\xff\xfe", "file", "Invalid JSON"),
        ("[]", "file", "should be an object"),
        (changed(k=...), "k", "Field required"),
        (changed(colour="red"), "colour", "Extra inputs are not permitted"),
        (changed(cell=cell | {"fold": 1}), "cell.fold", "Extra inputs are not permitted"),
        (changed(cell=cell | {"seed": -1}), "cell.seed", "greater than or equal to 0"),
        (changed(k=501), "file", "k = 501 is more than n = 500"),
        (changed(n=0), "n", "greater than 0"),
        (changed(parts={"run0": {"k": 2, "n": 1}}), "parts.run0", "k = 2 is more than n = 1"),
        (
            changed(parts={"run0": {"k": 2, "n": 3, "not_finite": 2}}),
            "parts.run0",
            "not_finite = 2 is more than n - k = 1",
        ),
        (changed(value=0.95), "file", "value 0.95 is not k / n = 480 / 500"),
        (changed(value=float("nan")), "value", "less than or equal to 1"),
        (changed(spec_hash="0" * 64), "file", "spec_hash is not the hash of spec"),
        (changed(schema_version=2), "schema_version", "should be 1"),
        (changed(bits_sha256="G" * 64), "bits_sha256", "should match pattern"),
        (changed(provenance=provenance | {"threads": 0}), "provenance.threads", "greater than 0"),
    ],
)
def test_a_bad_record_is_refused_in_one_line(text: str | bytes, field: str, reason: str) -> None:
    """The error is one line with the path, the field, what is wrong and what to do."""
    with pytest.raises(UserError) as got:
        parse_file(Record, text, PATH)
    message = str(got.value)
    assert message.startswith(f"'{PATH}' is not a record of schema 1: {field}: ")
    assert reason in message
    assert "move it away to make it again" in message
    assert "\n" not in message


def test_a_making_of_unknown_kind_is_refused(store: Store) -> None:
    """How weights were made is a training or a fine-tuning, told apart by `kind`."""
    content = json.loads(write_making(store, cell_at()).model_dump_json())
    content["details"]["kind"] = "magic"
    with pytest.raises(UserError, match=r"details: Input tag 'magic' found using 'kind'") as got:
        parse_file(Making, json.dumps(content), PATH)
    assert "\n" not in str(got.value)


@pytest.mark.parametrize("number", ["0.5", True, None])
def test_the_numbers_of_a_module_are_numbers(number: object) -> None:
    """What only reads like one would end a table that shows it."""

    def applied(**numbers: object) -> Applied:
        module = {"forward": {}, "numbers": numbers}
        none = {"partner_sha256": None, "reference": None, "points": (), "remarks": ()}
        return Applied.model_validate({"module": module, "on_sha256": "a" * 64} | none)

    assert applied(alpha=1, power=0.5).numbers == {"alpha": 1, "power": 0.5}
    with pytest.raises(ValidationError, match="valid number"):
        applied(alpha=number)


def test_a_record_cannot_be_changed() -> None:
    """Records are frozen: a number is written once, in memory too."""
    with pytest.raises(ValidationError, match="frozen"):
        RECORD.k = 1  # type: ignore[misc]
