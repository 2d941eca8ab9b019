"""`Workspace`: what a callback may rely on of the workspace that it listens to, and how both sides say so.

Every workspace has ``cfg``, ``output_dir`` and `get_checkpoint_path`. The other parts are those that a workspace names
in its config class, and a callback names what it needs of them in its own::

    @attrs.frozen(kw_only=True)
    class WorkspaceOptions(WorkspaceConfig):
        provides: ClassVar[tuple[str, ...]] = ("progress", "num_epochs")

    @attrs.frozen(kw_only=True)
    class CallbackOptions:
        needs: ClassVar[tuple[str, ...]] = ("progress",)

A config that puts a callback into a workspace which lacks what it needs is refused when it is checked, before anything
heavy is imported; `dp_core.config.schema.WORKSPACE_PARTS` has the words. The conformance classes hold both sides to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dp_core.config.schema import WorkspaceConfig
    from dp_core.interfaces.policy import BasePolicy


class RunProgress(Protocol):
    """How far a run is."""

    epoch: int
    """Epochs completed, evaluation included; the index of the current one. ``dp_after_epoch`` counts as the next."""
    global_step: int
    """Batches trained on since the start of the run."""
    step_in_epoch: int
    """Batches of the current epoch trained on."""
    windows_in_epoch: int
    """Windows of the current epoch trained on."""
    last_metrics: dict[str, Any]
    """What the last complete epoch measured: numbers, and paths of videos as strings."""


class Workspace(Protocol):
    """What the hooks of `dp_core.hooks.RunHooks` hand over as ``workspace``. Callbacks read it; they set nothing.

    All of it is there from ``dp_before_run`` to ``dp_after_run``. Earlier, when a checkpoint is loaded and in
    ``dp_run``, neither the data nor the length of an epoch need to be known.
    """

    # -- every workspace ----------------------------------------------------------------------------------------

    @property
    def cfg(self) -> WorkspaceConfig:
        """The complete, checked config of the run. A callback's own options are handed to its constructor."""

    @property
    def output_dir(self) -> Path:
        """The run directory."""

    def get_checkpoint_path(self, tag: str = "latest") -> Path:
        """Return the path of the checkpoint called ``tag``, whether there is one or not."""

    # -- those whose config class names it in ``provides`` ------------------------------------------------------

    @property
    def progress(self) -> RunProgress:
        """How far the run is."""

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole run, at least 1."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, at least 1."""

    @property
    def batch_size(self) -> int:
        """Windows in a batch, at least 1; the last one of an epoch may have fewer."""

    @property
    def model(self) -> BasePolicy:
        """The policy that is trained."""

    @property
    def ema_model(self) -> BasePolicy | None:
        """Its average, which acts in evaluation; None where the run has none."""

    def request_stop(self, reason: str) -> None:
        """End the run after the current epoch as if that were the last one: evaluated, saved, summed up.

        Args:
            reason: what the log and the summary of the run say, such as ``"val_loss has not improved for 10 epochs"``.
        """
