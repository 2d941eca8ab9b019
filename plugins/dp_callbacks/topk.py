"""`TopKCheckpointManager`: keeps the checkpoints that are best in one metric."""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from dp_callbacks.config import TopKConfig, fields_of
from dp_core import hookimpl
from dp_core.atomic import whole_file
from dp_core.config.metrics import ANY
from dp_core.errors import InputError, quoted
from dp_core.interfaces import BaseCallback, Workspace

logger = logging.getLogger(__name__)


class Selection(NamedTuple):
    """What to do with a checkpoint that is among the best."""

    name: str
    """Name of the file that it becomes."""
    displaced: str | None
    """Name of the file that is not among the best any more; None if all stay."""


class TopKCheckpointManager(BaseCallback):
    """Gives the latest checkpoint a second, lasting name where it is among the best ``k``.

    The name is a hard link (a copy where the file system has no links), so nothing is serialised twice. What it
    displaces is removed only once the new file is there: at every moment ``k`` whole files exist.
    """

    def __init__(self, config: TopKConfig) -> None:
        self._config = config
        self._rank_by(ANY)
        self._ranked_by = ""
        """The metric that `best` holds; empty where it is not known."""
        self.best: dict[str, float] = {}
        """Value of the metric by file name, in the order in which files were made."""
        self._folder = Path()
        self._decided: Selection | None = None
        """For the checkpoint that is being written."""
        self._former: dict[str, float] = {}
        """What `best` was before that decision, and is again if the checkpoint cannot be written."""
        self._last: Selection | None = None
        """The newest decision. Killed before it was carried out, the run makes up for it when it resumes."""
        self._unranked: tuple[str, ...] = ()
        """What was measured when the metric, or one that the name needs, was not, the last time."""

    def state_dict(self) -> dict[str, Any]:
        """Return the list of files, and what the checkpoint that holds it has to become."""
        last = list(self._last) if self._last else None
        return {"best": dict(self.best), "last": last, "metric": self._ranked_by}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the files of the earlier run."""
        self.best = dict(state["best"])
        self._last = Selection(*state["last"]) if state.get("last") else None
        self._ranked_by = state.get("metric", "")

    @hookimpl
    def dp_before_run(self, workspace: Workspace) -> None:
        """Finish what a kill cut short; forget files that are not there: removed by hand, or in another directory.

        Files that an earlier run of another config ranked by another metric are forgotten, too: they stay.
        """
        self._rank_by(workspace.cfg.measures)
        self._decided = None
        latest = workspace.get_checkpoint_path("latest")
        self._folder = latest.parent
        if self._last is not None and latest.is_file():
            self._carry_out(self._last, latest, replaces=False)  # latest may be newer than what was loaded
        is_same_metric = self._ranked_by in ("", self._monitor_key)
        self.best = {name: value for name, value in self.best.items() if (self._folder / name).is_file()}
        if not is_same_metric:
            self.best, self._last = {}, None
        self._ranked_by = self._monitor_key

    @hookimpl
    def dp_before_checkpoint_save(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        """Decide, so that the checkpoint itself holds the decision."""
        progress = workspace.progress
        if self._decided is not None:
            self.best = self._former
        self._former = dict(self.best)
        # In the middle of an epoch, and before it is evaluated, there are none that belong to these weights.
        is_measured = bool(metrics) and progress.windows_in_epoch == 0
        position = {"epoch": progress.epoch, "global_step": progress.global_step}
        self._last = self.select(position | metrics) if is_measured else None
        self._decided = self._last

    @hookimpl
    def dp_after_checkpoint_save(self, path: Path) -> None:
        """Carry out the decision."""
        if self._decided is not None:
            self._carry_out(self._decided, path)
            self._decided = None

    @staticmethod
    def _carry_out(selection: Selection, path: Path, *, replaces: bool = True) -> None:
        target = path.with_name(selection.name)
        if replaces or not target.is_file():
            _link(path, target)
        if selection.displaced is not None:
            path.with_name(selection.displaced).unlink(missing_ok=True)

    @hookimpl
    def dp_after_run(self) -> None:
        """Say so if a metric was never there, as its name may be mistyped, or never a number that ranks."""
        if not self._config.k or self.best or not self._unranked:
            return
        if absent := [name for name in sorted(self._needed) if name not in self._unranked]:
            logger.warning(
                "topk: %s was never measured, so no checkpoint was kept for it; measured were %s",
                quoted(absent),
                quoted(self._unranked),
            )
        else:
            logger.warning("topk: '%s' was never finite, so no checkpoint was kept for it", self._monitor_key)

    def summary(self) -> list[str]:
        """Return which file is the best, and its metric."""
        if not self.best:
            return []
        best = (max if self._mode == "max" else min)(self.best, key=self.best.__getitem__)
        return [f"best checkpoint: {self._folder / best} ({self._monitor_key} {self.best[best]:.3f})"]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_decided": None}

    def select(self, metrics: Mapping[str, Any]) -> Selection | None:
        """Take a checkpoint with these metrics into the list, or return None if it is not among the best.

        While there is room every checkpoint is; then it has to be strictly better than the worst, of equals the one
        that the list would name last. A file of the same name is replaced by a better one alone.

        Raises:
            InputError: ``format_str`` does not fit the kind of number that a metric is.
        """
        values = {key.replace("/", "_"): value for key, value in metrics.items()}
        value = self._monitored(values) if self._config.k else None
        if value is None:
            return None
        name = self._name(values)
        namesake = self.best.get(name)
        if namesake == value:  # the same checkpoint once more: Ctrl-C just after the end of an epoch
            return Selection(name, None)
        if namesake is not None and not self._is_better(value, namesake):
            return None
        displaced = None
        if len(self.best) == self._config.k:
            worst = self._worst()
            if not self._is_better(value, self.best[worst]):
                return None
            del self.best[worst]
            displaced = worst
        self.best[name] = value
        return Selection(name, None if displaced == name else displaced)

    def _rank_by(self, measures: Sequence[str]) -> None:
        """Choose the metric, with `better` values and names of files, from what the run measures."""
        self._monitor_key, self._mode = self._config.metric(measures), self._config.order(measures)
        self._file_name = self._config.file_name(measures)
        self._needed = {self._monitor_key, *fields_of(self._file_name)}

    def _is_better(self, value: float, other: float) -> bool:
        return value > other if self._mode == "max" else value < other

    def _worst(self) -> str:
        ranked = sorted(self.best, key=self.best.__getitem__)
        return ranked[0] if self._mode == "max" else ranked[-1]

    def _name(self, values: Mapping[str, Any]) -> str:
        try:
            return self._file_name.format_map(values)
        except ValueError as error:
            raise InputError(f"topk: format_str '{self._file_name}' does not fit the metrics: {error}") from error

    def _monitored(self, values: Mapping[str, Any]) -> float | None:
        """Return the metric that ranks; None for an epoch without it, or without one that the name needs."""
        value = values.get(self._monitor_key)
        if isinstance(value, Real) and math.isfinite(value) and self._needed <= values.keys():
            return float(value)
        self._unranked = tuple(values)
        return None


def _link(source: Path, target: Path) -> None:
    """Give ``source`` a second name, replacing what has it; there is no moment without a file of that name."""
    with whole_file(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:  # file systems without hard links
            shutil.copyfile(source, temporary)
