"""A run that is asked to stop ends after the current epoch, evaluated and saved as if that were its last one."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dp_core.training.loop as loop
from dp_core import hookimpl
from dp_core.checkpoint import read_payload, write_payload
from dp_core.cli.run import main
from dp_core.discovery.hook_manager import run_hooks
from dp_core.errors import ComponentError
from dp_core.interfaces import BaseCallback, BasePolicy, BaseRunner
from dp_core.registry import Registry
from dp_core.run_config import load_config
from dp_training.workspace import TrainWorkspace

RARELY = ("training.num_epochs=9", "training.checkpoint_every=50", "training.val_every=50", "training.sample_every=50")
"""Nothing is due in epoch 1."""


class Scores(BaseRunner):
    """Counts its runs; fails in those that are named."""

    def __init__(self, folder: Path, *fails: int) -> None:
        super().__init__(folder)
        self.fails = fails
        self.runs = 0

    def run(self, policy: BasePolicy) -> dict[str, Any]:
        self.runs += 1
        if self.runs in self.fails:
            raise RuntimeError("the simulator broke")
        return {"test/mean_score": float(next(policy.parameters()).double().sum())}


class StopIn(BaseCallback):
    """Asks to stop in epoch 1, in the hook that is named. Notes what it hears."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.heard: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        return {"heard": list(self.heard)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.heard = list(state["heard"])

    def hear(self, workspace: Any, hook: str, epoch: int) -> None:
        if hook != "dp_after_train_step":
            self.heard.append(f"{hook} {epoch}")
        if hook == self.hook and epoch == 1:
            workspace.request_stop("enough")
            workspace.request_stop("a second reason")

    @hookimpl
    def dp_before_epoch(self, workspace: Any) -> None:
        self.hear(workspace, "dp_before_epoch", workspace.progress.epoch)

    @hookimpl
    def dp_after_train_step(self, workspace: Any, metrics: dict[str, Any]) -> None:
        self.hear(workspace, "dp_after_train_step", metrics["epoch"])

    @hookimpl
    def dp_after_rollout(self, workspace: Any) -> None:
        self.hear(workspace, "dp_after_rollout", workspace.progress.epoch)

    @hookimpl
    def dp_after_epoch(self, workspace: Any, metrics: dict[str, Any]) -> None:
        self.hear(workspace, "dp_after_epoch", metrics["epoch"])


def a_run(config: Path, folder: Path, hook: str, *options: str, fails: tuple[int, ...] = ()) -> TrainWorkspace:
    """A workspace whose callbacks are those of the config and a `StopIn`."""
    workspace = TrainWorkspace(load_config(Registry.discover(), config, [*RARELY, *options]), folder)
    workspace.callbacks["stop"] = StopIn(hook)
    workspace.hooks = run_hooks(workspace.callbacks, workspace)
    if (folder / "checkpoints" / "latest.ckpt").is_file():
        workspace.load_checkpoint()
    workspace.setup()
    workspace.runner = Scores(folder, *fails)
    return workspace


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "logs.json.txt").read_text().splitlines()]


def progress_of(folder: Path) -> dict[str, Any]:
    return read_payload(folder / "checkpoints" / "latest.ckpt")["state_dicts"]["progress"]


