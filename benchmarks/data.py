"""How long it takes to assemble a batch of Push-T images: one gather, against one window at a time.

    python benchmarks/data.py [--path data/pusht.zip] [--batch-size 64]

One window at a time is how data loaders usually work, and how the original code does: all steps of the window, images
as float32 divided by 255, stacked to a batch at the end. Compare ratios; times depend on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import default_collate

from dp_pusht.config import PushTDatasetConfig
from dp_pusht.dataset import PushTDataset
from dp_pusht.shapes import ACTION_SHAPE, OBSERVATIONS

N_BATCHES = 30


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, help="the published archive; default: the project's demonstrations")
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()

    observed, whole = (make_dataset(arguments.path, full) for full in (False, True))
    random = np.random.default_rng(0)
    batches = [random.integers(len(observed), size=arguments.batch_size).tolist() for _ in range(N_BATCHES)]
    ways: dict[str, Callable[[list[int]], Any]] = {
        "one window at a time, 16 steps as float32": lambda batch: default_collate([as_float(whole[i]) for i in batch]),
        "one window at a time, 2 steps as uint8": lambda batch: default_collate([observed[i] for i in batch]),
        "one gather, 16 steps as uint8": whole.__getitems__,
        "one gather, 2 steps as uint8": observed.__getitems__,
    }
    seconds = {name: median_seconds(way, batches) for name, way in ways.items()}
    slowest = max(seconds.values())
    print(f"batch of {arguments.batch_size} windows, median of {N_BATCHES}")
    for name, value in seconds.items():
        print(f"{name:45s} {value * 1000:8.2f} ms  x {slowest / value:6.1f}")


def make_dataset(path: Path | None, full_obs_horizon: bool) -> PushTDataset:
    """The image task of the paper."""
    config = PushTDatasetConfig(
        path=path, horizon=16, n_obs_steps=2, n_action_steps=8, full_obs_horizon=full_obs_horizon
    )
    obs = {key: OBSERVATIONS[key] for key in ("image", "agent_pos")}
    return PushTDataset(config, shape_meta={"obs": obs, "action": {"shape": ACTION_SHAPE}})


def as_float(item: dict[str, Any]) -> dict[str, Any]:
    """Images as float32 in [0, 1]."""
    return {**item, "obs": {**item["obs"], "image": item["obs"]["image"].float() / 255}}


def median_seconds(way: Callable[[list[int]], Any], batches: Sequence[list[int]]) -> float:
    """Of one batch."""
    way(batches[0])
    times = []
    for batch in batches:
        start = time.perf_counter()
        way(batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
