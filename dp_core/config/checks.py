"""`step_mismatches`: parts of a run that were told other numbers of steps than the policy is made for."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator

from dp_core.config.fields import Slot

_RULES: tuple[tuple[str, str, Callable[[int, int], bool]], ...] = (
    ("dataset", "horizon", operator.eq),
    ("dataset", "n_obs_steps", operator.ge),
    ("runner", "n_obs_steps", operator.eq),
    ("runner", "n_action_steps", operator.le),
)
"""Options of a part that have to fit those of the policy."""


def step_mismatches(policy: Slot, **parts: Slot | None) -> Iterator[tuple[str, str, int, int]]:
    """What is loaded, shown and executed must be what the policy is made for; else a run fails once it is there.

    Only where both use the usual names.

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
