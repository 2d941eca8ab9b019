"""The hooks of a plugin and of a run, in the order they are called. Read this to know the life of a run.

There are two plugin managers. *Discovery* asks every installed plugin for its components and knows no other hook.
*The run* belongs to one workspace and calls the callbacks that its config names, in the order of the config: so
installing a package can add names, but never change what an existing config does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dp_core.component import Component
    from dp_core.interfaces.workspace import Workspace

PROJECT = "dp_core"
ENTRY_POINT_GROUP = "dp_core.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class DiscoveryHooks:
    """What an installed plugin implements, in its ``plugin.py``."""

    @hookspec
    def dp_components(self) -> Iterable[Component]:
        """Describe what this plugin offers. Must be cheap: describe, do not import."""
        raise NotImplementedError


class RunHooks:
    """What a callback implements. A hook may take fewer arguments than are listed here.

    ``metrics`` are plain numbers, and paths of videos where a runner made some. A callback that raises stops the run.
    """

    # -- the run ------------------------------------------------------------------------------------------------

    @hookspec(firstresult=True)
    def dp_run(self, workspace: Workspace) -> bool | None:
        """Run the workspace. The workspace's own loop is called last; wrap it, or return True to replace it."""

    @hookspec
    def dp_before_run(self, workspace: Workspace) -> None:
        """Everything is built and, on resume, restored; the first epoch is next."""

    # -- each epoch ---------------------------------------------------------------------------------------------

    @hookspec
    def dp_before_epoch(self, workspace: Workspace) -> None:
        """An epoch starts, or goes on after a resume in its middle."""

    @hookspec
    def dp_after_train_step(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        """One batch was trained on. Losses in ``metrics`` may still be tensors on the device."""

    @hookspec
    def dp_after_rollout(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        """The runner evaluated the policy; ``metrics`` are what it returned."""

    @hookspec
    def dp_after_epoch(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        """An epoch is complete; ``metrics`` hold its mean losses and, where due, validation and rollout."""

    # -- checkpoints --------------------------------------------------------------------------------------------

    @hookspec
    def dp_before_checkpoint_save(self, workspace: Workspace, payload: dict[str, Any], metrics: dict[str, Any]) -> None:
        """A payload is complete but for the state of the callbacks, which is collected next. May change it."""

    @hookspec
    def dp_after_checkpoint_save(self, workspace: Workspace, path: Path) -> None:
        """The file is whole on disk. Called by the thread that wrote it."""

    @hookspec
    def dp_after_checkpoint_load(self, workspace: Workspace, payload: dict[str, Any]) -> None:
        """A payload was restored, the state of the callbacks included."""

    # -- the end ------------------------------------------------------------------------------------------------

    @hookspec
    def dp_on_run_error(self, workspace: Workspace, error: BaseException) -> None:
        """The run ends early, by an error or by Ctrl-C; ``dp_after_run`` is not called."""

    @hookspec
    def dp_after_run(self, workspace: Workspace) -> None:
        """The last epoch is done and every checkpoint is on disk."""
