"""What every sampler does, whatever its process: choose the number of steps, and hold what is known."""

from __future__ import annotations

import torch
from torch import Tensor

from dp_core.errors import InputError
from dp_core.interfaces import Inpaint


def number_of_steps(asked: int | None, configured: int) -> int:
    """Choose how many steps a call takes: as many as it is asked for, else as many as are configured.

    Raises:
        InputError: less than one.
    """
    if asked is not None and asked < 1:
        raise InputError(f"num_inference_steps: {asked} is less than 1; choose at least 1, or None for the configured")
    return configured if asked is None else asked


def with_known(sample: Tensor, inpaint: Inpaint | None) -> Tensor:
    """Return ``sample`` (B, T, D) with the known entries at their values of x0, without noise."""
    return sample if inpaint is None else torch.where(inpaint.mask, inpaint.values, sample)
