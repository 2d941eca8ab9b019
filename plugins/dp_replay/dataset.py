"""`ReplayDataset`: windows over a replay buffer, and `ReplayFileDataset`, which reads any such file."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dp_core.errors import DataError, InputError
from dp_core.interfaces import BaseDataset
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_core.normalizer.precision import coarse_entries, constant_entries
from dp_core.shape_meta import keys_of_type, obs_shape
from dp_replay.buffer import ReplayBuffer
from dp_replay.config import ReplayConfig, WindowOptions
from dp_replay.images import as_images
from dp_replay.report import report_episodes, report_outliers
from dp_replay.sampler import SequenceSampler, downsample_mask, get_val_mask

logger = logging.getLogger(__name__)


class ReplayDataset(BaseDataset):
    """Windows over episodes in memory. Data sets inherit from it and hand over a buffer that has what is needed.

    A window starts ``n_obs_steps - 1`` steps before its episode at the earliest, so that now can be the first step, and
    ends ``n_action_steps - 1`` steps after it at the latest.

    Other than in the original, validation uses only the episodes held out, also when ``max_train_episodes`` leaves
    some unused. As there, the normalizer is fitted to all episodes.
    """

    def __init__(
        self, config: WindowOptions, buffer: ReplayBuffer, *, shape_meta: dict[str, Any], source: str | Path
    ) -> None:
        """Take arrays over from ``buffer``.

        Args:
            buffer: has ``action`` and every key of ``shape_meta["obs"]``; images best as uint8 (N, C, H, W), which
                are not copied.
            source: where the buffer came from, for messages.

        Raises:
            DataError: shapes are not those of ``shape_meta``, values are not finite, no images or finer than float32,
                or no episode is long enough.
        """
        self.shape_meta = shape_meta
        self._config = config
        self._episode_ends = buffer.episode_ends
        self._source = source
        images = keys_of_type(shape_meta, "rgb")
        self._data = {}
        for key, shape in _shapes(shape_meta).items():
            name = f"{source}: '{key}'"
            array = (
                as_images(buffer[key], name, shape)
                if key in images
                else _as_float32(buffer[key], name, shape, config.range_eps)
            )
            self._data[key] = torch.from_numpy(array)
        low_dim = {key: values.numpy() for key, values in self._data.items() if key not in images}
        report_outliers(low_dim, self._episode_ends, source)
        val_mask = get_val_mask(buffer.n_episodes, config.val_ratio, config.seed)
        train_mask = downsample_mask(~val_mask, config.max_train_episodes, config.seed)
        self._val_mask = val_mask
        self._sampler = self._sampler_of(train_mask)
        report_episodes(
            config,
            np.diff(self._episode_ends, prepend=0),
            train=train_mask,
            held_out=val_mask,
            n_windows=len(self),
            source=source,
        )

    def __len__(self) -> int:
        return len(self._sampler)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        window = self._sampler.sample([index])
        return _as_item({key: values[0] for key, values in window.items()})

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        return _as_item(self._sampler.sample(indices))

    def get_normalizer(self) -> LinearNormalizer:
        """Scale every entry of ``action`` and of low-dimensional keys by its limits, and images by their range.

        Raises:
            DataError: float32 cannot resolve an entry.
        """
        normalizer = LinearNormalizer(self.shape_meta)
        images = keys_of_type(self.shape_meta, "rgb")
        for key, values in self._data.items():
            try:
                field = SingleFieldLinearNormalizer.create_image() if key in images else self._field(key, values)
            except InputError as error:
                raise DataError(f"{self._source}: '{key}': {error}") from error
            normalizer[key] = field
        return normalizer

    def _field(self, key: str, values: torch.Tensor) -> SingleFieldLinearNormalizer:
        """Choose how to scale ``action`` or a low-dimensional key, whose values are (N, *shape)."""
        return SingleFieldLinearNormalizer.create_fit(
            values, last_n_dims=values.ndim - 1, range_eps=self._config.range_eps
        )

    def get_validation_dataset(self) -> ReplayDataset:
        validation = copy.copy(self)
        validation._sampler = self._sampler_of(self._val_mask)
        return validation

    def action_limits(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the smallest and largest action, (Da,) each, over all episodes, those held out included."""
        low, high = self._data["action"].aminmax(dim=0)
        return low, high

    def keep_on_device(self, device: torch.device) -> bool:
        """Move to ``device`` what takes less than half of its free memory; see `BaseDataset`."""
        needed = sum(array.nbytes for array in self._data.values())
        if device.type == "cuda" and needed > torch.cuda.mem_get_info(device)[0] // 2:
            return False
        for key in self._data:  # samplers have the same dict
            self._data[key] = self._data[key].to(device)
        return True

    def _sampler_of(self, episode_mask: NDArray[np.bool_]) -> SequenceSampler:
        config = self._config
        obs_steps = config.horizon if config.full_obs_horizon else config.n_obs_steps
        return SequenceSampler(
            self._data,
            self._episode_ends,
            sequence_length=config.horizon,
            pad_before=config.n_obs_steps - 1,
            pad_after=config.n_action_steps - 1,
            key_first_k=dict.fromkeys(self.shape_meta["obs"], obs_steps),
            episode_mask=episode_mask,
        )


class ReplayFileDataset(ReplayDataset):
    """Any replay buffer whose arrays are named as in ``shape_meta``."""

    def __init__(self, config: ReplayConfig, *, shape_meta: dict[str, Any]) -> None:
        images = {key: obs_shape(shape_meta, key) for key in keys_of_type(shape_meta, "rgb")}
        buffer = ReplayBuffer.load(config.path, keys=_shapes(shape_meta), images=images)
        super().__init__(config, buffer, shape_meta=shape_meta, source=config.path)


def _shapes(shape_meta: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of one step of every key, ``action`` last."""
    shapes = {key: obs_shape(shape_meta, key) for key in shape_meta["obs"]}
    return shapes | {"action": tuple(shape_meta["action"]["shape"])}


def _as_float32(values: NDArray[Any], name: str, shape: tuple[int, ...], range_eps: float) -> NDArray[np.float32]:
    """Check (N, *shape) and convert it; no copy where it is float32 already."""
    if values.shape[1:] != shape:
        raise DataError(f"{name} has shape {values.shape[1:]} in each step; shape_meta says {shape}")
    if values.dtype.kind not in "fiub":
        raise DataError(f"{name} is {values.dtype}; expected numbers")
    with np.errstate(over="ignore"):  # becomes infinite, and is found below
        converted = np.ascontiguousarray(values, dtype=np.float32)
    finite = np.isfinite(converted).reshape(len(converted), -1).all(axis=1)
    if not finite.all():
        raise DataError(f"{name} has NaN or infinite values, first in step {np.argmin(finite)}; fix or remove them")
    if len(values) and not np.can_cast(values.dtype, np.float32):
        _check_rounding(values, converted, name, range_eps)
    return converted


def _check_rounding(values: NDArray[Any], rounded: NDArray[np.float32], name: str, range_eps: float) -> None:
    """Refuse what float32 cannot resolve, and say which entries it made constant, as nobody else sees it later."""
    low, high = values.min(axis=0), values.max(axis=0)
    if problem := coarse_entries(low, high, range_eps):
        raise DataError(f"{name}: {problem}")
    vanished = rounded.min(axis=0) == rounded.max(axis=0)
    if remark := constant_entries(low, np.where(vanished, high, low), range_eps):
        logger.warning("%s: %s", name, remark)


def _as_item(values: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {"obs": {key: value for key, value in values.items() if key != "action"}, "action": values["action"]}
