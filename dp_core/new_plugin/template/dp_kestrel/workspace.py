"""`KestrelWorkspace`: trains for a number of steps, as plainly as can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dp_core.interfaces import BaseDataset, BasePolicy
from dp_core.training.data_loading import BatchOrder, count_windows
from dp_core.training.progress import Progress
from dp_core.training.random_state import seed_everything
from dp_core.workspace import BaseWorkspace

from dp_kestrel.config import WorkspaceOptions


class KestrelWorkspace(BaseWorkspace):
    """Trains for one epoch on the CPU, without validation, averaging or evaluation; dp-core's own is `train`.

    Attributes with a state dict are saved in checkpoints and restored from them: model, optimizer, progress.
    `load_policy` and `dp-eval` look for the weights in ``model``.
    """

    cfg: WorkspaceOptions

    def __init__(self, cfg: WorkspaceOptions, output_dir: str | Path | None = None) -> None:
        super().__init__(cfg, output_dir)
        seed_everything(cfg.seed)
        self.model: BasePolicy = cfg.policy.build(shape_meta=cfg.shape_meta)
        self.optimizer = cfg.optimizer.build(policy=self.model)
        self.progress = Progress()

    @property
    def num_epochs(self) -> int:
        """One: all steps count as one epoch."""
        return 1

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the whole run."""
        return self.cfg.num_steps

    @property
    def batch_size(self) -> int:
        """Windows in a batch."""
        return self.cfg.batch_size

    def loop(self) -> None:
        """Train, and call the hooks that callbacks listen to; `dp_core.hooks` has them in their order."""
        if self.progress.epoch == self.num_epochs:
            return  # resumed after its end
        dataset: BaseDataset = self.cfg.dataset.build(shape_meta=self.cfg.shape_meta)
        self.model.set_normalizer(dataset.get_normalizer())
        order = BatchOrder(len(dataset), self.batch_size, seed=self.cfg.seed, shuffle=True)
        self.hooks.dp_before_run(workspace=self)
        self.hooks.dp_before_epoch(workspace=self)
        while self.progress.global_step < self.cfg.num_steps:
            passes, windows = divmod(self.progress.windows_in_epoch, len(dataset))
            order.set_position(passes, windows=windows)
            self._step(dataset.__getitems__(next(iter(order))))
        metrics = {"train_loss": self.progress.mean_loss(), "global_step": self.progress.global_step - 1, "epoch": 0}
        self.progress.finish_epoch(metrics)
        self.hooks.dp_after_epoch(workspace=self, metrics=metrics)
        self.save_checkpoint(metrics=metrics)

    def next_step(self) -> str:
        """Return how to use the policy; without a runner there is nothing that `dp-eval` could do."""
        return f"in Python: policy = dp_core.load_policy('{self.get_checkpoint_path()}')"

    def _step(self, batch: dict[str, Any]) -> None:
        loss = self.model(batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        metrics = {"train_loss": loss.detach(), "global_step": self.progress.global_step, "epoch": 0}
        self.progress.advance(loss.detach(), count_windows(batch))
        self.hooks.dp_after_train_step(workspace=self, metrics=metrics)
