"""How observation features reach the denoiser: one class per way.

The policy asks its conditioning what the trajectory consists of, and what the denoiser is given beside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from dp_core.interfaces import BaseDenoiser, Inpaint
from dp_core.interfaces.scheduler import DenoiseStep
from dp_diffusion.mask_generator import LowdimMaskGenerator


class Condition(NamedTuple):
    """What is known when a trajectory is denoised."""

    global_cond: Tensor | None = None
    """(B, G), given to the denoiser."""
    local_cond: Tensor | None = None
    """(B, T, L), given to the denoiser."""
    tokens: Tensor | None = None
    """(B, L, token_dim), given to the denoiser."""
    known: Inpaint | None = None
    """Entries of the trajectory itself."""

    def tensors(self) -> list[Tensor]:
        """List all tensors that there are, each (B, ...)."""
        given = (*self[:3], *(self.known or ()))
        return [tensor for tensor in given if tensor is not None]

    def shapes(self) -> list[tuple[int, ...] | None]:
        """List the shapes of all tensors that there could be; None for those that are not there."""
        return [None if part is None else tuple(part.shape) for part in (*self[:3], *(self.known or (None, None)))]

    def map(self, function: Callable[[Tensor], Tensor]) -> Condition:
        """Replace every tensor, of any shape, by what ``function`` makes of it."""
        global_cond, local_cond, tokens = (None if part is None else function(part) for part in self[:3])
        known = self.known and Inpaint(*map(function, self.known))
        return Condition(global_cond, local_cond, tokens, known)


@attrs.frozen
class ConditionedDenoiser:
    """Bind a denoiser to its condition, as samplers call it (`dp_core.interfaces.scheduler.Denoise`).

    Whatever the precision of its weights, trajectories come and go in that of the sampler.
    """

    model: BaseDenoiser
    condition: Condition
    dtype: torch.dtype | None = None
    """The dtype of the weights, where it is another than that of the trajectories; else None."""

    def __call__(self, sample: Tensor, timestep: Tensor, end_timestep: Tensor | None = None) -> Tensor:
        """Predict from ``sample`` (B, T, D) at ``timestep`` () or (B,), (B, T, D)."""
        second = {} if end_timestep is None else {"end_timestep": end_timestep}
        prediction: Tensor = self.model(self._cast(sample), timestep, **self._conditions(), **second)
        return prediction if self.dtype is None else prediction.to(sample.dtype)

    def prepare(self, timesteps: Tensor, end_timesteps: Tensor | None = None) -> DenoiseStep:
        """Return the same for times that are known beforehand, each (N,), in the order of the steps."""
        ends = {} if end_timesteps is None else {"end_timesteps": end_timesteps}
        denoise = self.model.prepare(timesteps, **self._conditions(), **ends)
        if self.dtype is None:
            return denoise
        return lambda sample, i: denoise(self._cast(sample), i).to(sample.dtype)

    def _conditions(self) -> dict[str, Tensor | None]:
        given = {"local_cond": self.condition.local_cond, "global_cond": self.condition.global_cond}
        if self.condition.tokens is not None:
            given["tokens"] = self.condition.tokens
        return {name: None if value is None else self._cast(value) for name, value in given.items()}

    def _cast(self, value: Tensor) -> Tensor:
        return value if self.dtype is None else value.to(self.dtype)


class Conditioning(ABC):
    """One way to condition. ``features`` are (B, To or more, Do), ``actions`` (B, T, Da), normalised.

    Of an encoder that sees the window, features are (B, 1, Do); of one that gives tokens, (B, To or 1, L, Do).
    """

    # Set these in all subclasses, in the constructor; those that have a value here, where it is another.
    trajectory_dim: int
    """D, the size of one step of the trajectory; actions come first."""
    global_cond_dim: int | None = None
    """G, or None where the denoiser is given no such vector."""
    local_cond_dim: int | None = None
    """L, or None where the denoiser is given no such vectors."""
    tokens: Mapping[str, int] = {}
    """``token_dim`` and ``n_tokens``, where the denoiser is given tokens."""
    n_training_obs_steps: int
    """Observation steps that a training batch needs; sampling needs To."""
    training_hint: str = ""
    """What to do where a training batch has fewer."""

    @abstractmethod
    def trajectory(self, actions: Tensor, features: Tensor) -> Tensor:
        """Make the clean trajectory to learn, (B, T, D)."""

    @abstractmethod
    def condition(self, features: Tensor) -> Condition:
        """Make the condition that the first To of ``features`` (B, To or more, Do) give."""


class GlobalConditioning(Conditioning):
    """The trajectory is actions; the denoiser sees the features of all To steps as one vector, oldest first."""

    def __init__(self, action_dim: int, feature_dim: int, n_obs_steps: int, n_features: int) -> None:
        """Take the sizes, and the number of features: To, or 1 for all steps together."""
        self.trajectory_dim = action_dim
        self.global_cond_dim = n_features * feature_dim
        self.n_training_obs_steps = n_obs_steps

    def trajectory(self, actions: Tensor, features: Tensor) -> Tensor:
        """Return the actions alone, (B, T, Da)."""
        return actions

    def condition(self, features: Tensor) -> Condition:
        """Give the denoiser all features, flattened."""
        return Condition(global_cond=features.flatten(1))  # (B, To*Do)


class TokenConditioning(Conditioning):
    """The trajectory is actions; the denoiser attends to the tokens of all To steps, oldest first."""

    def __init__(self, action_dim: int, token_dim: int, n_tokens: int, n_obs_steps: int, n_features: int) -> None:
        """Take the sizes, the tokens of one feature, and the number of features: To, or 1 for all steps together."""
        self.trajectory_dim = action_dim
        self.tokens = {"token_dim": token_dim, "n_tokens": n_features * n_tokens}
        self.n_training_obs_steps = n_obs_steps

    def trajectory(self, actions: Tensor, features: Tensor) -> Tensor:
        """Return the actions alone, (B, T, Da)."""
        return actions

    def condition(self, features: Tensor) -> Condition:
        """Give the denoiser the tokens of all steps."""
        return Condition(tokens=features.flatten(1, 2))  # (B, To*L, Do)


class LocalConditioning(Conditioning):
    """The trajectory is actions; the denoiser sees at each step the features of its own time, zeros where none are."""

    def __init__(self, action_dim: int, feature_dim: int, horizon: int, n_obs_steps: int) -> None:
        self.trajectory_dim = action_dim
        self.local_cond_dim = feature_dim
        self.n_training_obs_steps = n_obs_steps
        self._horizon = horizon

    def trajectory(self, actions: Tensor, features: Tensor) -> Tensor:
        """Return the actions alone, (B, T, Da)."""
        return actions

    def condition(self, features: Tensor) -> Condition:
        """Give the denoiser the features, filled up to the horizon with zeros."""
        return Condition(local_cond=F.pad(features, (0, 0, 0, self._horizon - features.shape[1])))


class InpaintingConditioning(Conditioning):
    """The trajectory is actions and features; the first To features are held at their value (Janner et al. 2022)."""

    training_hint = "inpainting learns from the whole horizon; let the data set load it (full_obs_horizon: true)"

    def __init__(self, action_dim: int, feature_dim: int, horizon: int, mask_generator: LowdimMaskGenerator) -> None:
        self.trajectory_dim = action_dim + feature_dim
        self.n_training_obs_steps = horizon
        self._horizon = horizon
        self._action_dim = action_dim
        self._mask_generator = mask_generator

    def trajectory(self, actions: Tensor, features: Tensor) -> Tensor:
        """Join actions and features, (B, T, Da + Do); constant: the encoder learns through the condition alone."""
        return torch.cat([actions, features], dim=-1).detach()

    def condition(self, features: Tensor) -> Condition:
        """Hold the first features at their value; the mask hides values of actions and of steps without features."""
        values = F.pad(features, (self._action_dim, 0, 0, self._horizon - features.shape[1]))
        return Condition(known=Inpaint(self._mask_generator(tuple(values.shape)), values))
