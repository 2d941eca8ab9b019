"""``dp-data expert pusht``: let the scripted expert record demonstrations."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dp_core.errors import InputError
from dp_pusht.demonstrations import Demonstration, save_demonstrations
from dp_pusht.expert.recorder import record_demonstration

Map = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]


def main(argv: Sequence[str]) -> int:
    """Record episodes, write them to one file, and return the exit status."""
    arguments = _parse(argv)
    if not arguments.output.absolute().parent.is_dir():
        raise InputError(f"--output: there is no folder '{arguments.output.absolute().parent}'; create it first")
    start = time.perf_counter()
    with _mapper(arguments.workers) as apply:
        demonstrations, n_tried = record(arguments.episodes, arguments.seed, apply)
    save_demonstrations(arguments.output, demonstrations)
    n_steps = sum(len(demonstration.action) for demonstration in demonstrations)
    print(
        f"{arguments.output}: {len(demonstrations)} episodes, {n_steps} steps, "
        f"{arguments.output.stat().st_size / 1000:.0f} kB; the expert solved {len(demonstrations)} of {n_tried} starts "
        f"in {time.perf_counter() - start:.0f} s"
    )
    return 0


def record(n_episodes: int, first_seed: int, apply: Map = map) -> tuple[list[Demonstration], int]:
    """Record from one start seed after the other until there are ``n_episodes`` successful episodes.

    Args:
        apply: as `map`; may work on several seeds at a time, but returns the results in order.

    Returns:
        The demonstrations in the order of their seeds, and the number of starts tried.
    """
    demonstrations: list[Demonstration] = []
    seed = first_seed
    with tqdm(total=n_episodes, desc="record demonstrations", unit="episode", disable=None) as progress:
        while missing := n_episodes - len(demonstrations):
            for demonstration in apply(record_demonstration, range(seed, seed + missing)):
                if demonstration is not None:
                    demonstrations.append(demonstration)
                    progress.update()
            seed += missing
    return demonstrations, seed - first_seed


@contextmanager
def _mapper(n_workers: int) -> Iterator[Map]:
    if n_workers == 0:
        yield map
        return
    with ProcessPoolExecutor(n_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool.map


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dp-data expert pusht",
        description="Record demonstrations of Push-T with the scripted expert. Equal seeds give equal files, however "
        "many workers there are.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--episodes", type=_positive, default=250, help="successful episodes to record")
    parser.add_argument(
        "--seed",
        type=_not_negative,
        default=0,
        help="start seed of the first episode; the others follow. Evaluation uses those from 100000",
    )
    parser.add_argument("--output", type=Path, default=Path("demonstrations.npz"), help="file to write")
    parser.add_argument("--workers", type=_not_negative, default=0, help="processes; 0 works in this one")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text}")
    return value
