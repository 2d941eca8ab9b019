"""Weights & Biases without a network: what is written, and what is said where a server would be needed."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch

from dp_core.errors import DpError
from dp_wandb.callback import WandbLogger
from dp_wandb.config import WandbConfig

pytest.importorskip("wandb")


@attrs.frozen
class RunConfig:
    run_name: str = "pusht"


@pytest.fixture(autouse=True)
def _no_account(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))


def start(folder: Path, state: dict[str, Any] | None = None, **options: Any) -> WandbLogger:
    folder.mkdir(exist_ok=True)
    logger = WandbLogger(WandbConfig(**options))
    if state:
        logger.load_state_dict(state)
    logger.dp_before_run(workspace=SimpleNamespace(cfg=RunConfig(), output_dir=folder))
    return logger


@pytest.mark.slow
def test_offline_run_holds_metrics_and_videos_and_a_resume_keeps_its_id(tmp_path) -> None:
    folder = tmp_path / "run"
    video = folder / "media" / "1.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"not looked at")
    logger = start(folder, flush_every=2)

    for step in range(5):
        logger.dp_after_train_step(metrics={"train_loss": torch.tensor(0.25), "global_step": step})
    logger.dp_after_epoch(
        metrics={"train_loss": 0.5, "global_step": 4, "test/mean_score": 0.9, "test/sim_video_1": str(video)}
    )
    logger.dp_before_epoch()
    summary = dict(logger._run.summary)
    logger.dp_after_run()
    state = logger.state_dict()
    resumed = start(folder, state)
    resumed_id = resumed._run.id
    resumed.dp_on_run_error()

    assert (summary["train_loss"], summary["global_step"], summary["test/mean_score"]) == (0.5, 4, 0.9)
    assert summary["test/sim_video_1"]["_type"] == "video-file"
    assert summary["_step"] == 4
    assert len(list(folder.glob(f"wandb/offline-run-*-{state['run_id']}/files/media/videos/test/*.mp4"))) == 1
    assert resumed_id == state["run_id"]


@pytest.mark.slow
def test_online_without_a_key_fails_with_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())

    with pytest.raises(DpError) as error:
        start(tmp_path / "run", mode="online")

    assert str(error.value) == (
        "wandb: the run cannot be logged: No API key configured. Use `wandb login` to log in; "
        "run 'wandb login', or set 'mode: offline' for the callback"
    )


def test_disabled_writes_nothing(tmp_path) -> None:
    logger = start(tmp_path / "run", mode="disabled")

    logger.dp_after_train_step(metrics={"train_loss": torch.tensor(0.25), "global_step": 0})
    logger.dp_after_epoch(metrics={"train_loss": 0.25, "global_step": 0})
    logger.dp_after_run()

    assert list((tmp_path / "run").iterdir()) == []
    assert logger.state_dict() == {}


@pytest.mark.slow
def test_library_is_not_imported_before_the_run() -> None:
    code = "import dp_wandb.plugin, dp_wandb.callback, sys; sys.exit('wandb' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_id_in_the_config_wins_over_that_of_the_checkpoint() -> None:
    logger = WandbLogger(WandbConfig(run_id="mine"))

    logger.load_state_dict({"run_id": "other"})

    assert logger.state_dict() == {"run_id": "mine"}


def test_callback_can_be_pickled() -> None:
    logger = WandbLogger(WandbConfig(run_id="mine"))

    assert pickle.loads(pickle.dumps(logger)).state_dict() == {"run_id": "mine"}
