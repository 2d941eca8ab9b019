"""What is possible but hardly meant is warned of once by every command that reads a config, and stops none."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from dp_core import load_policy
from dp_core.cli.run import main

ONE = "policy.scheduler.num_inference_steps=1"
TWO = "policy.scheduler.num_inference_steps=2"
ADVICE = (
    "policy.scheduler.num_inference_steps: 1 can remove noise at time 99 alone, where a network that predicts noise "
    "tells next to nothing of the data; choose at least 2"
)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What advice has been logged since the last call."""

    def take() -> list[str]:
        texts = [record.getMessage() for record in caplog.records if record.name == "dp_core.config.findings"]
        caplog.clear()
        return texts

    return take


def test_a_config_is_ok_in_spite_of_advice(
    tiny_config: Path, warnings: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_config), "--check", ONE]) == 0
    assert capsys.readouterr().out == f"{tiny_config}: ok\n"
    assert warnings() == [f"{tiny_config}: {ADVICE}"]

    assert main([str(tiny_config), "--check"]) == 0
    assert warnings() == []


def test_runs_and_policies_are_advised(tiny_config: Path, tmp_path: Path, warnings: Callable[[], list[str]]) -> None:
    folder = tmp_path / "run"
    resolved, checkpoint = folder / "config.resolved.yaml", folder / "checkpoints" / "latest.ckpt"

    assert main([str(tiny_config), f"output_dir={folder}", "training.num_epochs=1", ONE]) == 0
    assert warnings() == [f"{tiny_config}: {ADVICE}"]
    assert main(["--resume", str(folder)]) == 0
    assert warnings() == [f"{resolved}: {ADVICE}"]
    assert main(["--resume", str(folder), TWO]) == 0
    assert warnings() == []

    load_policy(checkpoint)
    assert warnings() == [f"{checkpoint} (made with dp-core {version('dp-core')}): {ADVICE}"]
    load_policy(checkpoint, overrides=[TWO])
    assert warnings() == []
