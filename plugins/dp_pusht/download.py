"""Gets the published human demonstrations of Push-T, and makes sure that they are complete."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from dp_core.atomic import whole_file
from dp_core.errors import DataError, DownloadError
from dp_core.kit.files.download import checked, fetch, is_address, open_local
from dp_replay.store import open_store

ADDRESS = "https://diffusion-policy.cs.columbia.edu/data/training/pusht.zip"
N_EPISODES, N_STEPS = 206, 25_650
KEYS = ("action", "img", "keypoint", "state")

_ELSEWHERE = "download it on a machine that can reach it, then: dp-data download pusht --source FILE"


def download(source: str, output: Path, *, n_episodes: int | None = N_EPISODES, n_steps: int | None = N_STEPS) -> None:
    """Fetch the archive to ``output``, which exists afterwards only if it is complete.

    Args:
        source: an address, or the path of a file that was downloaded elsewhere.
        n_episodes: see `check_archive`.

    Raises:
        DataError: ``source`` cannot be read, or is not the archive.
    """
    check = partial(check_archive, n_episodes=n_episodes, n_steps=n_steps)
    try:
        with whole_file(output) as temporary:
            if is_address(source):
                fetch(source, temporary, otherwise=_ELSEWHERE)
            else:
                with open_local(source) as content, temporary.open("wb") as file:
                    shutil.copyfileobj(content, file)
            checked(check, temporary, source=source, target=output)
    except DownloadError as error:
        raise DataError(str(error)) from error


def check_archive(path: Path, *, n_episodes: int | None = N_EPISODES, n_steps: int | None = N_STEPS) -> None:
    """Raise `DataError` unless ``path`` holds the demonstrations, with these numbers of episodes and steps."""
    with open_store(path) as store:
        store.require(KEYS)
        found = len(store.episode_ends), int(store.episode_ends[-1])
    for number, expected, unit in zip(found, (n_episodes, n_steps), ("episodes", "steps"), strict=True):
        if expected is not None and number != expected:
            raise DataError(f"{path}: has {number} {unit}; expected {expected}")
