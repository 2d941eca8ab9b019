"""The pages that are made are what the code says, and the code says something about everything."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from dp_core.config.describe import option_rows
from dp_core.hooks import DiscoveryHooks, RunHooks
from dp_core.registry import Registry
from dp_core.testing.fakes import write_distribution
from scripts.docs.command import main, pages
from scripts.docs.components import components_page, own_components
from scripts.docs.hooks import hooks_of

DOCS = Path(__file__).parents[2] / "docs"
OTHER = """
import attrs
from dp_core import Component, hookimpl, option

DP_API = 1

@attrs.frozen(kw_only=True)
class Options:
    size: int = option(4, help="")

@hookimpl
def dp_components():
    yield Component(kind="encoder", name="other", target="dp_other.x:X", config=Options, summary="of others")
"""


@pytest.mark.parametrize("name", ["api.md", "components.md", "hooks.md"])
def test_the_page_is_fresh(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")

    assert pages()[name] == written, f"docs/{name} is not what the code says; run `python -m scripts.docs`"


def test_every_hook_is_documented() -> None:
    hooks = [hook for specification in (DiscoveryHooks, RunHooks) for hook in hooks_of(specification)]

    assert len(hooks) > 10
    assert [hook.__name__ for hook in hooks if not inspect.getdoc(hook)] == [], "give these hooks a docstring"


def test_every_option_is_documented() -> None:
    components = own_components().components()
    bare = [f"{c.label}: {name}" for c in components for name, *_, text in option_rows(c.config) if not text.strip()]

    assert len(components) > 30
    assert bare == [], "give these options a help"


def test_what_else_is_installed_changes_nothing(tmp_path: Path) -> None:
    """Neither packages of others, nor switches, nor the absence of what components need."""
    write_distribution(tmp_path, "dp-other", "1.0", {"other": OTHER})
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['timm'] = sys.modules['zarr'] = None\n")
    variables = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(DOCS.parent)]),
        "DP_DISABLE_PLUGINS": "timm",
        "DP_PLUGINS": "dp_other.plugin",
    }
    program = "import sys; from scripts.docs.command import main; sys.exit(main(sys.argv[1:]))"
    (tmp_path / "docs").mkdir()
    command = [sys.executable, "-c", program, "--output", str(tmp_path / "docs")]
    done = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "docs" / "components.md").read_text() == pages()["components.md"]
    assert (tmp_path / "docs" / "hooks.md").read_text() == pages()["hooks.md"]
    assert (tmp_path / "docs" / "api.md").read_text() == pages()["api.md"]


def test_what_would_break_a_table_is_escaped() -> None:
    own = own_components()
    component = attrs.evolve(own.resolve("denoiser", "unet1d"), name="odd", requires=("scipy",))
    record = attrs.evolve(own.plugins[0], components=(component,))
    text = components_page(Registry([record]))

    assert "## denoiser/odd\n" in text
    assert "Needs `scipy`, which dp-core installs.\n" in text
    rows = [line for line in components_page(own).splitlines() if line.startswith("| `")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}


def test_pages_are_written_where_they_are_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path)]) == 0
    assert (
        capsys.readouterr().out
        == f"wrote {tmp_path}/api.md\nwrote {tmp_path}/components.md\nwrote {tmp_path}/hooks.md\n"
    )
    assert main(["--output", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err == f"docs: error: {tmp_path}/absent/api.md: No such file or directory\n"
