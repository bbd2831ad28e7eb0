"""`python -m benchmark leaderboard`: the leaderboard from the records, in four formats."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from benchmark.checkpoints.registry import registry
from benchmark.cli.options import ResultsOption, command, say, show
from benchmark.errors import UserError
from benchmark.plans import named as scales
from benchmark.records.cells import OWN
from benchmark.records.files import inside, read_if_there, staging, write_atomically
from benchmark.records.plugins import flags
from benchmark.records.read_once import ReadOnce
from benchmark.report.check.published import published
from benchmark.report.findings.page import findings
from benchmark.report.leaderboard.boards import kept_scales, leaderboard
from benchmark.report.leaderboard.croissant import croissant
from benchmark.report.leaderboard.flat import flat
from benchmark.report.leaderboard.markdown import markdown
from benchmark.report.leaderboard.page import html
from benchmark.report.leaderboard.schema import Leaderboard


def rendered(shown: Leaderboard, name: str = "leaderboard") -> dict[str, bytes]:
    """The files `name` of a leaderboard by suffix; the same records give the same bytes."""
    return {
        "json": (shown.model_dump_json(indent=1) + "\n").encode(),
        "csv": flat(shown).encode(),
        "md": markdown(shown).encode(),
        "html": html(shown, name).encode(),
    }


def leaderboard_files(results: Path, scale: str | None = None) -> dict[Path, bytes]:
    """What the leaderboard of the records in `results` is, by path of its file.

    `scale` None: all scales on disk but `demo` and `quick`; else a scale by name, also of one that is
    filed in `results`, or by TOML file, or `own`. Raises `UserError` for a broken record, and if there
    is none.
    """
    store, name = ReadOnce(results, Path("artifacts")), "leaderboard"  # artifacts are not read
    if scale is None:
        chosen, left_out = kept_scales(store)
    else:
        known = None if scale == OWN else scales.scale(scale, results)
        chosen, left_out = dict.fromkeys((OWN,) if known is None else known.key_names, known), []
        name += f"-{OWN if known is None else known.stem}"
    shown = leaderboard(store, chosen, registry(), left_out)
    if not shown.boards:
        where = "" if scale is None else f" of scale '{scale}'"
        others = dict.fromkeys(each.text for each in shown.left_out if each.why == "plug-in")
        where += f" (some are {', '.join(others)})" if others else ""
        raise UserError(
            f"'{results / 'records'}' holds no record{where} to make a leaderboard of; "
            f"{_source(scale, results)}"
        )
    files = {f"{name}.{suffix}": content for suffix, content in rendered(shown, name).items()}
    if scale is None:
        files["README.md"] = findings(store, chosen, published()).encode()
        shown_cells = (cell for cell in store.cells_on_disk() if cell.scale in chosen)
        every = (found for cell in shown_cells for found in store.of(cell))
        started = [found.provenance.started for found in every]
        files["croissant.json"] = croissant(files[f"{name}.csv"], f"{name}.csv", started)
    return {results / file: content for file, content in files.items()}


def _source(scale: str | None, results: Path) -> str:
    if scale is None:
        return "`table1 --scale narrow` makes some, and `--scale quick` shows those of the scale quick"
    if scale == OWN:
        return "`evaluate` makes some"
    return f"`table1 --scale {scales.arguments(scale, results)}` makes some"


@command
def leaderboard_command(
    scale: Annotated[
        str | None,
        typer.Option(
            help="One scale: by name, also SCALE-from-CHECKPOINT and those in results/scales/; by TOML "
            "file; or `own` for models from elsewhere. Written to leaderboard-SCALE.*. Default: all "
            "scales on disk but `demo` and `quick`."
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; exit with 1 unless the files on disk are up to date."
        ),
    ] = False,
    results: ResultsOption = Path("results"),
) -> None:
    """Rank what is on record, where it is comparable.

    Writes results/leaderboard.json, .csv, .md and .html, one self-contained page that opens from disk;
    of all scales together also README.md, what was found, and croissant.json, which describes the CSV
    to catalogues of datasets.
    """
    files = leaderboard_files(results, scale)
    if check:
        old = [path for path, content in files.items() if read_if_there(path) != content]
        for path in old:
            say(f"{path} is {'not up to date' if path.exists() else 'missing'}")
        if old:
            of_one = f" --scale {quote(scale)}" if scale else ""
            ending = scales.of_tree(results) + flags()
            say(f"`python -m benchmark leaderboard{of_one}{ending}` writes them")
            raise typer.Exit(1)
        return
    _write(files, results)
    for path in files:
        show(str(path))


def _write(files: Mapping[Path, bytes], results: Path) -> None:
    """Write `files`, which are in the folder `results`: all are staged before the first is replaced.

    Raises `UserError`, with all old files in place, where one cannot be written.
    """
    for path in files:
        inside(path, results)
    if folders := [path for path in files if path.is_dir()]:
        raise UserError(f"'{folders[0]}' is a folder; move it away, or name another tree by --results")
    try:
        with staging(results) as folder:
            staged = {folder / path.name: path for path in files}
            for part, path in staged.items():
                write_atomically(part, files[path])
            for part, path in staged.items():
                part.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write to '{results}' ({error.strerror}); name another tree by --results"
        ) from error