HOOKS = ["dp_before_epoch", "dp_after_train_step", "dp_after_epoch"]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_request_from_any_hook_ends_the_run_after_its_epoch(
    hook: str, tiny_config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    workspace = a_run(tiny_config, tmp_path / "run", hook)

    workspace.run()

    progress, log = progress_of(tmp_path / "run"), records(tmp_path / "run")
    assert (progress["epoch"], progress["stop_reason"]) == (2, "")
    last = {"test/mean_score", "val_loss", "train_action_mse_error", "train_loss"}
    assert last <= progress["last_metrics"].keys()
    assert progress["last_metrics"]["stop_reason"] == log[-1]["stop_reason"] == workspace.stop_reason == "enough"
    assert [record["global_step"] for record in log] == list(range(18))
    assert {key: value for key, value in progress["last_metrics"].items() if key != "stop_reason"} == {
        key: value for key, value in log[-1].items() if key != "stop_reason"
    }
    assert caplog.messages.count("the run ends after this epoch: enough") == 1
    assert not [message for message in caplog.messages if "a second reason" in message]
    assert workspace.summary()[0] == "stopped: enough"


def test_what_a_stopped_run_leaves_does_not_depend_on_when_it_was_asked(tiny_config: Path, tmp_path: Path) -> None:
    for hook in HOOKS:
        a_run(tiny_config, tmp_path / hook, hook).run()

    logs = [records(tmp_path / hook) for hook in HOOKS]
    assert logs[0] == logs[1] == logs[2]
    names = [sorted(path.name for path in (tmp_path / hook / "checkpoints").iterdir()) for hook in HOOKS]
    assert names[0] == names[1] == names[2]
    assert len(names[0]) == 3, "the last epoch is ranked, too"


def test_a_request_after_the_rollout_has_the_rest_of_the_epoch_measured(tiny_config: Path, tmp_path: Path) -> None:
    workspace = a_run(tiny_config, tmp_path / "run", "dp_after_rollout", "training.rollout_every=1")

    workspace.run()

    assert workspace.runner.runs == 2
    assert {"val_loss", "stop_reason"} <= records(tmp_path / "run")[-1].keys()
    heard = ["dp_before_epoch 1", "dp_after_rollout 1", "dp_after_epoch 1", "dp_after_epoch 1"]
    assert workspace.callbacks["stop"].heard[-4:] == heard


class StopWhenSaved(BaseCallback):
    """Asks to stop when the second epoch is saved with its metrics: before that is written, or after it."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.is_saved = False

    @hookimpl
    def dp_before_checkpoint_save(self, workspace: Any, metrics: dict[str, Any]) -> None:
        self.is_saved = metrics.get("epoch") == 1
        if self.is_saved and self.hook == "dp_before_checkpoint_save":
            workspace.request_stop("enough")

    @hookimpl
    def dp_after_checkpoint_save(self, workspace: Any) -> None:
        if self.is_saved and self.hook == "dp_after_checkpoint_save":
            workspace.request_stop("enough")


@pytest.mark.parametrize(("hook", "epochs"), [("dp_before_checkpoint_save", [2]), ("dp_after_checkpoint_save", [2, 3])])
def test_a_request_while_an_epoch_is_saved_has_a_whole_evaluation_follow(
    hook: str, epochs: list[int], tiny_config: Path, tmp_path: Path
) -> None:
    """The thread that writes may come too late for the epoch, and never ends the run without its evaluation."""
    folder = tmp_path / "run"
    workspace = a_run(tiny_config, folder, "never", "training.checkpoint_every=1")
    workspace.callbacks["stop"] = StopWhenSaved(hook)
    workspace.hooks = run_hooks(workspace.callbacks, workspace)

    workspace.run()

    assert progress_of(folder)["epoch"] in epochs
    assert {"test/mean_score", "val_loss", "stop_reason"} <= records(folder)[-1].keys()


class AskingLoader:
    """Batches for a validation in the middle of which the run is asked to stop, as another thread may do."""

    def __init__(self, workspace: TrainWorkspace) -> None:
        self.workspace, self.batches = workspace, workspace.val_loader

    def __iter__(self) -> Iterator[Any]:
        if self.workspace.progress.epoch == 1:
            self.workspace.request_stop("enough")
        yield from self.batches


def test_a_request_in_the_middle_of_an_evaluation_has_the_rest_measured(tiny_config: Path, tmp_path: Path) -> None:
    workspace = a_run(tiny_config, tmp_path / "run", "never", "training.val_every=1")
    workspace.val_loader = AskingLoader(workspace)

    workspace.run()

    assert progress_of(tmp_path / "run")["epoch"] == 2
    assert {"test/mean_score", "val_loss", "stop_reason"} <= records(tmp_path / "run")[-1].keys()


class InterruptAt(BaseCallback):
    """Sends SIGTERM after a batch of the second epoch."""

    @hookimpl
    def dp_after_train_step(self, metrics: dict[str, Any]) -> None:
        if metrics["global_step"] == 12:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("hook", ["dp_before_epoch", "dp_after_train_step"])
def test_a_request_outlives_an_interruption_of_its_epoch(hook: str, tiny_config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    workspace = a_run(tiny_config, folder, hook)
    workspace.callbacks["signal"] = InterruptAt()
    workspace.hooks = run_hooks(workspace.callbacks, workspace)
    with pytest.raises(KeyboardInterrupt):
        workspace.run()

    resumed = a_run(tiny_config, folder, "never")
    resumed.run()

    assert progress_of(folder)["epoch"] == 2
    assert records(folder)[-1]["stop_reason"] == resumed.stop_reason == "enough"


def test_the_time_between_two_runs_of_a_process_is_not_counted(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("dp_core.training.progress.monotonic", lambda: clock[0])
    workspace = a_run(tiny_config, tmp_path / "run", "dp_before_epoch", "training.max_hours=9", "training.num_epochs=3")
    workspace.run()
    clock[0] = 3600 * 100.0

    workspace.run()

    assert (workspace.progress.epoch, workspace.progress.seconds) == (3, 0)


def test_what_is_measured_for_the_last_epoch_is_announced_in_it(tiny_config: Path, tmp_path: Path) -> None:
    """Also where it was complete already when it became the last one."""
    workspace = a_run(tiny_config, tmp_path / "run", "dp_after_epoch")

    workspace.run()

    assert workspace.callbacks["stop"].heard[-4:] == [
        "dp_before_epoch 1",
        "dp_after_epoch 1",
        "dp_after_rollout 1",
        "dp_after_epoch 1",
    ]


def test_a_stopped_run_that_is_resumed_trains_on(tiny_config: Path, tmp_path: Path) -> None:
    """To the end that it would have had, on the learning rates that it would have had."""
    options = ("training.num_epochs=3",)
    a_run(tiny_config, tmp_path / "straight", "never", *options).run()
    a_run(tiny_config, tmp_path / "run", "dp_after_epoch", *options).run()

    a_run(tiny_config, tmp_path / "run", "never", *options).run()

    expected, found = records(tmp_path / "straight"), records(tmp_path / "run")
    assert [record["train_loss"] for record in found] == [record["train_loss"] for record in expected]
    assert [record["lr"] for record in found] == [record["lr"] for record in expected]
    assert found[-1] == expected[-1]


@pytest.mark.parametrize("hook", ["dp_before_epoch", "dp_after_epoch"])
def test_a_last_rollout_that_fails_is_made_up_for_when_the_run_is_resumed(
    hook: str, tiny_config: Path, tmp_path: Path
) -> None:
    """And then the run ends: nobody asks it to stop again."""
    straight, folder = tmp_path / "straight", tmp_path / "run"
    a_run(tiny_config, straight, hook).run()
    with pytest.raises(ComponentError, match="the simulator broke") as caught:
        a_run(tiny_config, folder, hook, fails=(2,)).run()
    assert caught.value.__notes__[:1] == [f"the state is saved. Continue with: dp-run --resume {folder}"]
    assert progress_of(folder)["stop_reason"] == "enough"

    resumed = a_run(tiny_config, folder, "never")
    resumed.run()

    assert resumed.stop_reason == "enough"
    assert records(folder) == records(straight)
    assert progress_of(folder) == progress_of(straight)


def test_no_epoch_is_left_to_be_stopped_in_the_last_one(tiny_config: Path, tmp_path: Path) -> None:
    workspace = a_run(tiny_config, tmp_path / "run", "dp_after_epoch", "training.num_epochs=2")

    workspace.run()

    assert workspace.callbacks["stop"].heard.count("dp_after_epoch 1") == 1


def test_early_stop_ends_a_run_and_says_why(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    stop = "callbacks.stop={name: early_stop, metric: train_loss, patience: 1, min_delta: 1000}"

    assert main([str(tiny_config), f"output_dir={folder}", *RARELY, stop]) == 0

    best = records(folder)[8]["train_loss"]
    reason = f"early_stop: train_loss was no better than {best:.4g}, of epoch 0, in 1 measurement"
    assert records(folder)[-1]["stop_reason"] == reason
    assert [record["epoch"] for record in records(folder)] == [0] * 9 + [1] * 9
    printed = capsys.readouterr().out.splitlines()
    assert f"stopped: {reason}" in printed
    assert f"best train_loss: {best:.4f}, in epoch 0" in printed


def test_a_run_may_be_limited_to_hours(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"

    assert main([str(tiny_config), f"output_dir={folder}", *RARELY, "training.max_hours=1e-9"]) == 0
    first = progress_of(folder)
    assert "stopped: training.max_hours: the 1e-09 hours are over" in capsys.readouterr().out.splitlines()
    assert main(["--resume", str(folder)]) == 0
    second = progress_of(folder)
    assert main(["--resume", str(folder), "training.max_hours=null", "training.num_epochs=3"]) == 0

    assert [first["epoch"], second["epoch"], progress_of(folder)["epoch"]] == [1, 2, 3]
    assert 0 < first["seconds"] < second["seconds"] == progress_of(folder)["seconds"]


def test_hours_are_counted_over_resumes(tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which every epoch takes an hour."""
    folder, original = tmp_path / "run", loop.train_epoch
    hours = [0]

    def train(*arguments: Any) -> None:
        original(*arguments)
        hours[0] += 1

    monkeypatch.setattr("dp_core.training.progress.monotonic", lambda: 3600.0 * hours[0])
    monkeypatch.setattr(loop, "train_epoch", train)
    one = "training.num_epochs=1"
    assert main([str(tiny_config), f"output_dir={folder}", *RARELY, "training.max_hours=3", one]) == 0
    hours[0] = 100

    assert main(["--resume", str(folder), "training.num_epochs=9"]) == 0
    assert (progress_of(folder)["epoch"], progress_of(folder)["seconds"]) == (3, 3 * 3600)


def test_a_checkpoint_that_knows_neither_hours_nor_reasons_is_resumed(tiny_config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main([str(tiny_config), f"output_dir={folder}", "training.num_epochs=1"]) == 0
    path = folder / "checkpoints" / "latest.ckpt"
    payload = dict(read_payload(path))
    for name in ("seconds", "stop_reason"):
        del payload["state_dicts"]["progress"][name]
    write_payload(path, payload)

    assert main(["--resume", str(folder), "training.num_epochs=2"]) == 0
    assert progress_of(folder)["epoch"] == 2
