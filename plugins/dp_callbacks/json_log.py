"""`logs.json.txt`: the numbers of a run, one JSON object per line.

One record for every step; that of an epoch's last step is replaced by the epoch's, which has the mean loss and whatever
was evaluated; the last one of a run that was stopped has ``stop_reason``, the only text. A run that was interrupted and
resumed leaves the log of one that was not.
"""

from __future__ import annotations

import contextlib
import json
import math
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dp_callbacks.config import JsonLogConfig
from dp_core import hookimpl
from dp_core.errors import DpError
from dp_core.interfaces import BaseCallback, Workspace

FILE_NAME = "logs.json.txt"

Record = dict[str, int | float | str | None]


class JsonLog(BaseCallback):
    """Writes `FILE_NAME` in the run directory. Paths of videos are left out; NaN and infinity become null.

    Losses stay on the device until ``flush_every`` records are together, so that training does not wait at every step.
    """

    def __init__(self, config: JsonLogConfig) -> None:
        self._flush_every = config.flush_every
        self._path = Path(FILE_NAME)
        self._pending: list[dict[str, Any]] = []

    @hookimpl
    def dp_before_run(self, workspace: Workspace) -> None:
        """Drop what was logged after the checkpoint that this run continues from: it will be logged again."""
        self._path = workspace.output_dir / FILE_NAME
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()
        _drop_from_step(self._path, workspace.progress.global_step)

    @hookimpl
    def dp_after_train_step(self, metrics: dict[str, Any]) -> None:
        """Collect the step. The newest stays in memory: the epoch may take its place."""
        if len(self._pending) >= self._flush_every:
            self._flush()
        self._pending.append(metrics)

    @hookimpl
    def dp_after_epoch(self, metrics: dict[str, Any]) -> None:
        """Put the epoch in the place of its last step, or of what it was before more was measured."""
        if self._pending and self._pending[-1]["global_step"] == metrics["global_step"]:
            self._pending.pop()
        else:  # written already: the run was interrupted after the last step, or it stops and more was measured
            _drop_from_step(self._path, metrics["global_step"])
        self._pending.append(metrics)
        self._flush()

    @hookimpl
    def dp_before_checkpoint_save(self) -> None:
        """Write down what the checkpoint takes as logged."""
        self._flush()

    @hookimpl
    def dp_on_run_error(self) -> None:
        """Keep what led to the error."""
        self._flush()

    @hookimpl
    def dp_after_run(self) -> None:
        """Write what is left."""
        self._flush()

    def _flush(self) -> None:
        if self._pending:
            _append(self._path, "".join(f"{json.dumps(_record(metrics))}\n" for metrics in self._pending))
            self._pending.clear()


def read_json_log(path: str | Path) -> list[Record]:
    """Read the records of a log, in the order they were written, without a last line that is still being written."""
    with Path(path).open() as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def _record(metrics: Mapping[str, Any]) -> Record:
    values = {key: value.item() if isinstance(value, Tensor) else value for key, value in metrics.items()}
    record: Record = {key: _plain(value) for key, value in values.items() if isinstance(value, numbers.Real)}
    if "stop_reason" in values:
        record["stop_reason"] = values["stop_reason"]
    return record


def _plain(value: numbers.Real) -> int | float | None:
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _append(path: Path, lines: str) -> None:
    """Write all of the lines or none: they are tried again when the run ends."""
    end = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a") as file:
            file.write(lines)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, end)
        raise DpError(f"{path}: cannot be written: {error.strerror}") from error


def _drop_from_step(path: Path, global_step: int) -> None:
    """Cut the log before the first record of ``global_step`` or later, and before a line that is not whole."""
    end = 0
    with path.open("r+b") as file:
        for line in file:
            if _step_of(line) >= global_step:
                break
            end += len(line)
        file.truncate(end)


def _step_of(line: bytes) -> float:
    """Return the step of a line; infinity where it is not whole."""
    try:
        return float(json.loads(line)["global_step"]) if line.endswith(b"\n") else math.inf
    except ValueError:  # a machine that lost its power left zeros, or an earlier version half a line
        return math.inf
