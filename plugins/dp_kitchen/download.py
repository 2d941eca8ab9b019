"""Gets the published demonstrations of the Franka kitchen, and makes sure that they are complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from dp_core.errors import DataError
from dp_core.kit.files.archive import Wanted, take
from dp_kitchen.dataset import load_array
from dp_kitchen.shapes import ARRAYS, FOLDER, LOGS, STARTS

ADDRESS = "https://diffusion-policy.cs.columbia.edu/data/training/kitchen.zip"
N_DEMONSTRATIONS = 566


def download(
    output: Path, *, abs_action: bool, source: str = ADDRESS, n_demonstrations: int = N_DEMONSTRATIONS
) -> Iterator[str]:
    """Put what configs read into the folder ``output``, unless it is there; yield a line about each when it is.

    That is the starts of training episodes, and logs or arrays.

    Args:
        abs_action: get the logs, with joint positions; False: the arrays, with joint velocities.
        source: see `take`.
        n_demonstrations: that arrays have to have. The published archive says of itself how many logs it has.

    Raises:
        DataError, DownloadError: see `take`.
    """
    checks: dict[str, Callable[[Path], str]] = {f"{FOLDER}/{name}": check_array for name in STARTS}
    if abs_action:
        checks[LOGS] = check_logs
    else:
        check = partial(check_array, n_demonstrations=n_demonstrations)
        checks |= {f"{FOLDER}/{name}": check for name in ARRAYS}
    return take(source, [Wanted(name=name, target=output / name, check=check) for name, check in checks.items()])


def check_array(path: Path, *, n_demonstrations: int | None = None) -> str:
    """Raise `DataError` unless this is an array, if asked with so many demonstrations; say its shape.

    They are its first or its second dimension, see `dp_kitchen.dataset.load_arrays`.
    """
    shape = load_array(path).shape
    if n_demonstrations is not None and n_demonstrations not in shape[:2]:
        raise DataError(f"{path}: has shape {shape}; expected {n_demonstrations} demonstrations")
    return f"an array {shape}"


def check_logs(folder: Path) -> str:
    """Raise `DataError` unless there are logs; say how many."""
    n_logs = sum(1 for _ in folder.rglob("*.mjl"))
    if not n_logs:
        raise DataError(f"{folder}: has no .mjl logs")
    return f"{n_logs} logs"
