"""Gets published demonstrations of robomimic's tasks, and makes sure that they are complete."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dp_core.errors import DataError, quoted
from dp_core.kit.files.archive import Wanted, take
from dp_robomimic.demonstrations import open_demonstrations
from dp_robomimic.published import DEMONSTRATIONS, name_of

ADDRESSES = {
    "image": "https://diffusion-policy.cs.columbia.edu/data/training/robomimic_image.zip",
    "low_dim": "https://diffusion-policy.cs.columbia.edu/data/training/robomimic_lowdim.zip",
}
"""By the observations that are in the files."""

_ARM_KEYS = ("eef_pos", "eef_quat", "gripper_qpos")
_IMAGES = {
    "transport": (
        "shouldercamera0_image",
        "robot0_eye_in_hand_image",
        "shouldercamera1_image",
        "robot1_eye_in_hand_image",
    ),
    "tool_hang": ("sideview_image", "robot0_eye_in_hand_image"),
}
_IMAGES_OF_OTHERS = ("agentview_image", "robot0_eye_in_hand_image")


def download(
    output: Path, *, task: str, demonstrations: str, observations: str, abs_action: bool, source: str | None = None
) -> Iterator[str]:
    """Put a file into the folder ``output`` unless it is there; yield a line about it when it is.

    Args:
        demonstrations: ``ph`` or ``mh``, see `DEMONSTRATIONS`.
        observations: ``image`` or ``low_dim``.
        source: see `take`; None: the published archive.

    Raises:
        DataError, DownloadError: see `take`; or nobody published such demonstrations.
    """
    if demonstrations not in DEMONSTRATIONS[task]:
        raise DataError(f"there are no demonstrations '{demonstrations}' of {task}; choose from {_there_are(task)}")
    name = name_of(task, demonstrations, observations, abs_action)
    check = partial(check_file, task=task, observations=observations, n_expected=DEMONSTRATIONS[task][demonstrations])
    wanted = Wanted(name=name, target=output / name, check=check)
    return take(source or ADDRESSES[observations], [wanted])


def check_file(path: Path, *, task: str, observations: str, n_expected: int) -> str:
    """Raise `DataError` unless a file has as many demonstrations, and all that configs read; say what it has."""
    with open_demonstrations(path) as file:
        if file.n_episodes != n_expected:
            raise DataError(f"{path}: has {file.n_episodes} demonstrations; expected {n_expected}")
        for key in ("actions", "states", *(f"obs/{key}" for key in _observation_keys(task, observations))):
            file.shape(key)
        return f"{n_expected} demonstrations of {file.env_args['env_name']}"


def _observation_keys(task: str, observations: str) -> list[str]:
    n_arms = 2 if task == "transport" else 1
    arms = [f"robot{arm}_{key}" for arm in range(n_arms) for key in _ARM_KEYS]
    return [*arms, *(_IMAGES.get(task, _IMAGES_OF_OTHERS) if observations == "image" else ["object"])]


def _there_are(task: str) -> str:
    return quoted(DEMONSTRATIONS[task])
