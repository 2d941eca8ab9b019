"""Fixtures for tests of plugins; in a ``conftest.py``: ``pytest_plugins = ["dp_core.testing.pytest_plugin"]``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dp_core.registry import Registry
from dp_core.testing.examples import SHAPE_METAS
from dp_core.testing.fakes import installed, registry_of, write_distribution

if TYPE_CHECKING:
    from torch import Tensor

_REWRITTEN = "dp_core.testing.conformance"
if _REWRITTEN not in sys.modules:  # else it is too late, and pytest would warn
    pytest.register_assert_rewrite(_REWRITTEN)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Provide what is installed, and stand-ins of a few parameters named ``dp-core/tiny`` for most kinds."""
    from dp_core.testing.case import with_tiny_parts

    return with_tiny_parts(Registry.discover())


@pytest.fixture
def shape_meta() -> dict[str, Any]:
    """Provide a task that observes an image (3, 96, 96) and two states; actions have two numbers."""
    return SHAPE_METAS["an image and states"]


@pytest.fixture
def obs(shape_meta: dict[str, Any]) -> dict[str, Tensor]:
    """Provide three normalised observations for ``shape_meta``, as encoders receive them: ``{key: (3, *shape)}``."""
    from dp_core.testing.samples import normalized_obs

    return normalized_obs(shape_meta, 3)


@pytest.fixture
def batch(shape_meta: dict[str, Any]) -> dict[str, Any]:
    """Provide three windows of 16 steps for ``shape_meta`` in raw units, as policies are trained on them."""
    from dp_core.testing.samples import raw_batch

    return raw_batch(shape_meta, 3, 16)


@pytest.fixture
def install_distribution(tmp_path: Path) -> Iterator[Callable[..., Registry]]:
    """Provide ``install_distribution(name, plugins, version="1.0")``, which installs a distribution for one test.

    It writes what `write_distribution` writes.

    Returns the registry of what was installed this way, and nothing else.
    """
    folder = tmp_path / "site-packages"
    with ExitStack() as stack:

        def install(name: str, plugins: Mapping[str, str | Mapping[str, str]], version: str = "1.0") -> Registry:
            is_first = not folder.exists()
            folder.mkdir(exist_ok=True)
            write_distribution(folder, name, version, plugins)
            if is_first:
                stack.enter_context(installed(folder))
            return registry_of(folder)

        yield install
