"""The JSON log: its records, and that an interrupted run leaves the log of an uninterrupted one."""

from __future__ import annotations

import json
import re
import resource
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dp_callbacks.config import JsonLogConfig
from dp_callbacks.json_log import FILE_NAME, JsonLog, read_json_log
from dp_core.errors import DpError

STEPS_PER_EPOCH = 3


class Run:
    """Calls the hooks as the loop does. ``kill_after`` ends it without a goodbye after that many steps."""

    def __init__(self, folder: Path, start: int = 0, flush_every: int = 2) -> None:
        self.output_dir = folder
        self.progress = SimpleNamespace(global_step=start)
        self.log = JsonLog(JsonLogConfig(flush_every=flush_every))
        self.log.dp_before_run(workspace=self)

    def train(self, until: int) -> None:
        while self.progress.global_step < until:
            self.step()
            if self.progress.global_step % STEPS_PER_EPOCH == 0:
                self.end_epoch()

    def step(self) -> None:
        step = self.progress.global_step
        metrics = {"train_loss": torch.tensor(1 / (step + 1)), "global_step": step, "epoch": step // STEPS_PER_EPOCH}
        self.progress.global_step += 1
        self.log.dp_after_train_step(metrics=metrics)

    def end_epoch(self) -> None:
        step = self.progress.global_step - 1
        metrics = {"train_loss": 0.5, "global_step": step, "epoch": step // STEPS_PER_EPOCH, "test/mean_score": 1.0}
        self.log.dp_after_epoch(metrics=metrics)

    def checkpoint(self) -> int:
        self.log.dp_before_checkpoint_save()
        return self.progress.global_step

    @property
    def text(self) -> str:
        return (self.output_dir / FILE_NAME).read_text()


@pytest.fixture
def whole(tmp_path) -> str:
    """Log of a run of 4 epochs that nothing disturbed."""
    run = Run(tmp_path / "whole")
    run.train(12)
    run.log.dp_after_run()
    return run.text


def test_record_of_the_epoch_takes_the_place_of_its_last_step(tmp_path) -> None:
    run = Run(tmp_path)

    run.train(3)

    assert read_json_log(tmp_path / FILE_NAME) == [
        {"train_loss": 1.0, "global_step": 0, "epoch": 0},
        {"train_loss": 0.5, "global_step": 1, "epoch": 0},
        {"train_loss": 0.5, "global_step": 2, "epoch": 0, "test/mean_score": 1.0},
    ]


def test_only_numbers_are_kept_and_every_line_is_json(tmp_path) -> None:
    run = Run(tmp_path)

    metrics = {"global_step": 0, "n": np.int64(3), "x": np.float32(0.5), "bad": float("nan"), "worse": float("inf")}
    run.log.dp_after_epoch(metrics=metrics | {"test/sim_video_1": "media/1.mp4", "path": Path("a"), "none": None})

    assert run.text == '{"global_step": 0, "n": 3, "x": 0.5, "bad": null, "worse": null}\n'


def test_an_epoch_that_is_announced_twice_has_one_record_with_the_reason_to_stop(tmp_path) -> None:
    run = Run(tmp_path)
    run.train(3)

    run.log.dp_after_epoch(metrics={"global_step": 2, "epoch": 0, "val_loss": 1.0, "stop_reason": "enough"})

    log = read_json_log(tmp_path / FILE_NAME)
    assert [record["global_step"] for record in log] == [0, 1, 2]
    assert log[-1] == {"global_step": 2, "epoch": 0, "val_loss": 1.0, "stop_reason": "enough"}


@pytest.mark.parametrize("flush_every", [1, 2, 3, 100])
def test_steps_are_written_together(tmp_path, whole, flush_every) -> None:
    run = Run(tmp_path / "run", flush_every=flush_every)

    run.train(2)
    written = len(run.text.splitlines())
    run.train(12)

    assert written == {1: 1}.get(flush_every, 0)
    assert run.text == whole


@pytest.mark.parametrize("killed_at", [6, 7, 8, 9, 11])
def test_killed_run_goes_on_from_its_checkpoint_without_a_trace(tmp_path, whole, killed_at) -> None:
    run = Run(tmp_path / "run")
    run.train(6)
    saved = run.checkpoint()
    run.train(killed_at)

    resumed = Run(tmp_path / "run", start=saved)
    resumed.train(12)

    assert resumed.text == whole


@pytest.mark.parametrize("interrupted_at", [4, 5, 7])
def test_run_interrupted_in_the_middle_of_an_epoch_goes_on_without_a_trace(tmp_path, whole, interrupted_at) -> None:
    run = Run(tmp_path / "run")
    run.train(interrupted_at)
    saved = run.checkpoint()
    run.log.dp_on_run_error()

    resumed = Run(tmp_path / "run", start=saved)
    resumed.train(12)

    assert resumed.text == whole


def test_run_interrupted_during_the_evaluation_goes_on_without_a_trace(tmp_path, whole) -> None:
    run = Run(tmp_path / "run")
    run.train(5)
    run.step()
    saved = run.checkpoint()
    run.log.dp_on_run_error()

    resumed = Run(tmp_path / "run", start=saved)
    resumed.end_epoch()
    resumed.train(12)

    assert resumed.text == whole


def test_line_that_was_cut_is_dropped(tmp_path, whole) -> None:
    run = Run(tmp_path / "run")
    run.train(6)
    saved = run.checkpoint()
    with (run.output_dir / FILE_NAME).open("a") as file:
        file.write('{"train_lo')
    assert len(read_json_log(run.output_dir / FILE_NAME)) == 6

    resumed = Run(tmp_path / "run", start=saved)
    resumed.train(12)

    assert resumed.text == whole


def test_fresh_run_starts_an_empty_log(tmp_path) -> None:
    Run(tmp_path).train(6)

    again = Run(tmp_path)

    assert again.text == ""


def test_what_led_to_an_error_is_written(tmp_path) -> None:
    run = Run(tmp_path, flush_every=100)
    run.train(2)

    run.log.dp_on_run_error()

    assert [json.loads(line)["global_step"] for line in run.text.splitlines()] == [0, 1]


def test_lines_that_could_not_be_written_are_written_later_and_whole(tmp_path: Path) -> None:
    """A disk that is full takes a part of a line; a run that was resumed after it could not read its log."""
    run = Run(tmp_path)
    run.train(STEPS_PER_EPOCH)
    before = run.text
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    run.step()

    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(DpError, match=f"^{re.escape(str(tmp_path / FILE_NAME))}: cannot be written: "):
            run.checkpoint()
        cut = run.text
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run.log.dp_on_run_error()

    assert cut == before
    assert [record["global_step"] for record in read_json_log(tmp_path / FILE_NAME)] == [0, 1, 2, 3]


def test_a_log_is_cut_where_a_power_failure_spoilt_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(STEPS_PER_EPOCH)
    before = run.text
    (tmp_path / FILE_NAME).write_text(before + "\0" * 20 + "\n")

    assert Run(tmp_path, start=5).text == before
