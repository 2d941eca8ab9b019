"""`KestrelCallback`: remembers the epoch with the lowest loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_core import hookimpl
from dp_core.interfaces import BaseCallback

if TYPE_CHECKING:
    from dp_kestrel.config import CallbackOptions


class KestrelCallback(BaseCallback):
    """Names the epoch at the end of the run. `dp_core.hooks.RunHooks` lists what else a callback can listen to."""

    def __init__(self, config: CallbackOptions) -> None:
        self._metric = config.metric
        self._lowest = float("inf")
        self._epoch: int | None = None

    @hookimpl
    def dp_after_epoch(self, metrics: dict[str, Any]) -> None:
        """Take note; an epoch without the metric, because it was not due, does not count."""
        value = metrics.get(self._metric, float("inf"))
        if value < self._lowest:
            self._lowest, self._epoch = float(value), int(metrics["epoch"])

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run has to know; it is saved in every checkpoint."""
        return {"lowest": self._lowest, "epoch": self._epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        self._lowest, self._epoch = state["lowest"], state["epoch"]

    def summary(self) -> list[str]:
        """Return a line for the end of the run."""
        if self._epoch is None:
            return [f"no epoch had the metric '{self._metric}'"]
        return [f"lowest {self._metric}: {self._lowest:.4f}, in epoch {self._epoch}"]
