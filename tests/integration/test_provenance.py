"""Files know what made them: two packages with one name, other versions, what is gone, modules without a package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dp_core import load_policy
from dp_core.checkpoint import read_payload, write_payload
from dp_core.cli.run import main
from dp_core.discovery.switches import switched
from dp_core.errors import CheckpointError
from dp_core.testing.fakes import installed, write_distribution

PLUGIN = """
import attrs
from dp_core import Component, hookimpl

DP_API = 1

@attrs.frozen(kw_only=True)
class Options:
    pass

@hookimpl
def dp_components():
    yield Component(
        kind="encoder", name="twin", target="PACKAGE.encoder:Twin", config=Options, summary="scales what it sees"
    )
"""
ENCODER = """
from dp_lowdim.encoder import LowdimEncoder

class Twin(LowdimEncoder):
    def forward(self, obs):
        return FACTOR * super().forward(obs)
"""


@pytest.fixture
def install(tmp_path: Path) -> Iterator[object]:
    """``install("one")``: from now on, dp-one offers an encoder 'twin'. ``install("one", None)``: no longer."""
    folders: dict[str, ExitStack] = {}

    def install(name: str, version: str | None = "1.0") -> None:
        if name in folders:
            folders.pop(name).close()
        if version is not None:
            folder = tmp_path / f"{name}-{version}"
            encoder = ENCODER.replace("FACTOR", {"one": "1.0", "two": "2.0"}[name])
            files = {"plugin.py": PLUGIN.replace("PACKAGE", f"dp_{name}"), "encoder.py": encoder}
            write_distribution(folder, f"dp-{name}", version, {name: files})
            folders[name] = ExitStack()
            folders[name].enter_context(installed(folder))

    yield install
    for stack in folders.values():
        stack.close()


@pytest.fixture
def run(install, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:  # type: ignore[no-untyped-def]
    """A run with the encoder of dp-one, when it was alone."""
    install("one")
    arguments = [str(tiny_config), f"output_dir={tmp_path / 'run'}", "training.num_epochs=1", "policy.encoder=twin"]
    assert main(arguments) == 0
    capsys.readouterr()
    return tmp_path / "run"


def provider(path: Path) -> str:
    return type(load_policy(path).obs_encoder).__module__


def test_a_package_with_the_same_name_changes_no_existing_run(install, run: Path) -> None:  # type: ignore[no-untyped-def]
    install("two")

    assert provider(run / "checkpoints" / "latest.ckpt") == "dp_one.encoder"
    assert main(["--resume", str(run), "training.num_epochs=2"]) == 0
    assert main([str(run / "config.resolved.yaml"), f"output_dir={run}-again", "training.num_epochs=1"]) == 0
    assert provider(run / "checkpoints" / "latest.ckpt") == "dp_one.encoder"
    assert provider(Path(f"{run}-again") / "checkpoints" / "latest.ckpt") == "dp_one.encoder"


def test_a_resolved_config_names_distributions_and_versions(run: Path) -> None:
    resolved = OmegaConf.to_container(OmegaConf.load(run / "config.resolved.yaml"))
    payload = read_payload(run / "checkpoints" / "latest.ckpt")

    assert resolved["manifest"] == payload["manifest"]
    assert resolved["manifest"]["components"]["policy.encoder"] == "dp-one/twin"
    assert resolved["manifest"]["distributions"]["dp-one"] == "1.0"
    assert {path: resolved["manifest"][path] for path in ("modules", "api")} == {"modules": {}, "api": 1}


def test_what_is_missing_is_told_before_anything_is_imported(
    install,  # type: ignore[no-untyped-def]
    run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install("one", None)
    install("two")
    lacking = "policy.encoder: dp-one/twin: dp-one is not installed; install with: pip install dp-one==1.0"

    with pytest.raises(CheckpointError) as caught:
        load_policy(run / "checkpoints" / "latest.ckpt")
    assert str(caught.value) == (
        f"{run}/checkpoints/latest.ckpt: made with components that are not available here\n  {lacking}"
    )

    assert main(["--resume", str(run)]) == 2
    assert capsys.readouterr().err == f"dp-run: error: {run}/config.resolved.yaml has 1 problem\n  {lacking}\n"


def test_a_component_that_an_override_replaces_is_not_needed(install, run: Path) -> None:  # type: ignore[no-untyped-def]
    install("one", None)

    assert main([str(run / "config.resolved.yaml"), "--check", "policy.encoder=lowdim"]) == 0


def test_another_version_is_a_warning(install, run: Path, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    install("one", "1.1")
    differs = "made with other versions than are installed here\n  dp-one 1.1 is installed; made with 1.0"

    assert provider(run / "checkpoints" / "latest.ckpt") == "dp_one.encoder"
    assert main([str(run / "config.resolved.yaml"), "--check"]) == 0
    assert caplog.messages == [f"{run}/checkpoints/latest.ckpt: {differs}", f"{run}/config.resolved.yaml: {differs}"]


def test_a_newer_plugin_api_is_an_error(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, resolved = run / "checkpoints" / "latest.ckpt", run / "config.resolved.yaml"
    payload = read_payload(checkpoint)
    payload["manifest"]["api"] = 2
    write_payload(checkpoint, payload)
    resolved.write_text(resolved.read_text().replace("  api: 1\n", "  api: 2\n"))

    with pytest.raises(CheckpointError) as caught:
        load_policy(checkpoint)
    assert str(caught.value) == (
        f"{checkpoint}: made with components that are not available here\n"
        "  made with plugin API 2; this dp-core has API 1; upgrade dp-core"
    )
    assert main([str(resolved), "--check"]) == 2
    assert capsys.readouterr().err == (
        f"dp-run: error: {resolved} has 1 problem\n  made with plugin API 2; this dp-core has API 1; upgrade dp-core\n"
    )


def test_a_module_without_a_package_is_recorded_with_its_file(tiny_config: Path, tmp_path: Path) -> None:
    site = tmp_path / "modules"
    write_distribution(
        site,
        "ignored",
        plugins={
            "mine": {"plugin.py": PLUGIN.replace("PACKAGE", "dp_mine"), "encoder.py": ENCODER.replace("FACTOR", "3.0")}
        },
    )
    (site / "ignored-1.0.dist-info" / "entry_points.txt").unlink()  # what is left is two files that nobody installed
    arguments = [str(tiny_config), f"output_dir={tmp_path / 'run'}", "training.num_epochs=1", "policy.encoder=twin"]
    checkpoint = tmp_path / "run" / "checkpoints" / "latest.ckpt"

    with installed(site):
        assert main([*arguments, "-p", "dp_mine.plugin"]) == 0
        with switched(["dp_mine.plugin"]):
            assert provider(checkpoint) == "dp_mine.encoder"
        with pytest.raises(CheckpointError) as caught:
            load_policy(checkpoint)

    assert str(caught.value) == (
        f"{checkpoint}: made with components that are not available here\n"
        f"  policy.encoder: local/twin: came from the module dp_mine.plugin ({site}/dp_mine/plugin.py), "
        "which no package installs; load it with -p dp_mine.plugin or, in Python, DP_PLUGINS=dp_mine.plugin"
    )  # fmt: skip
