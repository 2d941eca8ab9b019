"""`EarlyStop`: ends a run whose metric does not improve any more."""

from __future__ import annotations

import logging
import math
from typing import Any

from dp_callbacks.config import EarlyStopConfig
from dp_core import hookimpl
from dp_core.errors import quoted
from dp_core.interfaces import BaseCallback, Workspace

logger = logging.getLogger(__name__)


class EarlyStop(BaseCallback):
    """Asks the run to stop after ``patience`` measurements in a row that are no better than the best before them.

    Epochs in which the metric was not due do not count. NaN and infinity count, and are no improvement. A run that was
    stopped and is resumed has all of its patience again, and the best value that it had.
    """

    def __init__(self, config: EarlyStopConfig) -> None:
        self._config = config
        self._metric = config.metric.replace("/", "_")
        self._best: float | None = None
        self._best_epoch = -1
        self._waited = 0
        """Measurements since the best one."""
        self._epoch = -1
        """The last one that counted."""
        self._measured: tuple[str, ...] = ()
        """What was measured when the metric was not."""

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and how long it has been the best."""
        return {"best": self._best, "best_epoch": self._best_epoch, "waited": self._waited, "epoch": self._epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue to wait where the earlier run was."""
        self._best, self._best_epoch = state["best"], state["best_epoch"]
        self._waited, self._epoch = state["waited"], state["epoch"]

    @hookimpl
    def dp_after_epoch(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        """Compare, if the metric was measured; once for an epoch, which is announced twice if the run is stopped."""
        values = {key.replace("/", "_"): value for key, value in metrics.items()}
        epoch = int(metrics["epoch"])
        if self._metric not in values:
            self._measured = tuple(metrics)
        if self._metric not in values or epoch == self._epoch:
            return
        self._epoch = epoch
        value = float(values[self._metric])
        if self._is_better(value):
            self._best, self._best_epoch, self._waited = value, epoch, 0
            return
        self._waited += 1
        if self._waited == self._config.patience:
            self._waited = 0
            workspace.request_stop(self._reason())

    @hookimpl
    def dp_after_run(self) -> None:
        """Say so if the metric was never there: its name may be mistyped."""
        if self._epoch == -1 and self._measured:
            logger.warning(
                "early_stop: %s was never measured, so nothing could stop the run; measured were %s",
                quoted([self._metric]),
                quoted(self._measured),
            )

    def summary(self) -> list[str]:
        """Return the best value, and when it was measured."""
        if self._best is None:
            return []
        return [f"best {self._metric}: {self._best:.4f}, in epoch {self._best_epoch}"]

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self._best is None:
            return True
        gain = value - self._best if self._config.order == "max" else self._best - value
        return gain > self._config.min_delta

    def _reason(self) -> str:
        count = f"{self._config.patience} measurement" + ("" if self._config.patience == 1 else "s")
        if self._best is None:
            return f"early_stop: {self._metric} was not finite in {count}"
        best = f"{self._best:.4g}, of epoch {self._best_epoch}"
        return f"early_stop: {self._metric} was no better than {best}, in {count}"
