"""`unreachable_actions`: whether a policy can give the actions that it is shown.

A sampler that clips stays in a range, usually that which most normalizers scale to. Where a data set uses its actions
as they are, or scales by deviation, demonstrations may be beyond it, and the policy would fall short of them for ever.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dp_core.interfaces import BasePolicy

_ROUNDING = 1e-3
"""Relative; limits that are scaled to 1 may come out a little larger."""


def unreachable_actions(policy: BasePolicy, limits: tuple[Tensor, Tensor] | None, actions: Tensor) -> str | None:
    """Compare demonstrated actions with what ``policy`` can give; say what is out of reach and what to do, if anything.

    Args:
        limits: of the demonstrations, see `BaseDataset.action_limits`; None: those that the normalizer was fitted to.
        actions: (B, Tp, Da), some of the demonstrations: where the statistics of a normalizer are nominal, these are
            not.
    """
    largest = policy.largest_normalized_action
    if largest is None:
        return None
    field = policy.normalizer["action"]
    low, high = limits or (field.input_stats["min"], field.input_stats["max"])
    shown = actions.flatten(0, -2).cpu()
    demonstrated = torch.stack([shown.amin(0).minimum(low.cpu()), shown.amax(0).maximum(high.cpu())])  # (2, Da)
    device = field.scale.device
    reached = field.normalize(demonstrated.to(device)).abs().amax(0)  # (Da,)
    n_beyond, entry = int((reached > largest * (1 + _ROUNDING)).sum()), int(reached.argmax())
    if not n_beyond:
        return None
    bounds = torch.tensor([-largest, largest], device=device)[:, None].expand(2, len(reached))
    possible = field.unnormalize(bounds)[:, entry].sort().values.tolist()
    return (
        f"action: entry {entry} is demonstrated from {_range(demonstrated[:, entry].tolist())}, but the policy gives "
        f"{_range(possible)} at most: normalised, it is clipped to {largest:g}, and the demonstrations reach "
        f"{float(reached[entry]):.4g} ({n_beyond} of {len(reached)} entries are beyond); scale the actions to that, or "
        "let the scheduler go further; dp-core's take policy.scheduler.clip_sample_range="
        f"{_rounded_up(float(reached[entry]))}"
    )


def _range(limits: list[float]) -> str:
    return " to ".join(f"{limit:.4g}" for limit in limits)


def _rounded_up(value: float) -> str:
    return f"{math.ceil(value * 100) / 100:g}"
