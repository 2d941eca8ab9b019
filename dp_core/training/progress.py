"""`Progress`: how far a run is, in a form that every checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from time import monotonic
from typing import Any

import attrs
from torch import Tensor


@attrs.define(eq=False)
class Progress:
    """How far a run is. Part of every checkpoint."""

    epoch: int = 0
    """Epochs completed, evaluation included; the index of the current one."""
    global_step: int = 0
    """Batches trained on since the start of the run."""
    step_in_epoch: int = 0
    """Batches of the current epoch trained on; resumed with other batches, what is done is counted in those."""
    windows_in_epoch: int = 0
    """Windows of the current epoch trained on: where it continues, whatever the size of the batches."""
    dataset_size: int = 0
    """Windows of the data set; 0: not known. The order of an epoch depends on it and on the seed."""
    seed: int = 0
    """The seed of the order of the epochs."""
    updates: int = 0
    """Steps of the learning rate's schedule."""
    updates_in_run: int = 0
    """Steps that the schedule was made for; 0: not known."""
    loss_sum: Tensor | float = 0.0
    """The sum over the windows of the current epoch, on the device: adding to it does not wait for the device."""
    last_metrics: dict[str, Any] = attrs.field(factory=dict)
    """What the last complete epoch measured: numbers, and strings: paths of videos, why the run was stopped."""
    stop_reason: str = ""
    """Why the run is about to end, while its last epoch is evaluated; a run that is resumed there ends, too."""
    seconds: float = 0.0
    """Time that the run has taken, counted where it is limited."""
    _counted_at: float | None = attrs.field(default=None, init=False)
    """When it was added up the last time, by a clock that means nothing to another process."""

    def advance(self, loss: Tensor, windows: int) -> None:
        """Count one batch of ``windows`` windows, whose mean loss is ``loss``, a scalar on any device."""
        self.global_step += 1
        self.step_in_epoch += 1
        self.windows_in_epoch += windows
        self.loss_sum = self.loss_sum + loss.double() * windows

    def mean_loss(self) -> float:
        """Average the loss over the windows of the current epoch so far."""
        return float(self.loss_sum) / max(1, self.windows_in_epoch)

    def restart_epoch(self) -> None:
        """Forget what was done of the current epoch, and that it was to be the last one."""
        self.stop_reason = ""
        self.step_in_epoch = 0
        self.windows_in_epoch = 0
        self.loss_sum = 0.0

    def finish_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Count one epoch and keep what it measured."""
        self.keep_metrics(metrics)
        self.epoch += 1
        self.restart_epoch()

    def keep_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Keep what the last complete epoch measured."""
        self.last_metrics = {key: _plain(value) for key, value in metrics.items()}

    def start_clock(self) -> None:
        """Count time from now on; what passed between two runs of a process is not counted."""
        self._counted_at = monotonic()

    def count_time(self) -> None:
        """Add what has passed since the last call, or since the clock was started."""
        now = monotonic()
        if self._counted_at is not None:
            self.seconds += now - self._counted_at
        self._counted_at = now

    def unsound(self) -> str | None:
        """Say that the loss is not finite any more; None if it is."""
        mean_loss = self.mean_loss()
        return None if math.isfinite(mean_loss) else f"the mean loss of epoch {self.epoch} is {mean_loss}"

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers and strings."""
        if self._counted_at is not None:
            self.count_time()
        return {
            "epoch": self.epoch,
            "global_step": self.global_step,
            "step_in_epoch": self.step_in_epoch,
            "windows_in_epoch": self.windows_in_epoch,
            "dataset_size": self.dataset_size,
            "seed": self.seed,
            "updates": self.updates,
            "updates_in_run": self.updates_in_run,
            "loss_sum": float(self.loss_sum),
            "last_metrics": dict(self.last_metrics),
            "stop_reason": self.stop_reason,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``; what an earlier version did not save stays as it is."""
        for name, value in state.items():
            setattr(self, name, value)


def _plain(value: Any) -> int | float | str:
    """What a checkpoint can hold; numbers of numpy are not."""
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)
