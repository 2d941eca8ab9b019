"""`BaseCallback`: listens to the hooks of a run."""

from __future__ import annotations

from typing import Any


class BaseCallback:
    """Implements some of `dp_core.hooks.RunHooks`, each marked ``@hookimpl``.

    Callbacks are called in the order of the config. One with something to remember overrides both methods below;
    what they return is saved in every checkpoint, and must be plain containers, numbers, strings and tensors.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return what has to survive a resume: plain containers, numbers, strings and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned in an earlier run."""

    def summary(self) -> list[str]:
        """Return lines for the end of the run: what the callback left, and where."""
        return []
