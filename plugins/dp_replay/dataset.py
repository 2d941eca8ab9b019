"""`ReplayDataset`: windows over a replay buffer, and `ReplayFileDataset`, which reads any such file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dp_core.errors import DataError, InputError
from dp_core.interfaces import BaseDataset, modality_of
from dp_core.kit.data.numbers import finite_float32, require_resolved, require_shape
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_core.observations import Raw
from dp_core.shape_meta import keys_of_type, keys_once_per_episode, obs_shape, obs_type
from dp_replay.buffer import ReplayBuffer
from dp_replay.config import ReplayConfig, WindowOptions
from dp_replay.report import report_episodes, report_outliers
from dp_replay.sampler import SequenceSampler, downsample_mask, get_val_mask


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
            DataError: a key is absent, shapes are not those of ``shape_meta``, values are not finite, finer than
                float32 or not what the modality of their key can be, or no episode is long enough.
        """
        self.shape_meta = shape_meta
        self._config = config
        self._episode_ends = buffer.episode_ends
        self._source = source
        self._data = _stored(buffer, shape_meta, source, config.range_eps)
        once = keys_once_per_episode(shape_meta)
        per_entry = [key for key in (*keys_of_type(shape_meta, "low_dim"), "action") if key not in once]
        report_outliers({key: np.asarray(self._data[key]) for key in per_entry}, self._episode_ends, source)
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
        """Scale every entry of ``action`` by its limits, and observations as their modalities do.

        Raises:
            DataError: float32 cannot resolve an entry.
        """
        normalizer = LinearNormalizer(self.shape_meta)
        for key, values in self._data.items():
            if key != "action" and not modality_of(self.shape_meta, key).is_scaled:
                continue
            try:
                normalizer[key] = self._field_of(key, values)
            except InputError as error:
                raise DataError(f"{self._source}: '{key}': {error}") from error
        return normalizer

    def _field_of(self, key: str, values: Any) -> SingleFieldLinearNormalizer:
        if key == "action" or obs_type(self.shape_meta, key) == "low_dim":
            return self._field(key, values)
        return modality_of(self.shape_meta, key).fit(values, range_eps=self._config.range_eps)

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
        actions = self._data["action"]
        assert isinstance(actions, torch.Tensor)
        low, high = actions.aminmax(dim=0)
        return low, high

    def keep_on_device(self, device: torch.device) -> bool:
        """Move to ``device`` what takes less than half of its free memory; see `BaseDataset`."""
        needed = sum(array.nbytes for array in self._data.values() if isinstance(array, torch.Tensor))
        if device.type == "cuda" and needed > torch.cuda.mem_get_info(device)[0] // 2:
            return False
        for key in self._data:  # samplers have the same dict
            if isinstance(array := self._data[key], torch.Tensor):  # text stays on the host
                self._data[key] = array.to(device)
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
            once=keys_once_per_episode(self.shape_meta),
        )


class ReplayFileDataset(ReplayDataset):
    """Any replay buffer whose arrays are named as in ``shape_meta``."""

    def __init__(self, config: ReplayConfig, *, shape_meta: dict[str, Any]) -> None:
        images = {key: obs_shape(shape_meta, key) for key in keys_of_type(shape_meta, "rgb")}
        buffer = ReplayBuffer.load(config.path, keys=[*shape_meta["obs"], "action"], images=images)
        super().__init__(config, buffer, shape_meta=shape_meta, source=config.path)


def _stored(buffer: ReplayBuffer, shape_meta: dict[str, Any], source: str | Path, range_eps: float) -> dict[str, Raw]:
    """Bring what was recorded to the form in which it is batched: tensors, and arrays of what is no number."""
    data: dict[str, Raw] = {}
    once = keys_once_per_episode(shape_meta)
    for key in shape_meta["obs"]:
        name = f"{source}: '{key}'"
        recorded = buffer.once_per_episode(key, name) if key in once else buffer.at_each_step(key, name)
        stored = modality_of(shape_meta, key).stored(recorded, name, range_eps=range_eps)
        data[key] = stored if stored.dtype.kind == "O" else torch.from_numpy(stored)
    name = f"{source}: 'action'"
    actions = buffer.at_each_step("action", name)
    require_shape(actions, name, tuple(shape_meta["action"]["shape"]))
    converted = finite_float32(actions, name)
    require_resolved(actions, converted, name, range_eps=range_eps)
    data["action"] = torch.from_numpy(converted)
    return data


def _as_item(values: dict[str, Raw]) -> dict[str, Any]:
    return {"obs": {key: value for key, value in values.items() if key != "action"}, "action": values["action"]}
