"""Checks `shape_meta`, which says what a task observes and does, and answers the usual questions about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dp_core.errors import quoted

TYPES = ("rgb", "low_dim")
IMAGES = ("rgb", "depth")
"""Modalities whose observations are images (C, H, W)."""


def keys_of_type(shape_meta: Mapping[str, Any], wanted: str) -> list[str]:
    """List the observation keys of type ``"rgb"`` or ``"low_dim"`` in the order of `shape_meta`, that of features."""
    return [key for key in shape_meta["obs"] if obs_type(shape_meta, key) == wanted]


def image_keys(shape_meta: Mapping[str, Any]) -> list[str]:
    """List the observation keys that are images (C, H, W), of colours or of depth, in the order of `shape_meta`."""
    return [key for key in shape_meta["obs"] if obs_type(shape_meta, key) in IMAGES]


def obs_type(shape_meta: Mapping[str, Any], key: str) -> str:
    """Return the type of an observation key, ``"rgb"`` or ``"low_dim"``; `dp_core.observations` says what they mean."""
    return str(shape_meta["obs"][key].get("type", "low_dim"))


def obs_shape(shape_meta: Mapping[str, Any], key: str) -> tuple[int, ...]:
    """Return the shape of one observation of ``key`` at one time step; (C, H, W) for images."""
    return tuple(shape_meta["obs"][key]["shape"])


def action_dim(shape_meta: Mapping[str, Any]) -> int:
    """Return Da, the size of an action."""
    return int(shape_meta["action"]["shape"][0])


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
    if not isinstance(value, Mapping):
        yield "", f"expected a mapping with 'obs' and 'action', got {value!r}"
        return
    for key in value:
        if key not in ("obs", "action"):
            yield str(key), "unknown key; expected 'obs' and 'action'"
    obs = value.get("obs")
    if not isinstance(obs, Mapping) or not obs:
        yield "obs", f"expected a mapping of observation keys, got {obs!r}"
    else:
        for key, spec in obs.items():
            yield from _spec_problems(f"obs.{key}", spec)
    yield from _spec_problems("action", value.get("action"), lengths=(1,), types=())


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
    for key, asked in shape_meta["obs"].items():
        if key not in observations:
            yield f"shape_meta.obs has '{key}', which {task} does not give; choose from {quoted(observations)}"
            continue
        wanted, given = (f"{spec.get('type', 'low_dim')} {list(spec['shape'])}" for spec in (asked, observations[key]))
        if wanted != given:
            yield f"shape_meta.obs.{key} is {wanted}; {task} gives {given}"
    if (size := list(shape_meta["action"]["shape"])) != list(action_shape):
        yield f"shape_meta.action is {size}; actions of {task} are {list(action_shape)}: {meaning}"


def _spec_problems(
    path: str, spec: Any, lengths: tuple[int, ...] = (), types: tuple[str, ...] = TYPES
) -> Iterable[tuple[str, str]]:
    if not isinstance(spec, Mapping) or "shape" not in spec:
        yield path, f"expected a mapping with 'shape', got {spec!r}"
        return
    for key in spec:
        if key != "shape" and not (types and key == "type"):
            yield f"{path}.{key}", "unknown key; expected 'shape'" + (" and 'type'" if types else "")
    kind = spec.get("type", "low_dim")
    name = path.removeprefix("obs.")
    if kind == "rgb" and "." in name:
        yield path, f"the key of a camera names a part of the encoder and has no dots; write '{name.replace('.', '_')}'"
    if types and kind not in types:
        yield f"{path}.type", f"expected 'rgb' or 'low_dim', got {kind!r}"
    shape = spec["shape"]
    if not isinstance(shape, list | tuple) or not shape or not all(type(n) is int and n > 0 for n in shape):
        yield f"{path}.shape", f"expected a list of positive whole numbers, got {shape!r}"
    elif kind == "rgb" and len(shape) != 3:
        yield f"{path}.shape", f"expected [channels, height, width] for an image, got {list(shape)}"
    elif lengths and len(shape) not in lengths:
        yield f"{path}.shape", f"expected one number, the size of an action, got {list(shape)}"
