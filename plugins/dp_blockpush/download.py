"""Gets the published demonstrations of block pushing, and makes sure that they are complete."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dp_blockpush.shapes import published_name
from dp_core.errors import DataError
from dp_core.kit.files.archive import Wanted, take
from dp_replay.store import open_store

ADDRESS = "https://diffusion-policy.cs.columbia.edu/data/training/block_pushing.zip"
N_DEMONSTRATIONS = 1000


def download(
    output: Path, *, abs_action: bool, source: str = ADDRESS, n_demonstrations: int = N_DEMONSTRATIONS
) -> Iterator[str]:
    """Put a replay buffer into the folder ``output`` unless it is there; yield a line about it when it is.

    Args:
        abs_action: get that with absolute positions; False: with steps.
        source: see `take`.
        n_demonstrations: that it has to have.

    Raises:
        DataError, DownloadError: see `take`.
    """
    name = published_name(abs_action)
    check = partial(check_buffer, n_demonstrations=n_demonstrations)
    return take(source, [Wanted(name=name, target=output / name, check=check)])


def check_buffer(path: Path, *, n_demonstrations: int) -> str:
    """Raise `DataError` unless a replay buffer has so many demonstrations, and what configs read; say what it has."""
    with open_store(path) as store:
        store.require(("obs", "action"))
        n_found, n_steps = len(store.episode_ends), int(store.episode_ends[-1])
    if n_found != n_demonstrations:
        raise DataError(f"{path}: has {n_found} demonstrations; expected {n_demonstrations}")
    return f"{n_found} demonstrations, {n_steps} steps"
