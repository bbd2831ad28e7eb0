"""Plug-ins: which are loaded, and what specs and provenance say of them (no torch).

A plug-in adds names to the registries (`plans.plugins` imports it). Its name and sha256 stand
in the spec of whatever uses such a name, so that a changed plug-in makes records stale; a spec that
uses none is as it would be without plug-ins.
"""

from dataclasses import dataclass
from shlex import quote
from typing import Any, Literal

from benchmark.records.specs import Spec

Kind = Literal["method", "network", "dataset", "evaluation", "tuning", "protocol", "forward"]
Thing = tuple[Kind, str]
PLUGINS = "plugins"
"""The field of specs and provenance: sha256 by name."""


@dataclass(frozen=True)
class Plugin:
    """A file, or an installed distribution, that adds to the registries.

    `name` is the stem of the file or the name of the entry point, `source` what the user named.
    """

    name: str
    sha256: str
    source: str


LOADED: dict[str, Plugin] = {}
"""Plug-ins of this process by name, in the order of loading."""
ORIGINS: dict[Thing, Plugin] = {}
"""Which plug-in a name of a registry is from; what the suite has itself is not there."""


def made_with(*things: Thing) -> Spec:
    """The part of a spec that names the plug-ins that `things` are from; empty if there are none."""
    found = {plugin.name: plugin.sha256 for each in things if (plugin := ORIGINS.get(each))}
    return {PLUGINS: found} if found else {}


def named_in(spec: Any) -> dict[str, str]:
    """The plug-ins that `spec` and the specs inside it name, as sha256 by name; it may be any JSON."""
    found: dict[str, str] = {}
    waiting = [spec]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            named = part.get(PLUGINS)
            found |= {str(n): str(sha) for n, sha in named.items()} if isinstance(named, dict) else {}
    return found


def not_loaded(spec: Any) -> str | None:
    """What a reader says of a record of `spec` that names plug-ins which are not loaded; else None."""
    names = sorted(named_in(spec).keys() - LOADED.keys())
    return f"made with plug-in {', '.join(names)}, not loaded" if names else None


def up_to_date(spec: Any) -> bool:
    """Whether the plug-ins that `spec` names are loaded, and as they were."""
    return all(name in LOADED and LOADED[name].sha256 == sha for name, sha in named_in(spec).items())


def flags() -> str:
    """What names the plug-ins of this process again at the end of a command line."""
    return "".join(f" --plugin {quote(plugin.source)}" for plugin in LOADED.values())
