"""The reader: what it finds, what it misses, and that it opens each file once."""

import shlex
from collections import Counter
from dataclasses import replace

from benchmark.plans.named import arguments
from benchmark.plans.plan import Plan
from benchmark.records.store import Store
from benchmark.report.tables import REPORTS
from benchmark.report.view import View
from handmade import AUDIT_BY_HAND, BY_HAND, cell_at, write_audit, write_making


def test_how_a_base_model_was_made_is_no_fine_tuning(store):
    """A reader gives the fine-tuning of a fine-tuned cell and nothing for a base model."""
    write_making(store, cell_at("none"))
    write_making(store, cell_at("rift"), alpha=0.25)
    view = View(store, BY_HAND)
    assert view.finetuning(cell_at("none")) is None
    assert view.finetuning(cell_at("top-2")) is None
    made = view.finetuning(cell_at("rift"))
    assert made.alpha == 0.25


def test_all_test_images_are_looked_at_before_the_first_ones(store):
    """Wherever a scale or its audit names them."""
    scale = replace(BY_HAND, evaluations=("clean", "pgd10x3-first-90"), audit=("pgd10x3",))
    assert View(store, scale).evaluations("Adv") == ["pgd10x3", "pgd10x3-first-90"]


def test_plans_are_made_and_files_are_read_once(store, monkeypatch):
    """An audit and its notes ask for the same cells many times."""
    write_audit(store)
    calls: Counter[tuple[str, ...]] = Counter()

    def counted(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: object) -> object:
            calls[(name, *map(str, arguments))] += 1
            return original(*arguments)

        monkeypatch.setattr(owner, name, call)

    for owner, name in ((Store, "record"), (Store, "making"), (Plan, "of")):
        counted(owner, name)
    spec = REPORTS["audit"]
    spec.build(View(store, AUDIT_BY_HAND), spec.defaults)
    cells = len(spec.cells(AUDIT_BY_HAND, spec.defaults))
    assert set(calls.values()) == {1}
    assert len(calls) <= cells * (len(AUDIT_BY_HAND.evaluations) + 2)


def test_a_file_called_like_a_scale_is_named(store):
    """Keys are of the scale in the file, whatever its name begins with."""
    view = View(store, BY_HAND, arguments("quick-in-mine.toml", store.results))
    assert " --scale quick-in-mine.toml " in view.command([cell_at("rift")], "margins")


def test_commands_can_be_pasted(store):
    """A scale file whose path has a space stays one word in every command that names it."""
    path = "of mine/small one.toml"
    view = View(store, BY_HAND, arguments(path, store.results))
    for command in (view.command([cell_at("rift")], "pgd10x3"), view.command_of("table1")):
        words = shlex.split(command)
        assert words[words.index("--scale") + 1] == path
