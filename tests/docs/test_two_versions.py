"""docs/writing_a_plugin.md, "A package that lives for years": 0.1 trains, 0.2 evaluates, resumes and saves again.

Both versions are wheels, built and installed by pip, offline.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from dp_core import load_policy
from dp_core.checkpoint import read_payload
from dp_core.cli.eval import main as dp_eval
from dp_core.cli.run import main as dp_run
from dp_core.testing.fakes import installed
from dp_core.workspace import BaseWorkspace

PAGE = "writing_a_plugin.md"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
"""What pip does to build a wheel, without what it does around that."""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
OFFLINE = ("--no-index", "--no-deps")
SHORT = ("runner.n_test=1", "runner.n_train=0", "runner.max_steps=4", "runner.n_test_vis=0", "runner.n_train_vis=0")
FORMER = "'lowest' is new, 1.0 (dp-fourier 0.1 -> 0.2)"


@attrs.frozen
class Versions:
    """Where each of the two versions is installed, and a run that the first has trained, with its policy."""

    first: Path
    second: Path
    run: Path
    action: torch.Tensor

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoints" / "latest.ckpt"


@pytest.fixture(scope="module")
def versions(page: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Versions:
    folder = tmp_path_factory.mktemp("versions")
    first = page(PAGE).write_package(folder / "0.1")
    second = page(PAGE).write_package(folder / "0.2")
    project = (second / "pyproject.toml").read_text()
    (second / "pyproject.toml").write_text(project.replace('version = "0.1"', 'version = "0.2"'))
    changed = re.findall(r"# (\S+) of version 0\.2\n(.*?)```", page(PAGE).text, re.DOTALL)
    assert [name for name, _ in changed] == [f"dp_fourier/{name}.py" for name in ("plugin", "config", "earlier")]
    for name, text in changed:
        (second / name).write_text(text)
    encoder = (second / "dp_fourier" / "encoder.py").read_text().replace("n_frequencies", "scales")
    encoder = encoder.replace("frequencies", "factors").replace("math.pi / 2 *", "math.pi / 2 * config.lowest *")
    (second / "dp_fourier" / "encoder.py").write_text(encoder)

    for source in (first, second):
        subprocess.run([sys.executable, "-c", BUILD, folder], cwd=source, check=True, capture_output=True, timeout=300)
        wheel = next(folder.glob(f"dp_fourier-{source.name}-*.whl"))
        site = folder / f"site-{source.name}"
        subprocess.run([*PIP, "install", *OFFLINE, "--target", site, wheel], check=True, timeout=300)
    run = folder / "run"
    with installed(folder / "site-0.1"):
        assert dp_run([str(first / "train.yaml"), f"output_dir={run}", "training.num_epochs=1", *SHORT]) == 0
        action = act(run / "checkpoints" / "latest.ckpt")
    return Versions(folder / "site-0.1", folder / "site-0.2", run, action)


def act(checkpoint: Path) -> torch.Tensor:
    policy = load_policy(checkpoint)
    n_steps, spaces = policy.config.n_obs_steps, policy.shape_meta["obs"]
    generator = torch.Generator().manual_seed(0)
    obs = {key: torch.rand(1, n_steps, *space["shape"], generator=generator) for key, space in spaces.items()}
    return policy.predict_action(obs, generator=torch.Generator().manual_seed(1))["action"]


def lines_of_migration(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if "dp-fourier 0.1 -> 0.2" in message]


def test_the_new_version_acts_as_the_old_one_and_says_what_it_read(
    versions: Versions, page: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with installed(versions.second):
        assert torch.equal(act(versions.checkpoint), versions.action)

    (shown,) = [block for block in page(PAGE).blocks("text") if " -> " in block]
    assert lines_of_migration(caplog) == [f"{versions.checkpoint}: {line}" for line in shown.splitlines()]


def test_the_new_version_evaluates_an_old_checkpoint(versions: Versions, tmp_path: Path) -> None:
    with installed(versions.second):
        assert dp_eval([str(versions.checkpoint), "--output", str(tmp_path / "eval"), *SHORT[2:]]) == 0

    assert (tmp_path / "eval" / "eval_log.json").is_file()


def test_a_resolved_config_of_the_old_version_is_checked(
    versions: Versions, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    config = versions.run / "config.resolved.yaml"
    with installed(versions.second):
        assert dp_run(["--check", str(config)]) == 0
        assert lines_of_migration(caplog)[-1] == f"{config}: policy.encoder: {FORMER}"
        assert dp_run(["--check", str(config), "policy.encoder.n_frequencies=3"]) == 2

    message = "policy.encoder.n_frequencies: unknown option; it was renamed 'scales' (from the command line)"
    assert capsys.readouterr().err.endswith(f"{config} has 1 problem\n  {message}\n")


def test_a_config_that_extends_one_of_the_old_version_speaks_todays_words(
    versions: Versions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "more.yaml"
    config.write_text(f"extends: [{versions.run / 'config.resolved.yaml'}]\npolicy: {{encoder: {{scales: 3}}}}")
    with installed(versions.second):
        assert dp_run(["--print-config", str(config)]) == 0

    assert "    name: dp-fourier/sines\n    scales: 3\n    lowest: 1.0\n" in capsys.readouterr().out


def test_what_it_saves_needs_no_migration_any_more(
    versions: Versions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Created from the checkpoint alone, and saved; as well as resumed by its run directory."""
    run = Path(shutil.copytree(versions.run, tmp_path / "run"))
    resumed = run / "checkpoints" / "latest.ckpt"
    with installed(versions.second):
        created = BaseWorkspace.create_from_checkpoint(versions.checkpoint, output_dir=tmp_path / "created")
        again = Path(created.save_checkpoint(use_thread=False))
        assert dp_run(["--resume", str(run), "training.num_epochs=2"]) == 0
        caplog.clear()
        caplog.set_level(logging.INFO)
        assert torch.equal(act(again), versions.action)
        act(resumed)
        assert dp_run(["--check", str(run / "config.resolved.yaml")]) == 0

    assert lines_of_migration(caplog) == []
    for path in (again, resumed):
        payload = read_payload(path)
        assert payload["cfg"]["policy"]["encoder"] == {"name": "dp-fourier/sines", "scales": 2, "lowest": 1.0}
        assert payload["manifest"]["distributions"]["dp-fourier"] == "0.2"
        assert "obs_encoder.factors" in payload["state_dicts"]["ema_model"]
