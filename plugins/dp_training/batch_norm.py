"""What batch normalisation needs of a run, said before the run instead of at its first epoch's end, or never."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from dp_core.errors import DataError
from dp_core.interfaces import BasePolicy
from dp_core.training.data_loading import first_windows, to_device
from dp_core.training.loop import in_precision

if TYPE_CHECKING:
    from dp_training.workspace import TrainWorkspace

logger = logging.getLogger(__name__)


def require_trainable_batches(workspace: TrainWorkspace) -> None:
    """Try a batch of one window, if there will be one, on a copy of a policy that has batch normalisation.

    Raises:
        DataError: the policy cannot be trained on it.
    """
    if 1 not in _last_batch_sizes(workspace) or not any(isinstance(m, _BatchNorm) for m in workspace.model.modules()):
        return
    policy = copy.deepcopy(workspace.model).train()
    batch = to_device(first_windows(workspace.sampling_batch, 1), workspace.device)
    try:
        with torch.no_grad(), in_precision(workspace.options, workspace.device):
            policy.compute_loss(batch)
    except ValueError as error:
        raise DataError(
            f"dataloader.batch_size: {workspace.progress.dataset_size} windows in batches of {workspace.batch_size} "
            f"leave a batch of one window, on which this policy cannot be trained ({error}); {_remedy(workspace)}"
        ) from error


def warn_of_kept_statistics(workspace: TrainWorkspace) -> None:
    """Say so if the policy that acts would normalise with the statistics of an untrained one."""
    if workspace.ema is None or workspace.ema.buffers == "copy":
        return
    if count := len(list(_trained_statistics(workspace.model.train()))):
        logger.warning(
            "ema.buffers: with 'keep', the average, which is the policy that acts, never gets the statistics of %d "
            "layers of batch normalisation; set ema.buffers=copy unless you want the original's numbers",
            count,
        )


def warn_of_an_earlier_average(workspace: TrainWorkspace, payload: Mapping[str, Any]) -> None:
    """Say so if the average in a payload kept its first statistics because its version knew nothing else."""
    average = payload["cfg"].get("ema")
    if average is None or "buffers" in average:
        return
    if count := len(list(_trained_statistics(workspace.model.train()))):
        logger.warning(
            "this checkpoint's average, which is the policy that acts, has the first statistics of %d layers of batch "
            "normalisation: its version never copied them; act with it after one more epoch, see ema.buffers",
            count,
        )


def _last_batch_sizes(workspace: TrainWorkspace) -> set[int]:
    """Count the windows in the last batch of the current epoch, and of those after it if there are any."""
    order, progress = workspace.order, workspace.progress
    if progress.epoch >= workspace.num_epochs:
        return set()
    sizes = {order.last_batch_size()}
    if progress.epoch + 1 < workspace.num_epochs:
        order.set_position(progress.epoch + 1)
        sizes.add(order.last_batch_size())
        order.set_position(progress.epoch, windows=progress.windows_in_epoch)
    return sizes


def _remedy(workspace: TrainWorkspace) -> str:
    size, batch_size = workspace.progress.dataset_size, workspace.batch_size
    remedies = ["dataloader.drop_last=true"] if 1 < batch_size < size else []
    better = (other for other in (*range(batch_size - 1, 1, -1), *range(batch_size + 1, size + 1)) if size % other != 1)
    remedies += [f"dataloader.batch_size={other}" for other in better][:1]
    return f"set {' or '.join(remedies)}" if remedies else "use group normalisation, or more demonstrations"


def _trained_statistics(policy: BasePolicy) -> Iterator[_BatchNorm]:
    for module in policy.modules():
        if isinstance(module, _BatchNorm) and module.training and module.running_mean is not None:
            yield module
