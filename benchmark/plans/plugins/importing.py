"""Importing plug-ins: files by path, distributions by the name of their entry point."""

import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from benchmark.errors import UserError
from benchmark.plans.plugins.additions import add
from benchmark.records.files import at_home
from benchmark.records.plugins import LOADED, Plugin

GROUP, VARIABLE = "rift_benchmark.plugins", "BENCHMARK_PLUGINS"
INSTALLERS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""Files of a distribution that differ between two installations of the same one."""


def load_plugin(source: str | Path) -> Plugin:
    """Import the plug-in `source`: a Python file, or the name of an installed entry point.

    One that is loaded already is left as it is.

    Returns:
        Its name and sha256.

    Raises:
        UserError: where there is none, it fails, a name exists, or another of its name is loaded.
    """
    named = str(source)
    if named.endswith(".py") or at_home(named).is_file():
        return _load_file(at_home(named))
    if named not in installed():
        known = ", ".join(installed()) or "none"
        raise UserError(f"plug-in '{named}' is neither a .py file nor installed; installed: {known}")
    return _load_installed(entry_points(group=GROUP)[named])


def installed() -> list[str]:
    """Names of the plug-ins that are installed; none of them is imported."""
    return sorted(entry_points(group=GROUP).names)


def load_all(named: Iterable[str]) -> None:
    """Import the plug-ins of the environment's `BENCHMARK_PLUGINS`, then those that are `named`."""
    for source in (*os.environ.get(VARIABLE, "").split(os.pathsep), *named):
        if source:
            load_plugin(source)


def load_again(plugins: Iterable[Plugin]) -> None:
    """Import `plugins` of another process into this one. Raises `UserError` if one has changed."""
    for plugin in plugins:
        if LOADED.get(plugin.name) != plugin and load_plugin(plugin.source).sha256 != plugin.sha256:
            raise UserError(f"plug-in '{plugin.source}' was changed meanwhile; start again")


def _load_file(path: Path) -> Plugin:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"plug-in '{path}' cannot be read ({error.strerror}); name a .py file"
        ) from error
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise UserError(f"plug-in '{path}': a plug-in is called as a module is, such as my_method.py")
    plugin = Plugin(path.stem, hashlib.sha256(content).hexdigest(), str(path))
    if _is_loaded(plugin):
        return plugin
    module = ModuleType(f"rift_plugin_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and `MODULE:CLASS` look there
    try:  # what is run are the bytes that were hashed
        _import(plugin, lambda: exec(compile(content, path, "exec"), vars(module)))  # noqa: S102
    except UserError:
        del sys.modules[module.__name__]
        raise
    return plugin


def _import(plugin: Plugin, imports: Callable[[], object]) -> None:
    try:
        with add.as_those_of(plugin):
            imports()
    except (Exception, SystemExit) as error:
        raise UserError(f"plug-in '{plugin.source}': {_why(error, plugin)}") from error


def _load_installed(entry: EntryPoint) -> Plugin:
    files = _files(entry)
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    plugin = Plugin(entry.name, digest.hexdigest(), entry.name)

    def imports() -> None:
        found = entry.load()
        if Path(sys.modules[entry.module].__file__ or "").resolve() not in files.values():
            raise UserError(f"{entry.module} is no file of its distribution; install it, not editable")
        if entry.attr:
            found()

    if not _is_loaded(plugin):
        _import(plugin, imports)
    return plugin


def _files(entry: EntryPoint) -> dict[str, Path]:
    """All files of the distribution of `entry` by name, without bytecode and what installers write."""
    found = (entry.dist.files if entry.dist else None) or ()
    kept = (each for each in found if each.suffix != ".pyc" and each.name not in INSTALLERS)
    paths = {
        each.as_posix(): Path(str(each.locate())).resolve() for each in kept if ".." not in each.parts
    }
    return {name: path for name, path in paths.items() if path.is_file()}


def _is_loaded(plugin: Plugin) -> bool:
    """Whether it is loaded. Raises `UserError` if another of its name is."""
    there = LOADED.get(plugin.name)
    if there is not None and there.sha256 != plugin.sha256:
        raise UserError(
            f"plug-in '{plugin.source}': another '{plugin.name}' is loaded, from '{there.source}'; "
            "rename one, or start Python anew if it was changed"
        )
    return there is not None


def _why(error: BaseException, plugin: Plugin) -> str:
    """`error` in one line, with its line in the file of `plugin`."""
    if isinstance(error, UserError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == plugin.source]
    text = str(error)
    if isinstance(error, SyntaxError):
        text, lines = error.msg, [error.lineno]
    place = f", line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}: {' '.join(text.split())}{place}"
