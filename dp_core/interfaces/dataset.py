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
    observations that a policy uses are loaded. Images are uint8 (T, C, H, W); everything else is float32.
    Windows that reach over the border of an episode repeat its first or last step.
    Draw nothing at random here: the order of the items is the loop's business, augmentation is the encoder's. Where one
    draws all the same, from the global generators of torch, numpy or Python, the numbers depend on ``training.seed``,
    the epoch and the batch alone if ``num_workers`` is above 0; if it is 0, they are taken out of those that training
    draws, and validation takes some, too. A generator of the data set's own starts again in every process.
    """

    shape_meta: dict[str, Any]

    @abstractmethod
    def __len__(self) -> int:
        """Number of windows."""

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]:
        """One window."""

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """A whole batch in one gather: as `__getitem__`, with a leading B. The loader takes it as it is."""

    @abstractmethod
    def get_normalizer(self) -> LinearNormalizer:
        """Statistics of every key of ``obs`` and of ``action``.

        Image keys map [0, 1] to [-1, 1]; the normalizer divides uint8 images by 255 first.
        """

    @abstractmethod
    def get_validation_dataset(self) -> BaseDataset:
        """The episodes held out from training; may be empty."""

    def action_limits(self) -> tuple[Tensor, Tensor] | None:
        """Tell the smallest and the largest value of each entry of ``action`` in all demonstrations, each (Da,), raw.

        They are compared with what a policy can give. None, the default, is enough where the statistics of the
        normalizer are those of the data, which then tell it.
        """
        return None

    def hold_on(self, device: torch.device) -> bool:
        """Keep the demonstrations in the memory of ``device``, if they fit there, so that batches need not be copied.

        Called before the first batch, where batches are made in the run's own process. What data sets do unless they
        say otherwise is nothing.

        Returns:
            Whether they are there now: then batches are, too, also those of validation data sets made from this.
        """
        return False


Batch = dict[str, Any]
Obs = dict[str, Tensor]
