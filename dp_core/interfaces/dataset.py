"""`BaseDataset`: windows of demonstrations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dp_core.normalizer import LinearNormalizer


class BaseDataset(Dataset[dict[str, Any]], ABC):
    """Windows of ``horizon`` steps over demonstrations, in raw units. Built with ``shape_meta``.

    An item is ``{"obs": {key: (T, *shape)}, "action": (Tp, Da)}`` of tensors, where T is Tp, or To when only the
    observations that a policy uses are loaded. Images are uint8 (T, C, H, W), numbers and actions float32, all else as
    its modality stores it; text is an array of numpy that holds Python's strings. What is observed once in an episode
    (``when: episode`` in ``shape_meta``) is repeated at each step.
    Windows that reach over the border of an episode repeat its first or last step.

    Draw nothing at random here: the order of the items is the loop's business, augmentation is the encoder's. A data
    set that draws all the same should use the global generators of torch, numpy or Python. With ``num_workers`` above
    0, what they give depends on ``training.seed``, the epoch and the batch alone; with 0 they are those of training
    itself, which then changes, and a run that is interrupted within an epoch may draw others when it is resumed. A
    generator of the data set's own would start from its seed in every process.
    """

    # Set this in all subclasses, in the constructor.
    shape_meta: dict[str, Any]
    """The one that it was built with, see `dp_core.interfaces`."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the windows."""

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one window, in the form that the class describes."""

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """Gather a whole batch at once, in the form of `__getitem__` with a leading B; the loader takes it as it is."""

    @abstractmethod
    def get_normalizer(self) -> LinearNormalizer:
        """Compute the statistics of ``action`` and of every key of ``obs`` that is scaled; see `BaseModality.fit`.

        Image keys map [0, 1] to [-1, 1]; the normalizer divides uint8 images by 255 first.
        """

    @abstractmethod
    def get_validation_dataset(self) -> BaseDataset:
        """Return the windows of the episodes that are held out from training; there may be none."""

    def action_limits(self) -> tuple[Tensor, Tensor] | None:
        """Return the smallest and the largest value of each entry of ``action`` in all demonstrations, each (Da,), raw.

        A run compares them with what the policy can give, and warns. With None, the default, it compares the
        statistics of the normalizer: override this where those are not the ones of the data.
        """
        return None

    def keep_on_device(self, device: torch.device) -> bool:
        """Keep the demonstrations in the memory of ``device``, if they fit there, so that batches need not be copied.

        Called before the first batch, where batches are made in the run's own process. Does nothing unless overridden.

        Returns:
            Whether they are there now: then batches are, too, also those of validation data sets made from this.
        """
        return False


Batch = dict[str, Any]
Obs = dict[str, Tensor]
