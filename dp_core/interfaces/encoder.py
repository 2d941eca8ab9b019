"""`BaseEncoder`: from one time step's observations to a feature vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class BaseEncoder(nn.Module, ABC):
    """Turns the observations of one time step into one feature vector. Built with ``shape_meta``.

    Time steps are encoded independently: the policy folds (B, To) into N. Random augmentation happens in ``train()``
    mode only, per sample; in ``eval()`` mode equal inputs give equal features.
    """

    # Set this in all subclasses, in the constructor.
    output_dim: int
    """Do, the size of one feature vector."""

    @abstractmethod
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode normalised observations.

        Args:
            obs: one entry per key of ``shape_meta["obs"]``. Images (N, C, H, W), float32 in [-1, 1];
                low-dimensional keys (N, *shape), float32, as the data set's normalizer scales them (mostly [-1, 1]).
                An encoder that needs other image statistics (ImageNet) converts from [-1, 1].

        Returns:
            Features (N, Do), float32.
        """

    def lr_multipliers(self) -> Mapping[str, float]:
        """Name the own parameters whose learning rate differs, each with the factor by which it does.

        The rate is the optimizer's times the factor, at every step of the schedule. Factors are above 0: what is not to
        be trained requires no gradient instead.
        """
        return {}
