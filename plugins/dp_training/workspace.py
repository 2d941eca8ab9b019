"""`TrainWorkspace`: builds what a training run needs from its config and hands it to the loop."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from dp_core import Slot
from dp_core.errors import DataError
from dp_core.interfaces import BaseDataset, BasePolicy, BaseRunner
from dp_core.profiling import section, set_device
from dp_core.training.allocator import keep_freed_memory
from dp_core.training.compilation import compile_networks
from dp_core.training.data_loading import BatchOrder, make_loader
from dp_core.training.devices import find_device
from dp_core.training.ema import EMAModel
from dp_core.training.loop import train
from dp_core.training.progress import Progress
from dp_core.training.random_state import RandomState, seed_everything
from dp_core.workspace import BaseWorkspace
from dp_training.action_range import unreachable_actions
from dp_training.batch_norm import (
    require_trainable_batches,
    warn_of_an_earlier_average,
    warn_of_kept_statistics,
)
from dp_training.config import TrainConfig
from dp_training.learning_rate import advance, has_other_rates
from dp_training.older_checkpoints import with_average, with_windows
from dp_training.profile import PROFILE_FILE, TRACE_FILE, profiled

logger = logging.getLogger(__name__)


class TrainWorkspace(BaseWorkspace):
    """Trains a policy on demonstrations.

    Construction builds the policy, its average and the optimizer, which is all that a checkpoint needs to be restored
    into; data and environments are made when the run starts.
    """

    cfg: TrainConfig
    remedy = "a lower optimizer.lr or training.max_grad_norm=1.0"
    lr_schedule: LRScheduler
    """Made by `setup`: how long it is depends on the data."""

    def __init__(self, cfg: TrainConfig, output_dir: str | Path | None = None) -> None:
        if cfg.training.debug:
            cfg = cfg.in_debug_mode()
        super().__init__(cfg, output_dir)
        self.options = cfg.training
        seed_everything(cfg.training.seed)
        self.model: BasePolicy = cfg.policy.build(shape_meta=cfg.shape_meta)
        self.ema_model: BasePolicy | None = copy.deepcopy(self.model) if cfg.ema else None
        self.ema = EMAModel(self.ema_model, **attrs.asdict(cfg.ema)) if cfg.ema and self.ema_model else None
        self.optimizer: torch.optim.Optimizer = cfg.optimizer.build(policy=self.model)
        self._configured = [_options_of(group) for group in self.optimizer.param_groups]
        self._has_other_rates = False
        self.progress = Progress()
        self.random_state = RandomState()
        self.runner: BaseRunner | None = None

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole run."""
        return self.options.num_epochs

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch. Known once the run has started."""
        return self.order.batches_per_epoch()

    @property
    def batch_size(self) -> int:
        """Windows in a batch."""
        return self.cfg.dataloader.batch_size

    def load_payload(
        self,
        payload: Mapping[str, Any],
        exclude_keys: Iterable[str] | None = None,
        include_keys: Iterable[str] | None = None,
        *,
        strict: bool = True,
        trust_pickles: bool = False,
    ) -> None:
        """Restore what a payload holds; of earlier versions, too, which counted an epoch in batches."""
        fitting = with_windows(payload)
        if self.ema_model is not None:
            fitting = with_average(fitting)
        self._has_other_rates = has_other_rates(payload, self.cfg)
        super().load_payload(fitting, exclude_keys, include_keys, strict=strict, trust_pickles=trust_pickles)
        warn_of_an_earlier_average(self, payload)

    def run(self) -> None:
        """Run to the end; measure where the time goes if that is wanted."""
        with profiled(self) if self.cfg.profile else contextlib.nullcontext():
            super().run()

    @section("setup")
    def setup(self) -> None:
        """Make what only a run needs: data, schedule, environments; move everything to the device."""
        cfg = self.cfg
        device = find_device(self.options.device, "training.device")
        dataset: BaseDataset = cfg.dataset.build(shape_meta=cfg.shape_meta)
        if len(dataset) == 0:
            raise DataError("dataset: there is no window to train on; are the episodes shorter than the horizon?")
        if self.progress.global_step == 0:
            # A restored normalizer stays: the weights were trained with it.
            normalizer = dataset.get_normalizer()
            self.model.set_normalizer(normalizer)
            if self.ema_model is not None:
                self.ema_model.set_normalizer(normalizer)
        self._load_data(dataset, device)
        if warning := unreachable_actions(self.model, dataset.action_limits(), self.sampling_batch["action"]):
            logger.warning("%s", warning)
        if device.type == "cpu":
            keep_freed_memory()
        self._move_to(device)
        self._find_position(len(dataset))
        require_trainable_batches(self)
        warn_of_kept_statistics(self)
        if self.options.compile:
            compile_networks(self.model)
        self._make_schedule()
        if cfg.runner is not None:
            self.runner = cfg.runner.build(shape_meta=cfg.shape_meta, output_dir=self.output_dir)

    def loop(self) -> None:
        """Set up if nobody did, then train."""
        if not hasattr(self, "loader"):
            # Whatever data sets and runners draw while they are made: the run continues as if they had drawn nothing.
            state = self.random_state.state_dict()
            self.setup()
            self.random_state.load_state_dict(state)
        train(self)

    def summary(self) -> list[str]:
        """Return why the run was stopped, score and losses of the last epoch, and where its videos are."""
        metrics = self.progress.last_metrics
        lines = super().summary()
        if "test/mean_score" in metrics:
            score = f"score: {metrics['test/mean_score']:.3f} mean"
            if "test/success_rate" in metrics:
                score += f", {metrics['test/success_rate']:.1%} success"
            lines.append(score)
        lines += [f"{key}: {metrics[key]:.4f}" for key in ("train_loss", "val_loss") if key in metrics]
        videos = [value for key, value in metrics.items() if "/sim_video_" in key]
        lines += [f"video: {path}" for path in videos[:1]]
        if self.cfg.profile:
            names = [name for name in (PROFILE_FILE, TRACE_FILE) if (self.output_dir / name).is_file()]
            lines.append("where the time went: " + ", ".join(str(self.output_dir / name) for name in names))
        return lines

    def position(self) -> str:
        """Describe it by epoch and batch, counted as in the logs."""
        epoch, step = self.progress.epoch, self.progress.step_in_epoch
        if step:
            return f"epoch {epoch}, step {step}"
        return f"the end of epoch {epoch - 1}" if epoch else "the start"

    def next_step(self) -> str:
        """Return what to type next; without a runner, which `dp-eval` needs, how to use the policy in Python."""
        if self.cfg.runner is not None:
            return super().next_step()
        return f"in Python: policy = dp_core.load_policy('{self.get_checkpoint_path()}')"

    def close(self) -> None:
        """Finish writing, release the environments."""
        try:
            if self.runner is not None:
                self.runner.close()
        finally:
            super().close()

    def _load_data(self, dataset: BaseDataset, device: torch.device) -> None:
        cfg, options = self.cfg, self.options
        has_workers = cfg.dataloader.num_workers or cfg.val_dataloader.num_workers
        can_hold = device.type == "cuda" and cfg.dataloader.keep_on_device and not has_workers
        is_held = can_hold and dataset.keep_on_device(device)
        copied_to = None if is_held else device
        self.order = BatchOrder(
            len(dataset),
            cfg.dataloader.batch_size,
            seed=options.seed,
            shuffle=True,
            max_batches=options.max_train_steps,
            drop_last=cfg.dataloader.drop_last,
        )
        if self.order.batches_per_epoch() == 0:
            raise DataError(
                f"dataloader.drop_last: the {len(dataset)} windows are less than a batch of {self.batch_size}, so that "
                f"nothing is left to train on; set dataloader.batch_size={len(dataset)} or less, or leave drop_last out"
            )
        self.loader: DataLoader[Any] = make_loader(dataset, self.order, cfg.dataloader, copied_to)
        self.sampling_batch: dict[str, Any] = dataset.__getitems__(next(iter(self.order)))
        self.val_loader: DataLoader[Any] | None = None
        validation = dataset.get_validation_dataset()
        if len(validation) == 0:
            _say_that_there_is_no_validation(cfg.dataset)
        else:
            order = BatchOrder(
                len(validation),
                cfg.val_dataloader.batch_size,
                seed=options.seed,
                shuffle=False,
                max_batches=options.max_val_steps,
            )
            self.val_loader = make_loader(validation, order, cfg.val_dataloader, copied_to)

    def _move_to(self, device: torch.device) -> None:
        self.device = device
        set_device(device)
        self.model.to(device)
        if self.ema_model is not None:
            self.ema_model.to(device)
        # Loading its own state puts the optimizer's tensors where its parameters are now.
        self.optimizer.load_state_dict(self.optimizer.state_dict())

    def _find_position(self, dataset_size: int) -> None:
        """Enter the epoch where the progress stands, with the data and the batches of this config."""
        progress = self.progress
        former, now = (progress.dataset_size, progress.seed), (dataset_size, self.options.seed)
        if progress.windows_in_epoch and progress.dataset_size and former != now:
            logger.warning(
                "epoch %d starts again: it was in the order of %d windows and seed %d, and that of %d and seed %d is "
                "another",
                progress.epoch,
                *former,
                *now,
            )
            progress.restart_epoch()
        progress.dataset_size, progress.seed = now
        self.order.set_position(progress.epoch, windows=progress.windows_in_epoch)
        if progress.windows_in_epoch:
            progress.step_in_epoch = self.steps_per_epoch - len(self.order)

    def _make_schedule(self) -> None:
        """Build the schedule for the whole run; on resume, continue it at the share of the run that is done."""
        progress = self.progress
        total = self._count_updates(self.steps_per_epoch) * self.num_epochs
        left = self._count_updates(len(self.order))
        left += self._count_updates(self.steps_per_epoch) * (self.num_epochs - progress.epoch - 1)
        position = total - max(0, left)
        has_same_steps = (progress.updates, progress.updates_in_run or total) == (position, total)
        if progress.global_step and has_same_steps and not self._has_other_rates:
            self._restore_schedule(total)
        else:
            self._continue_schedule(position, total)
        if not has_same_steps and 0 < position < total:
            logger.info(
                "the learning rate continues at %.3g %% of the run: update %d of %d",
                100 * position / total,
                position,
                total,
            )
        progress.updates, progress.updates_in_run = position, total

    def _count_updates(self, batches: int) -> int:
        return -(-batches // self.options.gradient_accumulate_every)

    def _build_schedule(self, total: int) -> LRScheduler:
        schedule: LRScheduler = self.cfg.lr_schedule.build(optimizer=self.optimizer, num_training_steps=total)
        return schedule

    def _restore_schedule(self, total: int) -> None:
        """Continue exactly where the checkpoint was."""
        restored = self.optimizer.state_dict()
        self.attach("lr_schedule", self._build_schedule(total))
        # Making a schedule sets the learning rate of its first step.
        self.optimizer.load_state_dict(restored)

    def _continue_schedule(self, position: int, total: int) -> None:
        """Begin a schedule after ``position`` of its steps, with the optimizer's options of this config.

        Its saved state is of no use: it counts in steps of another length, or belongs to other options.
        """
        for group, configured in zip(self.optimizer.param_groups, self._configured, strict=True):
            group.pop("initial_lr", None)  # or a new schedule would take it for its own
            group |= configured
        schedule = self._build_schedule(total)
        advance(schedule, position)
        self.attach("lr_schedule", schedule, restore=False)


def _say_that_there_is_no_validation(dataset: Slot) -> None:
    """Log it, as a warning where validation was asked for by the usual name."""
    val_ratio = getattr(dataset.config, "val_ratio", 0)
    if val_ratio:
        logger.warning(
            "dataset.val_ratio is %s, but no window is held out: there will be no val_loss; hold out more episodes, or "
            "others",
            val_ratio,
        )
    else:
        logger.info("nothing is held out for validation: there will be no val_loss")


def _options_of(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}
