"""Which generated files records are shown in, as the commands that make these again (no torch)."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from benchmark.plans.named import arguments
from benchmark.records.cells import OWN, Cell
from benchmark.report.figures import FIGURES
from benchmark.report.tables import REPORTS
from benchmark.submission.entries import RECORDS
from benchmark.submission.expected import Today


def commands(cells: Collection[Cell], today: Today, results: Path) -> list[str]:
    """Commands for what shows some of `cells`: tables that are on file or complete, figures on file.

    `cells` are in the tree `results`; those of models from elsewhere stand in no table.
    """
    made: list[str] = []
    checks: list[str] = []
    place = "" if results == Path("results") else f" --results {results}"
    for name in dict.fromkeys(cell.scale for cell in cells):
        if name == OWN:
            checks.append(f"python -m benchmark check --scale {OWN}{place}")
            continue
        scale, own = today.scale(name), {cell for cell in cells if cell.scale == name}
        options = f"--scale {arguments(name, results)}"
        checks.append(f"python -m benchmark check {options}{place}")
        options += f" --collect{place}"
        for report, spec in REPORTS.items():
            shown = replace(scale, evaluations=scale.for_audit) if spec.audited else scale
            wanted = spec.cells(shown, spec.defaults)
            written = (results / "tables" / f"{report}-{name}.csv").exists()
            if not own.isdisjoint(wanted) and (
                written or all(_is_there(results, each) for each in wanted)
            ):
                made.append(f"python -m benchmark {report} {options}")
        for figure in FIGURES:
            if (results / "figures" / f"{figure}-{name}.csv").exists():
                made.append(f"python -m benchmark {figure} {options}")
    return [*made, f"python -m benchmark leaderboard{place}", *checks]


def _is_there(results: Path, cell: Cell) -> bool:
    return (results / RECORDS / cell.key).is_dir()
