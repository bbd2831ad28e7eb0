"""Plug-ins: files of one's own that add to the registries; nothing in the package is edited.

A plug-in is a Python file that calls `add` (docs/plugins.md); `--plugin FILE` imports it:

    from benchmark import add
    add.method(MyMethod())

or an installed distribution with an entry point of the group `rift_benchmark.plugins`, which is
imported by its name, `--plugin NAME`, and only then. What each adds carries its name and sha256 into
specs (`benchmark.records.plugins`). No torch is imported here; a plug-in may.
"""

from benchmark.plans.plugins.additions import add
from benchmark.plans.plugins.importing import installed, load_again, load_all, load_plugin

__all__ = ["add", "installed", "load_again", "load_all", "load_plugin"]
