"""Inpainting: what is known of a trajectory stays as it is while the rest is sampled."""

from __future__ import annotations

import torch
from torch import Tensor

from dp_core.interfaces import Inpaint


def with_known(sample: Tensor, inpaint: Inpaint | None) -> Tensor:
    """``sample`` (B, T, D) with the known entries at their clean values."""
    return sample if inpaint is None else torch.where(inpaint.mask, inpaint.values, sample)
