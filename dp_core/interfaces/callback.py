"""`BaseCallback`: listens to the hooks of a run."""

from __future__ import annotations

from typing import Any


class BaseCallback:
    """Implements some of `dp_core.hooks.RunHooks`, each marked ``@hookimpl``.

    Callbacks are called in the order of the config. One with something to remember overrides both methods below;
    what they return is saved in every checkpoint, and must be plain containers, numbers, strings and tensors.
    """

    def state_dict(self) -> dict[str, Any]:
        """What has to survive a resume."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what an earlier run left."""

    def summary(self) -> list[str]:
        """Lines for the end of the run: what it left, and where."""
        return []
