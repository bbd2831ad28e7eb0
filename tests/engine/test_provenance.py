"""Which commit a number is said to come from."""

import importlib.util
from datetime import UTC, datetime, timedelta

import torch

from benchmark.engine import provenance


def test_the_commit_is_that_of_the_code_that_was_read(monkeypatch):
    """A checkout that moves on while a training runs does not change what is recorded."""
    again = importlib.util.spec_from_file_location("provenance_again", provenance.__file__)
    read = importlib.util.module_from_spec(again)
    again.loader.exec_module(read)
    monkeypatch.setattr(read, "git", lambda *asked: "moved on")
    assert read._commit() == provenance._commit() != ("moved on", True)


def test_a_clock_that_is_set_back_loses_no_work():
    """What began later than now, as it seems, took no time."""
    later, cpu = datetime.now(UTC) + timedelta(hours=1), torch.device("cpu")
    made = provenance.provenance(later, device=cpu, weights="a" * 64, data="b" * 64, resumed=False)
    assert made.seconds == 0
