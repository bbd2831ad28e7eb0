"""`python -m benchmark leaderboard`: the leaderboard from the records, as JSON, Markdown and HTML."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark import scales
from benchmark.cells import OWN
from benchmark.console import ResultsOption, guarded, say, write_result
from benchmark.errors import UserError
from benchmark.leaderboard.boards import kept_scales, leaderboard
from benchmark.leaderboard.markdown import markdown
from benchmark.leaderboard.page import html
from benchmark.leaderboard.schema import Leaderboard
from benchmark.registry import registry
from benchmark.scales import Scale
from benchmark.store import Store


def rendered(shown: Leaderboard) -> dict[str, bytes]:
    """The files of a leaderboard by suffix; the same records give the same bytes."""
    return {
        "json": (shown.model_dump_json(indent=1) + "\n").encode(),
        "md": markdown(shown).encode(),
        "html": html(shown).encode(),
    }


def leaderboard_files(results: Path, scale: str | None = None) -> dict[Path, bytes]:
    """What the leaderboard of the records in `results` is, by path of its file.

    `scale` None: all scales on disk but `quick`; else a scale by name or TOML file, or `own`. Raises
    `UserError` for a broken record, and if there is none at all.
    """
    store, stem = Store(results, Path("artifacts")), "leaderboard"  # artifacts are not read
    if scale is None:
        chosen, left_out = kept_scales(store)
    else:
        chosen, left_out = _named(scale), []
        stem += f"-{OWN if scale == OWN else scales.scale(scale).stem}"
    shown = leaderboard(store, chosen, registry(), left_out)
    if not shown.boards:
        where = "" if scale is None else f" of scale '{scale}'"
        raise UserError(
            f"'{results / 'records'}' holds no record{where} to make a leaderboard of; `table1 --scale "
            "narrow` makes some, and `--scale quick` shows those of the scale quick"
        )
    return {results / f"{stem}.{suffix}": content for suffix, content in rendered(shown).items()}


def _named(scale: str) -> dict[str, Scale | None]:
    if scale == OWN:
        return {OWN: None}
    known = scales.scale(scale)
    return dict.fromkeys(known.slots, known)


@guarded
def leaderboard_command(
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            help="One scale, by name or TOML file, or `own` for models from elsewhere; written to "
            "leaderboard-SCALE.*. Default: all scales on disk but `quick`.",
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

    Writes results/leaderboard.json, .md and .html: one self-contained page that opens from disk.
    """
    files = leaderboard_files(results, scale)
    if check:
        old = [path for path, content in files.items() if _content(path) != content]
        for path in old:
            say(f"{path} is {'not up to date' if path.exists() else 'missing'}")
        if old:
            say(f"`python -m benchmark leaderboard{f' --scale {scale}' if scale else ''}` writes them")
            raise typer.Exit(1)
        return
    for path, content in files.items():
        write_result(path, content)
        typer.echo(str(path))


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
