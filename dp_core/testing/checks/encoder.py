"""The rules of encoders, see `BaseEncoder`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dp_core.config.declared import TOKENS, gives
from dp_core.errors import quoted
from dp_core.shape_meta import keys_of_type, obs_shape
from dp_core.testing import networks
from dp_core.testing.case import Case, NotChecked
from dp_core.testing.checks import modules
from dp_core.testing.checks.description import it_is_built_as_its_kind_is, options_survive_a_config_file
from dp_core.testing.samples import clone

_COUNT = 2
"""Observations that are changed at once."""

HasEffect = Callable[[str, tuple[Any, ...]], bool]
"""``has_effect(key, place)`` tells whether other values at that place of an observation (N, *shape) change features."""


def features_have_the_declared_size(case: Case) -> None:
    """Check that N observations give finite features (N, output_dim) or tokens (N, n_tokens, output_dim), float32."""
    encoder = networks.built(case)
    has_tokens = gives(case.slot()) == TOKENS
    if not hasattr(encoder, "output_dim"):
        case.fail(
            "has no output_dim; expected the size of one feature vector",
            "set self.output_dim in the constructor to what forward returns, flattened",
        )
    for count in (1, 3):
        features = networks.output(case, encoder, networks.inputs_of(case, count))
        expected = (count, encoder.n_tokens, encoder.output_dim) if has_tokens else (count, encoder.output_dim)
        if tuple(features.shape) != expected:
            case.fail(
                f"a batch of {count} gave features of shape {tuple(features.shape)}; expected {expected}, "
                f"which is (N, {'n_tokens, ' if has_tokens else ''}output_dim)",
                "set self.output_dim in the constructor to what forward returns, flattened",
            )
        if features.dtype != torch.float32 or not features.isfinite().all():
            case.fail(
                f"features are {features.dtype}, finite: {bool(features.isfinite().all())}; "
                "expected finite torch.float32",
                "compute in the type of the observations, and keep clear of divisions by zero",
            )


def what_learns_at_another_rate_exists(case: Case) -> None:
    """Check that ``lr_multipliers`` names parameters of the encoder, with factors above 0."""
    encoder = networks.built(case)
    factors = encoder.lr_multipliers()
    if unknown := sorted(factors.keys() - dict(encoder.named_parameters()).keys()):
        case.fail(
            f"lr_multipliers names {quoted(unknown)}; expected names of its own parameters",
            "return names as in named_parameters()",
        )
    if idle := sorted(name for name, factor in factors.items() if not factor > 0):
        case.fail(
            f"lr_multipliers has no factor above 0 for {quoted(idle)}; expected one",
            "call requires_grad_(False) on what is not to learn",
        )


def every_observation_matters(case: Case) -> None:
    """Check that, in eval mode, features change with the values of every key of shape_meta."""
    has_effect = _effects(case)
    ignored = [key for key in case.shape_meta["obs"] if not has_effect(key, (slice(None),))]
    if ignored:
        case.fail(
            f"features are the same whatever {quoted(ignored)} is; expected them to depend on every key of shape_meta",
            "encode every key of shape_meta['obs'], or refuse in the check method of the options what is not encoded",
        )


def images_reach_the_features_whole(case: Case) -> None:
    """Check that, in eval mode, features depend on all of an image, or up to the margins of a central crop."""
    has_effect, shape_meta = _effects(case), case.shape_meta
    for key in keys_of_type(shape_meta, "rgb"):
        for axis, name in ((-2, "row"), (-1, "column")):
            size = obs_shape(shape_meta, key)[axis]
            first, last = (_margin(has_effect, key, axis, size, is_last) for is_last in (False, True))
            # The halves of an odd margin differ by one.
            if abs(first - last) > 1:
                case.fail(
                    f"features do not depend on the first {first} and the last {last} of the {size} {name}s of "
                    f"'{key}'; expected none, or equal margins around a central crop",
                    "refuse sizes that do not fill patches and strides, see dp_core.kit.nn.image_probe, or pad the "
                    "image",
                )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    features_have_the_declared_size,
    what_learns_at_another_rate_exists,
    every_observation_matters,
    images_reach_the_features_whole,
    modules.members_of_a_batch_do_not_mix,
    *modules.CHECKS,
)


def _effects(case: Case) -> HasEffect:
    """Build an encoder and encode observations, with which those that are changed in some place are compared."""
    encoder: nn.Module = networks.built(case)
    obs = networks.inputs_of(case, _COUNT)
    features = networks.output(case, encoder, obs)
    if not torch.equal(features, networks.output(case, encoder, obs, seed=1)):
        raise NotChecked("equal inputs give different outputs")
    others = networks.inputs_of(case, _COUNT, seed=1)

    def has_effect(key: str, place: tuple[Any, ...]) -> bool:
        changed = clone(obs)
        if isinstance(changed[key], list):  # text, which has no places
            changed[key] = others[key]
        else:
            changed[key][place] = others[key][place]
        return not torch.equal(features, networks.output(case, encoder, changed))

    return has_effect


def _margin(has_effect: HasEffect, key: str, axis: int, size: int, is_last: bool) -> int:
    """Count the first or the last rows (axis -2) or columns (axis -1) of an image that can be changed unseen."""

    def is_seen(width: int) -> bool:
        band = slice(size - width, size) if is_last else slice(0, width)
        return has_effect(key, (..., band, slice(None)) if axis == -2 else (..., band))

    return 0 if is_seen(1) else bisect_left(range(1, size + 1), True, key=is_seen)
