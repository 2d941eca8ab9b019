"""Gets the published human demonstrations of Push-T, and makes sure that they are complete."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from tqdm import tqdm

from dp_core.errors import DataError
from dp_replay.store import open_store

ADDRESS = "https://diffusion-policy.cs.columbia.edu/data/training/pusht.zip"
N_EPISODES, N_STEPS = 206, 25_650
KEYS = ("action", "img", "keypoint", "state")

_BLOCK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60
_ELSEWHERE = "download it on a machine that can reach it, then: dp-data download pusht --source FILE"


def download(source: str, output: Path, *, n_episodes: int | None = N_EPISODES, n_steps: int | None = N_STEPS) -> None:
    """Fetch the archive to ``output``, which exists afterwards only if it is complete.

    Args:
        source: an address, or the path of a file that was downloaded elsewhere.
        n_episodes: see `check_archive`.

    Raises:
        DataError: ``source`` cannot be read, or is not the archive.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        if "://" in source:
            _fetch(source, temporary)
        else:
            _copy(Path(source), temporary)
        try:
            check_archive(temporary, n_episodes=n_episodes, n_steps=n_steps)
        except DataError as error:
            reason = str(error).removeprefix(f"{temporary}: ")
            raise DataError(f"{source}: {reason}; nothing was written to '{output}'") from error
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def check_archive(path: Path, *, n_episodes: int | None = N_EPISODES, n_steps: int | None = N_STEPS) -> None:
    """Raise `DataError` unless ``path`` holds the demonstrations, with these numbers of episodes and steps."""
    with open_store(path) as store:
        store.require(KEYS)
        found = len(store.episode_ends), int(store.episode_ends[-1])
    for number, expected, unit in zip(found, (n_episodes, n_steps), ("episodes", "steps"), strict=True):
        if expected is not None and number != expected:
            raise DataError(f"{path}: has {number} {unit}; expected {expected}")


def _fetch(address: str, target: Path) -> None:
    try:
        with (
            urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as response,
            target.open("wb") as file,
        ):
            length = response.headers.get("Content-Length")
            expected = int(length) if length else None
            received = 0
            with tqdm(total=expected, desc=f"download {address}", unit="B", unit_scale=True, disable=None) as progress:
                while block := response.read(_BLOCK_BYTES):
                    file.write(block)
                    received += len(block)
                    progress.update(len(block))
    except urllib.error.HTTPError as error:
        error.close()  # it is the response, too
        raise DataError(f"{address}: the server answers {error.code} {error.reason}; {_ELSEWHERE}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(f"{address}: cannot be reached ({reason}); {_ELSEWHERE}") from error
    if expected is not None and received != expected:
        raise DataError(f"{address}: the connection ended after {received} of {expected} bytes; try again")


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror}); give a file or an address") from error
