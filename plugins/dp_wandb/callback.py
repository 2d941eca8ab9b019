"""`WandbLogger`: a run on Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from torch import Tensor

from dp_core import hookimpl
from dp_core.config import unstructure
from dp_core.errors import DpError
from dp_core.interfaces import BaseCallback, Workspace
from dp_wandb.config import WandbConfig

_VIDEOS = (".mp4", ".gif", ".webm")


class WandbLogger(BaseCallback):
    """Logs numbers and videos under the names that the loop and the runner give them, by ``global_step``.

    A resumed run continues under its id. wandb is imported when the run starts, and not at all if disabled.
    """

    def __init__(self, config: WandbConfig) -> None:
        self._config = config
        self._run: Any = None
        self._run_id = config.run_id
        self._pending: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the id of the run on the server."""
        return {"run_id": self._run_id} if self._run_id else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue under the id of the earlier run, unless the config names one."""
        self._run_id = self._config.run_id or state["run_id"]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_run": None}

    @hookimpl
    def dp_before_run(self, workspace: Workspace) -> None:
        """Start the run, or continue it.

        Raises:
            DpError: there is no key for the server, or it does not answer in time.
        """
        if self._config.mode == "disabled":
            return
        config = self._config
        self._run = _start(
            config.init_timeout,
            mode=config.mode,
            project=config.project,
            entity=config.entity,
            group=config.group,
            tags=config.tags,
            name=workspace.cfg.run_name,
            dir=str(workspace.output_dir),
            id=self._run_id,
            resume="allow",
            config=unstructure(workspace.cfg) | {"output_dir": str(workspace.output_dir)},
        )
        self._run_id = self._run.id

    @hookimpl
    def dp_before_epoch(self) -> None:
        """Send the epoch before, whose place nothing will take any more; the server takes a step only once."""
        if self._run is not None:
            self._flush()

    @hookimpl
    def dp_after_train_step(self, metrics: dict[str, Any]) -> None:
        """Collect the metrics of the step; the newest stay in memory, as those of the epoch are logged with them."""
        if self._run is None:
            return
        if len(self._pending) >= self._config.flush_every:
            self._flush()
        self._pending.append(metrics)

    @hookimpl
    def dp_after_epoch(self, metrics: dict[str, Any]) -> None:
        """Put the epoch in the place of its last step, or of what it was before more was measured."""
        if self._run is None:
            return
        if self._pending and self._pending[-1]["global_step"] == metrics["global_step"]:
            self._pending.pop()
        self._pending.append(metrics)

    @hookimpl
    def dp_on_run_error(self) -> None:
        """Mark the run as failed."""
        self._finish(exit_code=1)

    @hookimpl
    def dp_after_run(self) -> None:
        """Send what is left, and end the run on the server."""
        self._finish(exit_code=0)

    def _flush(self) -> None:
        for metrics in self._pending:
            self._run.log(_loggable(metrics), step=metrics["global_step"], commit=True)
        self._pending.clear()

    def _finish(self, exit_code: int) -> None:
        if self._run is not None:
            self._flush()
            self._run.finish(exit_code=exit_code)
            self._run = None


def _start(init_timeout: float, **options: Any) -> Any:
    import wandb  # takes a second

    try:
        return wandb.init(settings=wandb.Settings(init_timeout=init_timeout), **options)
    except wandb.errors.Error as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DpError(
            f"wandb: the run cannot be logged: {reason}; run 'wandb login', or set 'mode: offline' for the callback"
        ) from error


def _loggable(metrics: Mapping[str, Any]) -> dict[str, Any]:
    import wandb

    found: dict[str, Any] = {}
    for key, value in metrics.items():
        if isinstance(value, Tensor):
            found[key] = value.item()
        elif isinstance(value, Real):
            found[key] = value
        elif isinstance(value, str | Path) and Path(value).suffix in _VIDEOS:
            found[key] = wandb.Video(str(value))
    return found
