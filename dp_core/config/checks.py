"""Parts of a run that do not fit together: steps, callbacks and their workspace, encoders and what they are given."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dp_core.component import Component
from dp_core.config.declared import IMAGES, TOKENS, gives, is_image, names_in
from dp_core.config.fields import Slot
from dp_core.config.schema import WORKSPACE_PARTS, WorkspaceConfig
from dp_core.config.task import DEFAULT_TYPE, ComponentSource, ShapeMeta
from dp_core.errors import PluginError, did_you_mean, quoted

_RULES: tuple[tuple[str, str, Callable[[int, int], bool]], ...] = (
    ("dataset", "horizon", operator.eq),
    ("dataset", "n_obs_steps", operator.ge),
    ("runner", "n_obs_steps", operator.eq),
    ("runner", "n_action_steps", operator.le),
)
"""Options of a part that have to fit those of the policy."""


def step_mismatches(policy: Slot, **parts: Slot | None) -> Iterator[tuple[str, str, int, int]]:
    """Compare the steps that are loaded, shown and executed with those of the policy: a mismatch fails in mid-run.

    Options are compared only where both sides use the usual names.

    Args:
        parts: ``dataset`` and ``runner``, as far as there are any.

    Yields:
        Part, option, its number of steps, and that of the policy.
    """
    for part, name, fits in _RULES:
        chosen = parts.get(part)
        here = getattr(chosen.config, name, None) if chosen is not None else None
        there = getattr(policy.config, name, None)
        if here is not None and there is not None and not fits(here, there):
            yield part, name, here, there


def unmet_needs(config: WorkspaceConfig) -> Iterator[tuple[str, str]]:
    """Find the callbacks that need what the workspace does not have, see `dp_core.interfaces.workspace`.

    Yields:
        The name of a callback in the config, and what is wrong with it there.

    Raises:
        PluginError: a config class names what is no part of a workspace.
    """
    workspace = config.workspace
    provided = parts_named(workspace, "provides")
    for key, callback in config.callbacks.items():
        if missing := [part for part in parts_named(callback.component, "needs") if part not in provided]:
            yield (
                key,
                f"needs {quoted(missing, ' and ')} of the workspace, which {workspace.label} does not provide; leave "
                f"the callback out or use another workspace; for authors of {workspace.label}: what it has is named in "
                f"'provides' of {workspace.config.__name__}, see dp_core.interfaces.workspace",
            )


def parts_named(component: Component, declaration: str) -> tuple[str, ...]:
    """Return the parts of a workspace that a config class names, in ``provides`` or ``needs``.

    Raises:
        PluginError: it names something else, or is no tuple of names.
    """
    parts = names_in(component, declaration, ("progress",)) or ()
    for part in parts:
        if part not in WORKSPACE_PARTS:
            where = f"{component.label} of {component.distribution}: '{declaration}' of {component.config.__name__}"
            hint = did_you_mean(part, WORKSPACE_PARTS, f"the parts are {', '.join(WORKSPACE_PARTS)}")
            raise PluginError(f"{where} names '{part}', which is no part of a workspace; {hint}")
    return parts


def untaken_keys(encoder: Component, shape_meta: Mapping[str, Any], registry: ComponentSource) -> Iterator[str]:
    """Find the keys whose type an encoder does not take, if it says which ones it takes (`BaseEncoder`).

    Args:
        registry: where the modalities of plain containers are looked up.

    Yields:
        What is wrong, for each such type.

    Raises:
        PluginError: what it says is no tuple of types.
    """
    takes = names_in(encoder, "takes", ("rgb", "low_dim"))
    if takes is None:
        return
    of_type: dict[str, list[str]] = {}
    for key, spec in shape_meta["obs"].items():
        if not isinstance(spec, Mapping):
            continue  # not of a config that was read whole, where it is refused
        type_, *others = _names_of_type(shape_meta, key, registry)
        if not {type_, *others} & set(takes):
            of_type.setdefault(type_, []).append(key)
    for type_, keys in of_type.items():
        yield (
            f"{encoder.name} takes keys of type {' and '.join(takes)}; {quoted(keys, ' and ')} "
            f"{'is' if len(keys) == 1 else 'are'} {type_}; choose another encoder, or give "
            f"{'it' if len(keys) == 1 else 'them'} to another part, see encoder 'concat'"
        )


def _names_of_type(shape_meta: Mapping[str, Any], key: str, registry: ComponentSource) -> list[str]:
    """List what the type of a key may be called in ``takes``; its short name comes first."""
    name = str(shape_meta["obs"][key].get("type", DEFAULT_TYPE))
    if isinstance(shape_meta, ShapeMeta) and key in shape_meta.modalities:
        modality = shape_meta.modalities[key].component
    else:
        try:
            modality = registry.resolve("modality", name)
        except PluginError:
            return [name.rpartition("/")[2]]
    return [modality.name, modality.qualified_name, *([IMAGES] if is_image(modality) else [])]


def untaken_tokens(encoder: Slot, denoiser: Slot) -> Iterator[str]:
    """Say that an encoder gives tokens, where it does, and a denoiser takes none; for ``check`` of policies.

    Raises:
        PluginError: one of the config classes declares something else than a contract says.
    """
    if gives(encoder) == TOKENS and TOKENS not in (names_in(denoiser.component, "takes", (TOKENS,)) or ()):
        yield (
            f"'{denoiser.component.name}' attends to no tokens, and encoder '{encoder.component.name}' gives them; "
            "choose a denoiser that does, such as 'dit1d' or 'transformer', or by the options of the encoder a vector"
        )


def needed_inputs(scheduler: Slot) -> tuple[str, ...]:
    """Return what a scheduler has its denoiser be given besides the usual, see `dp_core.interfaces.scheduler`.

    Raises:
        PluginError: ``needs`` of its config class is no tuple of names.
    """
    return _inputs_named(scheduler.component, "needs")


def untaken_inputs(denoiser: Slot, scheduler: Slot) -> Iterator[str]:
    """Find what a scheduler needs its denoiser to take and that one does not; for ``check`` of policies.

    Yields:
        What is wrong with the denoiser.

    Raises:
        PluginError: ``needs`` or ``takes`` of a config class is no tuple of names.
    """
    taken = _inputs_named(denoiser.component, "takes")
    if missing := [word for word in needed_inputs(scheduler) if word not in taken]:
        yield (
            f"'{denoiser.component.name}' takes no {quoted(missing, ' and ')}, which scheduler "
            f"'{scheduler.component.name}' needs; choose another denoiser or scheduler; for authors of "
            f"{denoiser.component.label}: what it takes is named in 'takes' of "
            f"{denoiser.component.config.__name__}, see dp_core.interfaces.denoiser"
        )


def _inputs_named(component: Component, declaration: str) -> tuple[str, ...]:
    return names_in(component, declaration, ("end_timestep",)) or ()
