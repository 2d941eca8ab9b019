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
"""Marks the implementation of a hook; as a decorator."""


class DiscoveryHooks:
    """What an installed plugin implements, in its ``plugin.py``."""

    @hookspec
    def dp_components(self) -> Iterable[Component]:
        """Describe what this plugin offers. Must be cheap: describe, do not import."""
        raise NotImplementedError


class RunHooks:
    """What a callback implements. A hook may take fewer arguments than are listed here.

    ``metrics`` are plain numbers, paths of videos where a runner made some, and ``stop_reason`` where there is one.

    Any hook may call ``workspace.request_stop(reason)``: the run ends after the current epoch as if that were the last
    one. A callback that raises ends the run at once: what was trained is saved, and a run that is resumed repeats the
    evaluation and the hooks of an epoch whose end was cut short; those of a step that came after the callback, in the
    order of the config, never hear of that step.
    """

    # -- the run ------------------------------------------------------------------------------------------------

    @hookspec(firstresult=True)
    def dp_run(self, workspace: Workspace) -> bool | None:
        """Run the workspace. The workspace's own loop is called last; wrap it, or return True to replace it."""

    @hookspec
    def dp_before_run(self, workspace: Workspace) -> None:
        """Prepare for the run: everything is built and, on resume, restored; the first epoch is next."""

    # -- each epoch ---------------------------------------------------------------------------------------------

    @hookspec
    def dp_before_epoch(self, workspace: Workspace) -> None:
        """Prepare for an epoch, which starts, or continues after a resume in its middle or before its evaluation."""

    @hookspec
    def dp_after_train_step(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        """React to a batch that was trained on; losses in ``metrics`` may still be tensors on the device.

        Batches whose gradients make one update are all trained on before the first of them is announced.
        """

    @hookspec
    def dp_after_rollout(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        """React to an evaluation of the policy; ``metrics`` are what the runner returned."""

    @hookspec
    def dp_after_epoch(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        """React to a complete epoch; ``metrics`` hold its mean losses and, where due, validation and rollout.

        Called once more for the same epoch if a callback asks to stop in this hook, or while the epoch is evaluated or
        saved: ``metrics`` then hold what the last epoch has to measure, too, and ``stop_reason``. What is kept by epoch
        is to be replaced, not added.
        """

    # -- checkpoints --------------------------------------------------------------------------------------------

    @hookspec
    def dp_before_checkpoint_save(self, workspace: Workspace, payload: dict[str, Any], metrics: dict[str, Any]) -> None:
        """Read or change a payload that is complete but for the state of the callbacks, which is collected next.

        ``metrics`` are those of the epoch that is saved; empty where it is not evaluated yet: an epoch is saved before
        its rollout and, complete, after it.
        """

    @hookspec
    def dp_after_checkpoint_save(self, workspace: Workspace, path: Path) -> None:
        """React to a checkpoint that is whole on disk. Called by the thread that wrote it."""

    @hookspec
    def dp_after_checkpoint_load(self, workspace: Workspace, payload: dict[str, Any]) -> None:
        """React to a payload that was restored, the state of the callbacks included."""

    # -- the end ------------------------------------------------------------------------------------------------

    @hookspec
    def dp_on_run_error(self, workspace: Workspace, error: BaseException) -> None:
        """React to an early end, by an error or by Ctrl-C; ``dp_after_run`` is not called.

        Where the code of a component failed, ``error`` is a `ComponentError`, and its cause what was raised.
        """

    @hookspec
    def dp_after_run(self, workspace: Workspace) -> None:
        """React to the end: the last epoch, or that in which the run was stopped, is done, every checkpoint on disk."""
