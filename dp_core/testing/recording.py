"""`Recording`: episodes whose steps are all different, written by an author's `record`, and recognised in windows."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
from torch import Tensor

from dp_core.testing.samples import Samples, raw_batch

Record = Callable[[Path, list[dict[str, Any]]], Mapping[str, Any]]
"""``record(folder, episodes) -> options``, see `dp_core.testing.conformance.DatasetConformance.record`."""

_LONGER = (3, 9, 4, 7, 5)
"""How many steps each of the five episodes has more than a window."""
_made: dict[tuple[Any, ...], Recording] = {}


class Place(NamedTuple):
    """One step of the recording; both count from 0."""

    episode: int
    step: int

    def __str__(self) -> str:
        return f"step {self.step} of episode {self.episode}"


@attrs.frozen
class Recording:
    """Known episodes, and how to read them."""

    options: Mapping[str, Any]
    """The options that open them."""
    lengths: tuple[int, ...]
    """The steps of each episode."""
    steps: Mapping[str, Mapping[bytes, Place]]
    """By key, ``action`` included: which step a value is of. Values that several steps have are left out."""

    @classmethod
    def of(cls, record: Record, shape_meta: Mapping[str, Any], horizon: int, samples: Samples) -> Recording:
        """Let ``record`` write episodes that are somewhat longer than ``horizon``, once for each task.

        Raises:
            TypeError: it returns something else than options.
        """
        key = (record, repr(shape_meta), horizon, tuple(samples.items()))
        if key not in _made:
            folder = tempfile.TemporaryDirectory()
            atexit.register(folder.cleanup)  # data sets may read as late as when they are asked
            episodes = list(_episodes(shape_meta, horizon, samples))
            options = record(
                Path(folder.name), [{key: np.asarray(value) for key, value in episode.items()} for episode in episodes]
            )
            if not isinstance(options, Mapping):
                raise TypeError(f"it returned {options!r}, and not options such as {{'path': folder}}")
            steps = {key: _steps([episode[key] for episode in episodes]) for key in episodes[0]}
            _made[key] = cls(options, tuple(len(episode["action"]) for episode in episodes), steps)
        return _made[key]

    def places(self, key: str, values: Any) -> list[Place | None]:
        """Tell which steps the values of a key in one window are of; None: of none that was recorded."""
        return [self.steps[key].get(_mark(value)) for value in values]


def _episodes(shape_meta: Mapping[str, Any], horizon: int, samples: Samples) -> Iterator[dict[str, Tensor]]:
    """Draw episodes in which the last entry of what has several is constant, as it is in many recordings."""
    for number, longer in enumerate(_LONGER):
        batch = raw_batch(shape_meta, 1, horizon + longer, number, samples)
        episode = {key: value[0] for key, value in {**batch["obs"], "action": batch["action"]}.items()}
        for key, value in episode.items():
            if isinstance(value, Tensor) and value.is_floating_point() and value[0].numel() > 1 and key not in samples:
                value.flatten(1)[:, -1] = 1.0
        yield episode


def _steps(arrays: list[Tensor]) -> dict[bytes, Place]:
    places: dict[bytes, list[Place]] = {}
    for episode, values in enumerate(arrays):
        for step, value in enumerate(values):
            places.setdefault(_mark(value), []).append(Place(episode, step))
    return {mark: found[0] for mark, found in places.items() if len(found) == 1}


def _mark(value: Any) -> bytes:
    return value.contiguous().cpu().numpy().tobytes() if isinstance(value, Tensor) else str(value).encode()
