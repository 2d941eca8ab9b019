"""The usual questions about `shape_meta`, which says what a task observes and does.

Each observation is of a modality: a component of the kind ``modality``, named by ``type``. In a config that is resolved
with everything else (`ShapeMeta`); plain containers, from Python, are looked up here among what is installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dp_core.config.declared import is_image
from dp_core.config.fields import Slot
from dp_core.config.task import DEFAULT_TYPE, ComponentSource, ShapeMeta
from dp_core.errors import ConfigError, quoted

__all__ = [
    "ShapeMeta",
    "action_dim",
    "crop_problems",
    "image_keys",
    "keys_of_type",
    "keys_once_per_episode",
    "modality_slot",
    "obs_shape",
    "obs_type",
    "shape_meta_problems",
    "subset",
    "task_problems",
]

_installed: list[ComponentSource] = []
"""What was found when a plain `shape_meta` was looked up first."""
_looked_up: dict[str, ShapeMeta] = {}
"""Tasks of one observation each, by what their entries say."""


def keys_of_type(shape_meta: Mapping[str, Any], wanted: str) -> list[str]:
    """List the observation keys of a modality, such as ``"rgb"``, in the order of `shape_meta`, that of features.

    Args:
        wanted: its short name, or its qualified one.
    """
    if "/" in wanted:
        names = {key: modality_slot(shape_meta, key).component.qualified_name for key in shape_meta["obs"]}
        return [key for key, name in names.items() if name == wanted]
    return [key for key in shape_meta["obs"] if obs_type(shape_meta, key) == wanted]


def image_keys(shape_meta: Mapping[str, Any]) -> list[str]:
    """List the observation keys that are images (C, H, W), as their modalities say, in the order of `shape_meta`.

    Raises:
        ConfigError: of plain containers: a modality is not installed, or refuses what is said of its key.
    """
    return [key for key in shape_meta["obs"] if is_image(modality_slot(shape_meta, key).component)]


def obs_type(shape_meta: Mapping[str, Any], key: str) -> str:
    """Return the short name of the modality of an observation, ``"rgb"`` or ``"low_dim"``, for example."""
    return str(shape_meta["obs"][key].get("type", DEFAULT_TYPE)).rpartition("/")[2]


def obs_shape(shape_meta: Mapping[str, Any], key: str) -> tuple[int, ...]:
    """Return the shape of one observation of ``key`` at one time step; (C, H, W) for images."""
    return tuple(shape_meta["obs"][key]["shape"])


def action_dim(shape_meta: Mapping[str, Any]) -> int:
    """Return Da, the size of an action."""
    return int(shape_meta["action"]["shape"][0])


def keys_once_per_episode(shape_meta: Mapping[str, Any]) -> list[str]:
    """List the observation keys with ``when: episode``: what is observed once, at its begin, such as a goal."""
    return [key for key, spec in shape_meta["obs"].items() if spec.get("when") == "episode"]


def subset(shape_meta: Mapping[str, Any], keys: Iterable[str]) -> ShapeMeta:
    """Return a `shape_meta` with some of the observations, as a part of an encoder sees it.

    Raises:
        KeyError: there is no such key.
        ConfigError: a modality is not installed, or refuses what is said of its key.
    """
    slots = {key: modality_slot(shape_meta, key) for key in keys}
    return ShapeMeta({**shape_meta, "obs": {key: shape_meta["obs"][key] for key in slots}}, slots)


def modality_slot(shape_meta: Mapping[str, Any], key: str) -> Slot:
    """Return the modality of an observation, with its options; `dp_core.interfaces.modality_of` builds it.

    Raises:
        ConfigError: of plain containers: no such modality is installed, or it refuses what is said of the key.
    """
    return _task_of(shape_meta, key).modalities[key]


def built_modality(shape_meta: Mapping[str, Any], key: str) -> Any:
    """Return the modality of an observation, made when it is asked for first; `dp_core.interfaces.modality_of`.

    Raises:
        ConfigError: as `modality_slot`.
    """
    task = _task_of(shape_meta, key)
    if key not in task.built:
        task.built[key] = task.modalities[key].build(shape=obs_shape(task, key))
    return task.built[key]


def _task_of(shape_meta: Mapping[str, Any], key: str) -> ShapeMeta:
    """Return ``shape_meta`` if its modalities are known, else a task of this one key, looked up among the installed."""
    if isinstance(shape_meta, ShapeMeta) and key in shape_meta.modalities:
        return shape_meta
    task = {"obs": {key: shape_meta["obs"][key]}, "action": {"shape": [1]}}
    name = repr(task)
    if name not in _looked_up:
        _looked_up[name] = _read(task)
    return _looked_up[name]


def _read(task: Any) -> ShapeMeta:
    """Resolve plain containers; where a name is not found, look again at what is installed by now."""
    from dp_core.config.structure import structure_task  # not needed where components are only listed

    if _installed:
        try:
            return structure_task(_installed[0], task, "shape_meta")
        except ConfigError as error:
            if not any(problem.path.endswith(".type") for problem in error.problems):
                raise
            _looked_up.clear()
    # By its name, as a target: the registry knows the hooks, their annotations policies, and their normalizer this.
    _installed[:] = [importlib.import_module("dp_core.registry").Registry.discover()]
    return structure_task(_installed[0], task, "shape_meta")


def crop_problems(crop_shape: tuple[int, int] | None, shape_meta: Mapping[str, Any]) -> Iterable[str]:
    """Report images that are too small to cut ``crop_shape`` (height, width) out of; None is the whole image."""
    if crop_shape is None:
        return
    for key in image_keys(shape_meta):
        _, height, width = obs_shape(shape_meta, key)
        if crop_shape[0] > height or crop_shape[1] > width:
            yield (
                f"{list(crop_shape)} is larger than the image ({height}, {width}) of '{key}'; "
                f"choose at most {height} x {width}"
            )


def shape_meta_problems(value: Any) -> Iterable[tuple[str, str]]:
    """Report what is wrong with ``value`` as a `shape_meta`: pairs of a dotted path below it and a message."""
    if isinstance(value, ShapeMeta):
        return
    try:
        _read(value)
    except ConfigError as error:
        yield from ((problem.path, problem.message) for problem in error.problems)


def task_problems(
    shape_meta: Mapping[str, Any],
    task: str,
    observations: Mapping[str, Mapping[str, Any]],
    action_shape: Sequence[int],
    meaning: str,
) -> Iterable[str]:
    """Report what a well-formed `shape_meta` asks for and a task does not have, one message each.

    Args:
        task: its name in messages, such as ``Push-T``.
        observations: what it gives, as in `shape_meta`.
        meaning: what the numbers of an action are, for the message.
    """
    for key in shape_meta["obs"]:
        if key not in observations:
            yield f"shape_meta.obs has '{key}', which {task} does not give; choose from {quoted(observations)}"
            continue
        wanted, given = (
            (obs_type(source, key), list(obs_shape(source, key))) for source in (shape_meta, {"obs": observations})
        )
        # What a task gives as numbers may be of any modality that takes numbers; an image is nothing else.
        if wanted[1] != given[1] or ("rgb" in (wanted[0], given[0]) and wanted[0] != given[0]):
            yield f"shape_meta.obs.{key} is {wanted[0]} {wanted[1]}; {task} gives {given[0]} {given[1]}"
    if (size := list(shape_meta["action"]["shape"])) != list(action_shape):
        yield f"shape_meta.action is {size}; actions of {task} are {list(action_shape)}: {meaning}"
