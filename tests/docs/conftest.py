"""Pages of `docs/`, taken apart: their code is written to files, installed and run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@attrs.frozen
class Page:
    """One page."""

    name: str

    @property
    def text(self) -> str:
        return (DOCS / self.name).read_text(encoding="utf-8")

    def blocks(self, language: str) -> list[str]:
        """Code blocks of a language."""
        return re.findall(rf"```{language}\n(.*?)```", self.text, re.DOTALL)

    def files(self) -> dict[str, str]:
        """Blocks that begin with ``# path``, by that path."""
        blocks = [block for language in ("toml", "python", "yaml") for block in self.blocks(language)]
        found = [(re.match(r"# (\S+\.(?:toml|py|yaml))\n", block), block) for block in blocks]
        return {header[1]: block for header, block in found if header}

    def write_package(self, folder: Path) -> Path:
        """The package of the page; where the page has no pyproject.toml, that of the first page with other names."""
        files = self.files()
        package = next(path.partition("/")[0] for path in files if path.startswith("dp_"))
        project = files.get("pyproject.toml") or Page("writing_a_plugin.md").files()["pyproject.toml"]
        files["pyproject.toml"] = project.replace("fourier", package.removeprefix("dp_"))
        for path, text in {**files, f"{package}/__init__.py": ""}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        return folder


@pytest.fixture(scope="session")
def page() -> Callable[[str], Page]:
    """``page("hooks.md")``."""
    return Page
