"""`KestrelDataset`: windows over episodes in ``.npz`` files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from dp_core.errors import DataError
from dp_core.interfaces import BaseDataset, modality_of
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_core.shape_meta import keys_of_type
from torch import Tensor

if TYPE_CHECKING:
    from dp_kestrel.config import DatasetOptions

Shapes = dict[str, tuple[int, ...]]
"""The shape of one step of each observation and of ``action``, by key."""
Episode = dict[str, Tensor]
"""``{key: (steps, *shape)}``: images uint8, everything else float32."""


class KestrelDataset(BaseDataset):
    """Keeps all episodes in memory. Windows that reach over the border of one repeat its first or last step."""

    def __init__(self, config: DatasetOptions, *, shape_meta: dict[str, Any]) -> None:
        self.shape_meta = shape_meta
        self._config = config
        specs = {**shape_meta["obs"], "action": shape_meta["action"]}
        shapes = {key: tuple(spec["shape"]) for key, spec in specs.items()}
        self._images = keys_of_type(shape_meta, "rgb")
        if config.path is None:
            episodes = _random_walks(shapes, self._images)
        else:
            episodes = [_read(path, shapes, self._images) for path in sorted(config.path.glob("*.npz"))]
        self._data = {key: torch.cat([episode[key] for episode in episodes]) for key in shapes}
        self._lengths = [len(episode["action"]) for episode in episodes]
        n_train = max(0, len(episodes) - config.n_val_episodes)
        self._windows = self._windows_of(range(n_train))
        self._held_out = range(n_train, len(episodes))

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one window: ``{"obs": {key: (To, *shape)}, "action": (Tp, Da)}``."""
        batch = self.__getitems__([index])
        return {"obs": {key: values[0] for key, values in batch["obs"].items()}, "action": batch["action"][0]}

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """Gather many windows at once: ``{"obs": {key: (B, To, *shape)}, "action": (B, Tp, Da)}``."""
        start, first, last = self._windows[indices].T[:, :, None]
        rows = (start + torch.arange(self._config.horizon)).clamp(first, last)  # (B, Tp)
        observed = rows[:, : self._config.n_obs_steps]
        obs = {key: self._data[key][observed] for key in self.shape_meta["obs"]}
        return {"obs": obs, "action": self._data["action"][rows]}

    def get_normalizer(self) -> LinearNormalizer:
        """Fit a normalizer that scales actions by their limits, and observations as their modality says."""
        normalizer = LinearNormalizer(self.shape_meta)
        for key in self.shape_meta["obs"]:
            modality = modality_of(self.shape_meta, key)
            if modality.is_scaled:
                normalizer[key] = modality.fit(self._data[key])
        normalizer["action"] = SingleFieldLinearNormalizer.create_fit(self._data["action"])
        return normalizer

    def get_validation_dataset(self) -> KestrelDataset:
        """Return the windows of the episodes held out."""
        validation = copy.copy(self)
        validation._windows = self._windows_of(self._held_out)
        return validation

    def _windows_of(self, episodes: range) -> Tensor:
        """Where windows start, and the first and last row of their episode, (windows, 3): now can be every step."""
        config, windows = self._config, []
        for episode in episodes:
            first = sum(self._lengths[:episode])
            last = first + self._lengths[episode] - 1
            latest = last + config.n_action_steps - config.horizon
            windows += [(start, first, last) for start in range(first - (config.n_obs_steps - 1), latest + 1)]
        return torch.tensor(windows, dtype=torch.int64).reshape(-1, 3)


def _read(path: Path, shapes: Shapes, images: list[str]) -> Episode:
    episode = {}
    with np.load(path) as file:
        for key, shape in shapes.items():
            found = file.get(key)
            if found is None or found.shape[1:] != shape:
                what = "nothing" if found is None else f"shape {found.shape}"
                raise DataError(f"{path}: '{key}': found {what}; expected shape (steps, {', '.join(map(str, shape))})")
            if key in images and found.dtype != np.uint8:
                raise DataError(f"{path}: '{key}': found images of {found.dtype}; expected uint8")
            episode[key] = torch.from_numpy(found if key in images else found.astype(np.float32))
    if len({len(values) for values in episode.values()}) > 1:
        lengths = ", ".join(f"'{key}' {len(values)}" for key, values in episode.items())
        raise DataError(f"{path}: found steps: {lengths}; expected the same number of all")
    return episode


def _random_walks(shapes: Shapes, images: list[str], n_episodes: int = 5, n_steps: int = 40) -> list[Episode]:
    """Made up, the same every time."""
    generator = torch.Generator().manual_seed(0)
    episodes = []
    for _ in range(n_episodes):
        episode = {key: torch.randn(n_steps, *shape, generator=generator).cumsum(0) for key, shape in shapes.items()}
        for key in images:
            episode[key] = torch.randint(256, (n_steps, *shapes[key]), dtype=torch.uint8, generator=generator)
        episodes.append(episode)
    return episodes
