"""Data sets whose windows have the right shapes and the wrong steps, and one that is right."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp_core.interfaces import BaseDataset
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer


class Walks(BaseDataset):
    """Is right. Reads a folder with a file for each episode, and holds the last of them out."""

    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        self.shape_meta, self.config = shape_meta, config
        episodes = [dict(np.load(path)) for path in sorted(config.folder.glob("*.npz"))]
        self.lengths = [len(episode["action"]) for episode in episodes]
        self.data = {
            key: torch.from_numpy(np.concatenate([episode[key] for episode in episodes])) for key in episodes[0]
        }
        self.windows = self.windows_of(range(len(episodes) - 1))
        self.held_out = self.windows_of(range(len(episodes) - 1, len(episodes)))

    def windows_of(self, episodes: range) -> list[Tensor]:
        """The rows of every window."""
        windows = []
        for episode in episodes:
            first = sum(self.lengths[:episode])
            for start in range(first - 1, first + self.lengths[episode] - 2):
                windows.append(self.steps(start, first, first + self.lengths[episode] - 1))
        return windows

    def steps(self, start: int, first: int, last: int) -> Tensor:
        return torch.arange(start, start + self.config.horizon).clamp(first, last)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.__getitems__([index])
        return {"obs": {key: value[0] for key, value in batch["obs"].items()}, "action": batch["action"][0]}

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        rows = torch.stack([self.windows[index] for index in indices])
        return {
            "obs": {key: self.data[key][rows] for key in self.shape_meta["obs"]},
            "action": self.data["action"][rows],
        }

    def get_normalizer(self) -> LinearNormalizer:
        normalizer = LinearNormalizer(self.shape_meta)
        for key, values in self.data.items():
            normalizer[key] = self.field(values)
        return normalizer

    def field(self, values: Tensor) -> SingleFieldLinearNormalizer:
        if values.dtype == torch.uint8:
            return SingleFieldLinearNormalizer.create_image()
        return SingleFieldLinearNormalizer.create_fit(values, last_n_dims=values.ndim - 1)

    def get_validation_dataset(self) -> BaseDataset:
        validation = copy.copy(self)
        validation.windows = self.held_out
        return validation


class Late(Walks):
    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        for last, length in zip(np.cumsum(self.lengths), self.lengths, strict=True):
            self.data["action"][last - length + 1 : last] = self.data["action"][last - length : last - 1].clone()


class Overrunning(Walks):
    def steps(self, start: int, first: int, last: int) -> Tensor:
        return torch.arange(start, start + self.config.horizon).clamp(0, sum(self.lengths) - 1)


class Blank(Walks):
    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        self.data = {key: torch.cat([value, torch.zeros_like(value[:1])]) for key, value in self.data.items()}

    def steps(self, start: int, first: int, last: int) -> Tensor:
        steps = torch.arange(start, start + self.config.horizon)
        return torch.where((steps < first) | (steps > last), sum(self.lengths), steps)


class Leaky(Walks):
    """Holds out every fourth window, whatever its episode."""

    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        windows = self.windows_of(range(len(self.lengths)))
        self.held_out = windows[::4]
        self.windows = [window for number, window in enumerate(windows) if number % 4]


class Selfsame(Walks):
    def get_validation_dataset(self) -> BaseDataset:
        return self


class Shuffling(Walks):
    """Draws which episode is held out, each time another."""

    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        last = int(np.random.randint(2, len(self.lengths)))
        self.windows, self.held_out = self.windows_of(range(last)), self.windows_of(range(last, last + 1))


class Drawing(Walks):
    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        np.random.random()
        return super().__getitems__(indices)


class Dividing(Walks):
    def field(self, values: Tensor) -> SingleFieldLinearNormalizer:
        if values.dtype == torch.uint8:
            return super().field(values)
        mean, std, limits = values.mean(0), values.std(0), {"min": values.amin(0), "max": values.amax(0)}
        return SingleFieldLinearNormalizer.create_manual(1 / std, -mean / std, {**limits, "mean": mean, "std": std})


class Keeping(Walks):
    """Forgets on the way to a worker which steps are whose."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"windows": self.windows[1:]}
