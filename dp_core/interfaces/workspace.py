"""`Workspace`: what a callback may rely on of the workspace that it listens to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dp_core.config.schema import WorkspaceConfig
    from dp_core.interfaces.policy import BasePolicy


class RunProgress(Protocol):
    """How far a run is."""

    epoch: int
    """Epochs completed, evaluation included; the index of the current one."""
    global_step: int
    """Batches trained on since the start of the run."""
    step_in_epoch: int
    """Batches of the current epoch trained on."""
    windows_in_epoch: int
    """Windows of the current epoch trained on."""
    last_metrics: dict[str, Any]
    """What the last complete epoch measured: numbers, and paths of videos as strings."""


class Workspace(Protocol):
    """What the hooks of `dp_core.hooks.RunHooks` hand over as ``workspace``. Callbacks read it; they set nothing."""

    cfg: WorkspaceConfig
    """The complete, checked config of the run."""
    progress: RunProgress
    model: BasePolicy
    """The policy that is trained."""
    ema_model: BasePolicy | None
    """Its average, which acts in evaluation; None where the run has none."""

    @property
    def output_dir(self) -> Path:
        """The run directory."""

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole run."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""

    @property
    def batch_size(self) -> int:
        """Windows in a batch."""

    def get_checkpoint_path(self, tag: str = "latest") -> Path:
        """Return the path of the checkpoint called ``tag``, whether there is one or not."""
