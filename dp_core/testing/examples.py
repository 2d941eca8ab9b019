"""Small examples of what components are built with: shapes of tasks and networks, values of required options."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from dp_core.component import Component
from dp_core.config.fields import SLOT

TINY = "dp-core/tiny"
"""The name of the stand-ins of `dp_core.testing.tiny_plugin`, one for each of these kinds."""
TINY_KINDS = ("workspace", "policy", "encoder", "denoiser", "scheduler", "dataset", "runner")

WINDOW = {"horizon": 16, "n_obs_steps": 2, "n_action_steps": 8}

_STATES = {"state": {"shape": [3], "type": "low_dim"}, "grip": {"shape": [2, 2], "type": "low_dim"}}
SHAPE_METAS: dict[str, dict[str, Any]] = {
    "an image and states": {
        "obs": {"image": {"shape": [3, 96, 96], "type": "rgb"}, **_STATES},
        "action": {"shape": [2]},
    },
    "states": {"obs": _STATES, "action": {"shape": [2]}},
}

SHAPES: dict[str, tuple[int, ...]] = {
    "a number": (),
    "a vector": (3,),
    "a matrix": (16, 4),
    "an image": (3, 8, 12),
    "an image of one channel": (1, 8, 12),
}
"""Shapes of one observation, for modalities."""

_KNOWN_OPTIONS: dict[str, Any] = {
    **WINDOW,
    "num_epochs": 1,
    "max_steps": 16,
    "shape_meta": SHAPE_METAS["states"],
    "vocabulary_size": 10,
}


@attrs.frozen(kw_only=True)
class Setting:
    """The task or the network that a component is built for."""

    runtime: Mapping[str, Any] = attrs.field(factory=dict)
    """The keywords of its kind, see `dp_core.interfaces`; those that a check makes itself are left out."""
    context: Mapping[str, Any] = attrs.field(factory=dict)
    """The values that ``check`` and ``advise`` of its config may ask of the blocks around it, besides."""
    samples: Mapping[str, Callable[..., Any]] = attrs.field(factory=dict)
    """What keys of the task hold, where an author says it, see `dp_core.testing.samples.Sample`."""
    is_usual: bool = False
    """Whether it is tried because it is usual for the kind, and not because somebody says that the component fits."""


def for_task(
    shape_meta: Mapping[str, Any], samples: Mapping[str, Callable[..., Any]] | None = None, *, is_usual: bool = False
) -> Setting:
    """Make the setting of a kind that is built with ``shape_meta``; the rest is as in `Setting`."""
    return Setting(runtime={"shape_meta": shape_meta}, context=WINDOW, samples=samples or {}, is_usual=is_usual)


def of_shape(shape: Sequence[int]) -> Setting:
    """Make the setting of a modality, which is built with ``shape``; rules of its options may ask for ``key``, too."""
    return Setting(runtime={"shape": tuple(shape)}, context={"key": "observed"})


def _for_network(*, global_cond_dim: int | None = None, local_cond_dim: int | None = None, **tokens: int) -> Setting:
    sizes = {"input_dim": 2, "horizon": WINDOW["horizon"], "n_obs_steps": WINDOW["n_obs_steps"]}
    return Setting(
        runtime={**sizes, "global_cond_dim": global_cond_dim, "local_cond_dim": local_cond_dim, **tokens},
        context={
            "obs_as_global_cond": global_cond_dim is not None or bool(tokens),
            "obs_as_local_cond": local_cond_dim is not None,
            "trajectory_steps": WINDOW["horizon"],
        },
    )


_TASKS = {name: for_task(shape_meta, is_usual=True) for name, shape_meta in SHAPE_METAS.items()}
SETTINGS: dict[str, dict[str, Setting]] = {
    "encoder": _TASKS,
    "denoiser": {
        "conditioned globally": _for_network(global_cond_dim=10),
        "conditioned locally": _for_network(local_cond_dim=5),
        "unconditioned": _for_network(),
        "given tokens": _for_network(token_dim=6, n_tokens=4),  # those that take them
    },
    "modality": {name: of_shape(shape) for name, shape in SHAPES.items()},
    "policy": _TASKS,
    "dataset": _TASKS,
    "runner": _TASKS,
}
"""The settings that components of each kind are tried with, by a name for messages; none where nothing is to set."""


def complete_options(config: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Add values to ``given`` for the required options of ``config`` whose meaning is known from their name."""
    hints = typing.get_type_hints(config)
    options = dict(given)
    for field in attrs.fields(config):
        name, hint = field.name, hints[field.name]
        is_required = field.default is attrs.NOTHING and hint is not Component
        if attrs.has(hint) and SLOT not in field.metadata and hint is not Component:
            if is_required or isinstance(given.get(name), Mapping):
                options[name] = complete_options(hint, given.get(name, {}))
        elif not is_required or name in given:
            continue
        elif field.metadata.get(SLOT) in TINY_KINDS:
            options[name] = TINY
        elif name in _KNOWN_OPTIONS:
            options[name] = _KNOWN_OPTIONS[name]
    return options
