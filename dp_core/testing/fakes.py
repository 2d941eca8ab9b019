"""Distributions for tests: written to a folder, discovered as pip's are, gone when the test is over."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import invalidate_caches
from importlib.metadata import distributions
from pathlib import Path

from dp_core.discovery.installed import in_order, plugins_of
from dp_core.discovery.loading import load_plugins
from dp_core.hooks import ENTRY_POINT_GROUP
from dp_core.registry import Registry


def write_distribution(
    folder: Path,
    name: str,
    version: str = "1.0",
    plugins: Mapping[str, str | Mapping[str, str]] | None = None,
    editable: Path | None = None,
) -> None:
    """Write what pip would have installed for a distribution of plugins.

    Args:
        folder: of the packages and their metadata; use it with `installed`.
        plugins: by entry point ``<name>``, the source of ``dp_<name>/plugin.py``, or of all files of ``dp_<name>/``.
        editable: the folder that pip is to have been given with ``-e``; by default, none.
    """
    plugins = plugins or {}
    lines = [f"[{ENTRY_POINT_GROUP}]", *(f"{entry} = {_package(entry)}.plugin" for entry in plugins)]
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    _write(metadata / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    _write(metadata / "entry_points.txt", "\n".join(lines) + "\n")
    if editable is not None:
        record = {"url": editable.absolute().as_uri(), "dir_info": {"editable": True}}
        _write(metadata / "direct_url.json", json.dumps(record))
    for entry, source in plugins.items():
        files = {"plugin.py": source} if isinstance(source, str) else source
        for path, text in {"__init__.py": "", **files}.items():
            _write(folder / _package(entry) / path, text)


@contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """Put ``folder`` on ``sys.path``; afterwards, forget the modules imported from it."""
    sys.path.insert(0, str(folder))
    invalidate_caches()
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]


def registry_of(folder: Path) -> Registry:
    """Load the plugins in ``folder`` and no others."""
    found = distributions(path=[str(folder)])
    return Registry(load_plugins(in_order(plugin for each in found for plugin in plugins_of(each))))


def _package(entry: str) -> str:
    return f"dp_{entry.replace('-', '_')}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
