"""Assembling a batch of Push-T images: one gather, against one window at a time; and the memory that the data take.

    python benchmarks/data.py [--path data/pusht.zip] [--batch-size 64]

One window at a time is how data loaders usually work: all steps of the window, images kept as float32, divided by 255,
stacked to a batch at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import default_collate

from common import Compared, Report, Settings, Table, compare, parse, take_turns
from dp_pusht.dataset import load_archive, load_compact
from dp_pusht.demonstrations import SHIPPED
from dp_pusht.shapes import ACTION_SHAPE, OBSERVATIONS
from dp_replay.buffer import ReplayBuffer
from dp_replay.config import WindowOptions
from dp_replay.dataset import ReplayDataset
from dp_replay.sampler import create_indices
from plain import PlainWindows

KEYS = ("image", "agent_pos")
HORIZON, N_OBS_STEPS, N_ACTION_STEPS = 16, 2, 8
PLAIN, OURS = "plain: one window at a time, 16 steps, float32", "ours: one gather, the 2 observed steps, uint8"
AS_FLOAT = "ours, and divided by 255"
_QUICK_STEPS = 100


def main(argv: Sequence[str] | None = None) -> None:
    """Print the time and the memory."""
    settings = parse(__doc__ or "", argv, rounds=30, add=_add_options)
    report = Report("data", settings)
    buffer = _random_buffer() if settings.quick else _load(settings.options.path)
    data = {key: np.asarray(buffer[key]) for key in (*KEYS, "action")}
    indices = create_indices(buffer.episode_ends, HORIZON, pad_before=N_OBS_STEPS - 1, pad_after=N_ACTION_STEPS - 1)
    plain = PlainWindows(data, indices, HORIZON)
    observed, whole = (_dataset(buffer, full_obs_horizon) for full_obs_horizon in (False, True))
    batch_size = 4 if settings.quick else settings.options.batch_size
    report.add(_time(plain, observed, whole, batch_size, settings))
    memory = {PLAIN: _nbytes(plain.arrays), OURS: _nbytes(data)}
    report.add(Table("memory of all demonstrations", PLAIN, {name: [size] for name, size in memory.items()}, "MB"))
    report.finish()


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--path", type=Path, help="the published archive; default: the project's demonstrations")
    parser.add_argument("--batch-size", type=int, default=64, help="windows; default 64")


def _time(
    plain: PlainWindows, observed: ReplayDataset, whole: ReplayDataset, batch_size: int, settings: Settings
) -> Table:
    ways: dict[str, Callable[[list[int]], Any]] = {
        PLAIN: lambda batch: default_collate([plain[i] for i in batch]),
        "one window at a time, the 2 observed steps, uint8": lambda batch: default_collate(
            [observed[i] for i in batch]
        ),
        "one gather, 16 steps, uint8": whole.__getitems__,
        OURS: observed.__getitems__,
        AS_FLOAT: lambda batch: observed.__getitems__(batch)["obs"]["image"].float() / 255,
    }
    first = list(range(0, len(plain), len(plain) // batch_size))[:batch_size]
    for way in ways.values():
        way(first)
    compared = _compare(ways[PLAIN](first), observed.__getitems__(first))
    turns = {name: _next_batch(way, len(plain), batch_size, seed) for seed, (name, way) in enumerate(ways.items())}
    return Table(f"batch of {batch_size} windows", PLAIN, take_turns(turns, settings.rounds), "ms", compared)


def _next_batch(way: Callable[[list[int]], Any], n_windows: int, batch_size: int, seed: int) -> Callable[[], Any]:
    """Batches of its own for each contender: what another one has just read would be in the processor's caches."""
    random = np.random.default_rng(seed)
    return lambda: way(random.integers(n_windows, size=batch_size).tolist())


def _compare(plain: Mapping[str, Any], ours: Mapping[str, Any]) -> list[Compared]:
    """The same windows: the observed steps of the plain ones, and all actions."""
    obs = {key: value[:, :N_OBS_STEPS] for key, value in plain["obs"].items()}
    return [
        compare("images in [0, 1]", obs["image"], ours["obs"]["image"].float() / 255, 1e-6),
        compare("positions", obs["agent_pos"], ours["obs"]["agent_pos"], 0),
        compare("actions", plain["action"], ours["action"], 0),
    ]


def _load(path: Path | None) -> ReplayBuffer:
    return load_compact(SHIPPED, KEYS) if path is None else load_archive(path, KEYS)


def _random_buffer() -> ReplayBuffer:
    random = np.random.default_rng(0)
    shape = (_QUICK_STEPS, *OBSERVATIONS["image"]["shape"])
    data: dict[str, NDArray[Any]] = {
        "image": random.integers(256, size=shape, dtype=np.uint8),
        "agent_pos": random.random((_QUICK_STEPS, 2), np.float32),
        "action": random.random((_QUICK_STEPS, 2), np.float32),
    }
    return ReplayBuffer(data, np.array([_QUICK_STEPS // 2, _QUICK_STEPS]))


def _dataset(buffer: ReplayBuffer, full_obs_horizon: bool) -> ReplayDataset:
    options = WindowOptions(
        horizon=HORIZON,
        n_obs_steps=N_OBS_STEPS,
        n_action_steps=N_ACTION_STEPS,
        full_obs_horizon=full_obs_horizon,
        val_ratio=0.0,
    )
    shape_meta = {"obs": {key: OBSERVATIONS[key] for key in KEYS}, "action": {"shape": ACTION_SHAPE}}
    return ReplayDataset(options, buffer, shape_meta=shape_meta, source="benchmark")


def _nbytes(arrays: Mapping[str, NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays.values())


if __name__ == "__main__":
    main()
