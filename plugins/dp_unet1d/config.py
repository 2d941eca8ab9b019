"""Options of the 1-D U-Net."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import attrs
from attrs.validators import deep_iterable, ge, min_len

from dp_core import option

FINAL_GROUPS = 8
"""The groups of the last normalisation, which the original does not derive from ``n_groups``."""


def _is_odd(config: UNet1DConfig, field: attrs.Attribute[int], kernel_size: int) -> None:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"{kernel_size} is not a positive odd number, and would change the length of the trajectory; "
            f"choose {max(kernel_size - 1, 1)} or {max(kernel_size + 1, 3)}"
        )


def _makes_pairs(config: UNet1DConfig, field: attrs.Attribute[int], dim: int) -> None:
    if dim < 4 or dim % 2:
        raise ValueError(
            f"{dim} is not an even number of at least 4, and a time is embedded as pairs of sine and cosine; "
            f"choose {max(dim + dim % 2, 4)}"
        )


@attrs.frozen(kw_only=True)
class UNet1DConfig:
    """The size of the network; the defaults are those of the original's hybrid policy."""

    takes: ClassVar[tuple[str, ...]] = ("end_timestep",)

    down_dims: tuple[int, ...] = option(
        (256, 512, 1024),
        help="channels of each level; every level after the first halves the trajectory",
        validator=[min_len(1), deep_iterable(ge(1))],
    )
    kernel_size: int = option(5, help="time steps that a convolution looks at; odd", validator=_is_odd)
    n_groups: int = option(8, help="groups of every normalisation; divides every down_dims", validator=ge(1))
    cond_predict_scale: bool = option(
        True, help="the condition scales and shifts features (FiLM); false: it only shifts them"
    )
    diffusion_step_embed_dim: int = option(256, help="size of the embedding of a time; even", validator=_makes_pairs)

    @property
    def stride(self) -> int:
        """The factor by which the deepest level is shorter than the trajectory, whose length is a multiple of it."""
        return 2 ** (len(self.down_dims) - 1)

    def check(self, horizon: int, trajectory_steps: int | None = None) -> Iterable[tuple[str, str]]:
        """Report trajectories that cannot be halved at every level, and channels that do not divide into groups.

        Args:
            trajectory_steps: the steps of the trajectory, if a policy predicts fewer than the horizon.
        """
        steps = horizon if trajectory_steps is None else trajectory_steps
        if message := length_problem(steps, self.stride):
            yield "down_dims", f"{'horizon' if steps == horizon else 'a trajectory of'} {message}"
        for dim in self.down_dims:
            if dim % self.n_groups:
                yield "n_groups", f"{self.n_groups} does not divide {dim} of down_dims; choose one that divides all"
        if self.down_dims[0] % FINAL_GROUPS:
            yield (
                "down_dims",
                f"the first, {self.down_dims[0]}, is not divisible by {FINAL_GROUPS}, the groups of the last "
                f"normalisation; choose {FINAL_GROUPS * max(1, round(self.down_dims[0] / FINAL_GROUPS))}",
            )


def length_problem(length: int, stride: int) -> str | None:
    """Explain why a trajectory of ``length`` steps does not fit; None if it does."""
    if length % stride == 0:
        return None
    below, above = length // stride * stride, (length // stride + 1) * stride
    return (
        f"{length} is not divisible by {stride}, which the {stride.bit_length()} levels of down_dims need; "
        f"choose {f'{below} or {above}' if below else above}"
    )
