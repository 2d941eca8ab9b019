"""`ProgressDisplay`: how far a run is, for people: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from tqdm import tqdm

from dp_callbacks.config import ProgressConfig
from dp_core import hookimpl
from dp_core.interfaces import BaseCallback, Workspace

_BAR = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}{postfix}"


class ProgressDisplay(BaseCallback):
    """Shows loss, speed and the time that is left for the whole run on stderr, and the scores of rollouts.

    The loss is read from the device only when it is shown.
    """

    def __init__(self, config: ProgressConfig) -> None:
        self._config = config
        self._bar: Any = None
        self._is_terminal = False
        self._start = _Mark(0.0, 0)
        """Of this process; the time left is estimated from it, so it takes rollouts and validation into account."""
        self._epoch_start = _Mark(0.0, 0)
        self._shown = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_bar": None}

    @hookimpl
    def dp_before_run(self, workspace: Workspace) -> None:
        """Start the clock."""
        self._is_terminal = sys.stderr.isatty()
        self._start = _Mark.now(workspace)
        self._shown = self._start.seconds

    @hookimpl
    def dp_before_epoch(self, workspace: Workspace) -> None:
        """Start a bar."""
        self._epoch_start = _Mark.now(workspace)
        if self._is_terminal:
            self._bar = tqdm(
                desc=f"epoch {workspace.progress.epoch}/{workspace.num_epochs}",
                total=workspace.steps_per_epoch,
                initial=workspace.progress.step_in_epoch,
                bar_format=_BAR,
                leave=False,
            )

    @hookimpl
    def dp_after_train_step(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        """Show the state of the run if it is time to."""
        interval = self._config.refresh_seconds if self._is_terminal else self._config.line_seconds
        now = time.monotonic()
        if now - self._shown < interval:
            return
        self._shown = now
        status = self._status(workspace, float(metrics["train_loss"]))
        progress = workspace.progress
        if self._bar is not None:
            self._bar.n = progress.step_in_epoch
            self._bar.set_postfix_str(status)
        else:
            where = f"epoch {progress.epoch}/{workspace.num_epochs}"
            _write(f"{where}, step {progress.step_in_epoch}/{workspace.steps_per_epoch}: {status}")

    @hookimpl
    def dp_after_rollout(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        """Show the scores."""
        _write(f"epoch {workspace.progress.epoch}: {_scores(metrics)}")

    @hookimpl
    def dp_after_epoch(self) -> None:
        """End the bar."""
        self._close()

    @hookimpl
    def dp_on_run_error(self) -> None:
        """Leave the terminal clean for the message."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _status(self, workspace: Workspace, loss: float) -> str:
        now = _Mark.now(workspace)
        speed = workspace.batch_size * self._epoch_start.steps_per_second(now)
        progress = workspace.progress
        left = (workspace.num_epochs - progress.epoch) * workspace.steps_per_epoch - progress.step_in_epoch
        return f"loss {loss:.4g}, {speed:.3g} samples/s, {_duration(left / self._start.steps_per_second(now))} left"


class _Mark(NamedTuple):
    """A moment of the run."""

    seconds: float
    step: int

    @classmethod
    def now(cls, workspace: Workspace) -> _Mark:
        return cls(time.monotonic(), workspace.progress.global_step)

    def steps_per_second(self, later: _Mark) -> float:
        return (later.step - self.step) / max(1e-9, later.seconds - self.seconds)


def _scores(metrics: Mapping[str, Any]) -> str:
    """Means and rates; what is measured per seed goes to the logs."""
    shown = [f"{key} {value:.3f}" for key, value in metrics.items() if key.endswith("/mean_score")]
    success = [metrics.get(f"test/success_rate{end}") for end in ("", "_low", "_high")]
    if None not in success:
        rate, low, high = success
        shown.append(f"success {rate:.0%} (95 % interval {low:.0%} to {high:.0%})")
    if "seconds_per_episode" in metrics:
        shown.append(f"{metrics['seconds_per_episode']:.2f} s per episode")
    return ", ".join(shown) or "rollout done"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _write(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
