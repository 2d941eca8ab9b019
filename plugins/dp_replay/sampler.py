"""Windows of fixed length over episodes, and the choice of episodes for training and validation.

The numbers (which windows exist, which episodes are drawn) are those of the original code.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dp_core.observations import Raw

_SAME_BITS = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
"""Types of equal size for those that torch can do little with."""


def create_indices(
    episode_ends: NDArray[np.int64],
    sequence_length: int,
    episode_mask: NDArray[np.bool_] | None = None,
    pad_before: int = 0,
    pad_after: int = 0,
) -> NDArray[np.int64]:
    """List every window of ``sequence_length`` steps that fits an episode extended by padding on both sides.

    Padding is limited to ``sequence_length - 1``, so that a window has at least one real step. Episodes that are too
    short with their padding have no window.

    Returns:
        (n_windows, 4): ``buffer_start, buffer_end``, the real steps; ``sample_start, sample_end``, their place in the
        window.
    """
    pad_before = min(max(pad_before, 0), sequence_length - 1)
    pad_after = min(max(pad_after, 0), sequence_length - 1)
    episode_starts = np.concatenate([[0], episode_ends[:-1]]).astype(np.int64)
    if episode_mask is not None:
        episode_starts, episode_ends = episode_starts[episode_mask], episode_ends[episode_mask]
    n_windows = np.maximum(episode_ends - episode_starts - sequence_length + pad_before + pad_after + 1, 0)
    first, end = np.repeat(episode_starts, n_windows), np.repeat(episode_ends, n_windows)
    rank_in_episode = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    window_start = first - pad_before + rank_in_episode
    buffer_start = np.maximum(window_start, first)
    buffer_end = np.minimum(window_start + sequence_length, end)
    return np.stack([buffer_start, buffer_end, buffer_start - window_start, buffer_end - window_start], axis=1)


def get_val_mask(n_episodes: int, val_ratio: float, seed: int = 0) -> NDArray[np.bool_]:
    """Draw the episodes held out for validation, (n_episodes,): at least one, and never all, unless the ratio is 0."""
    mask = np.zeros(n_episodes, dtype=bool)
    if val_ratio > 0:
        n_val = min(max(1, round(n_episodes * val_ratio)), n_episodes - 1)
        mask[np.random.default_rng(seed).choice(n_episodes, size=n_val, replace=False)] = True
    return mask


def downsample_mask(mask: NDArray[np.bool_], max_n: int | None, seed: int = 0) -> NDArray[np.bool_]:
    """Keep ``max_n`` of the chosen episodes, drawn at random; None, or a number not reached: all of them."""
    if max_n is None or mask.sum() <= max_n:
        return mask
    chosen = np.flatnonzero(mask)
    kept = np.zeros_like(mask)
    kept[chosen[np.random.default_rng(seed).choice(len(chosen), size=max_n, replace=False)]] = True
    return kept


class SequenceSampler:
    """Cuts windows out of arrays (N, *shape), a whole batch with one gather per key.

    Where a window reaches over the border of its episode, the first or last step is repeated.
    """

    def __init__(
        self,
        data: Mapping[str, Raw],
        episode_ends: NDArray[np.int64],
        sequence_length: int,
        pad_before: int = 0,
        pad_after: int = 0,
        key_first_k: Mapping[str, int] | None = None,
        episode_mask: NDArray[np.bool_] | None = None,
        once: Collection[str] = (),
    ) -> None:
        """Hold ``data`` without copying it.

        Args:
            key_first_k: keys of which only the first k steps of a window are needed; the others are not read.
            episode_mask: (E,), the episodes to sample from; None for all.
            once: keys whose arrays are (E, *shape), of an episode each; they are repeated at every step.
        """
        self._data = data
        self._episode_ends = episode_ends
        self._once = frozenset(once)
        self._length = sequence_length
        self._n_steps = {key: (key_first_k or {}).get(key, sequence_length) for key in data}
        self.indices = create_indices(episode_ends, sequence_length, episode_mask, pad_before, pad_after)

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, windows: Sequence[int]) -> dict[str, Raw]:
        """Gather windows by their number, on the device of the arrays: per key (B, Tp, *shape), or (B, k, *shape)."""
        steps = self.steps(windows)
        episodes = np.searchsorted(self._episode_ends, steps, side="right") if self._once else steps
        return {
            key: _gather(array, (episodes if key in self._once else steps)[:, : self._n_steps[key]])
            for key, array in self._data.items()
        }

    def steps(self, windows: Sequence[int]) -> NDArray[np.int64]:
        """Compute which steps of the arrays the windows consist of, (B, Tp)."""
        buffer_start, buffer_end, sample_start, _ = self.indices[np.asarray(windows)].T[:, :, None]
        steps = buffer_start - sample_start + np.arange(self._length)
        clipped: NDArray[np.int64] = np.clip(steps, buffer_start, buffer_end - 1)
        return clipped


def _gather(array: Raw, steps: NDArray[np.int64]) -> Raw:
    if not isinstance(array, Tensor):
        return array[steps]
    # index_select copies row by row, in several threads; indexing with a matrix is slower.
    rows = torch.from_numpy(np.ascontiguousarray(steps).reshape(-1)).to(array.device)
    plain = _SAME_BITS.get(array.dtype)
    gathered = (
        array.index_select(0, rows) if plain is None else array.view(plain).index_select(0, rows).view(array.dtype)
    )
    return gathered.reshape(*steps.shape, *array.shape[1:])
