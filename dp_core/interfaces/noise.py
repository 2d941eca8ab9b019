"""`draw_noise`: noise for a batch, each row of which may have a generator of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dp_core.errors import InputError

Generators = torch.Generator | Sequence[torch.Generator] | None
"""What a batch of B rows is drawn from: one generator for all of it, one for each row, or torch's global state."""


def draw_noise(
    shape: Sequence[int],
    generator: Generators = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw standard normal noise, (B, ...).

    With a generator for each row, row i is what the i-th of them gives a batch of one, bit for bit, whatever the other
    rows are. Otherwise it is ``torch.randn``.

    Args:
        shape: (B, ...).
        generator: on ``device``, see `Generators`.

    Raises:
        InputError: there are several generators, and not one for each row.
    """
    if generator is None or isinstance(generator, torch.Generator):
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)
    if len(generator) != shape[0]:
        raise InputError(
            f"generator: a sequence of {len(generator)} for a batch of {shape[0]}; give one for each row, or a single "
            "torch.Generator for all"
        )
    noise = torch.empty(shape, device=device, dtype=dtype)
    for row, own in zip(noise, generator, strict=True):
        row.normal_(generator=own)
    return noise
