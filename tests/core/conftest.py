"""What the tests of the platform share: a distribution of toys, installed while a test module runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dp_core.config import structure_run
from dp_core.registry import Registry
from dp_core.testing.fakes import installed, registry_of, write_distribution

TOYS = Path(__file__).parents[1] / "data" / "dp_toys"


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The components of tests/data/dp_toys, and no others."""
    folder = tmp_path_factory.mktemp("site-packages")
    write_distribution(folder, "dp-toys", "1.0", {"toys": {path.name: path.read_text() for path in TOYS.glob("*.py")}})
    with installed(folder):
        yield registry_of(folder)


@pytest.fixture
def make_workspace(toys: Registry, tmp_path: Path) -> Callable[..., Any]:
    """Builds the workspace of a config; its directory is ``tmp_path / "run"``."""

    def make(**changes: Any) -> Any:
        cfg = structure_run(toys, {"workspace": "toy", **changes}, "toy.yaml")
        return cfg.workspace.load()(cfg, output_dir=tmp_path / "run")

    return make
