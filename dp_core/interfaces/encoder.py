"""`BaseEncoder`: from one time step's observations to a feature vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class BaseEncoder(nn.Module, ABC):
    """Turns the observations of one time step into one feature vector. Built with ``shape_meta``.

    Time steps are encoded independently: the policy folds (B, To) into N. Random augmentation happens in ``train()``
    mode only, per sample; in ``eval()`` mode equal inputs give equal features.

    An encoder that is different in one of these ways says so in its config class; what it does not say is as above::

        takes: ClassVar[tuple[str, ...]] = ("rgb", "low_dim")    # types of keys, or "images" for every type of image;
                                                                 # others are refused by the config check
        sees: ClassVar[str] = "window"                           # "step" where it says nothing
        gives: ClassVar[str] = "tokens"                          # "vector" where it says nothing; may be a property

    One that sees windows is built with ``n_obs_steps`` besides, and is given (B, To, *shape), oldest first; its result
    is of the whole window: features (B, Do). What is no number, such as text, is then B lists of To; else a list of N.
    One that gives tokens returns (N, L, Do), or (B, L, Do) of a window, for denoisers that attend to them, with L in
    ``n_tokens``. The policy joins the tokens of the To steps, oldest first.
    `dp_core.kit.nn.encoding` builds and runs encoders of every sort, for policies and for encoders that have parts.
    """

    # Set this in all subclasses, in the constructor.
    output_dim: int
    """Do, the size of one feature vector or token."""
    # Set this, too, in those that give tokens.
    n_tokens: int
    """L, the tokens of a step, or of the window for an encoder that sees that."""

    @abstractmethod
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode normalised observations.

        Args:
            obs: one entry per key of ``shape_meta["obs"]``. Images (N, C, H, W), float32 in [-1, 1];
                low-dimensional keys (N, *shape), float32, as the data set's normalizer scales them (mostly [-1, 1]).
                An encoder that needs other image statistics (ImageNet) converts from [-1, 1]. Of other modalities what
                they promise, see `BaseModality`: points and depth are float32, tokens int64, text a list of N strings.

        Returns:
            Features (N, Do), float32; for other results see the class.
        """

    def lr_multipliers(self) -> Mapping[str, float]:
        """Name the own parameters whose learning rate differs, each with the factor by which it does.

        The rate is the optimizer's times the factor, at every step of the schedule. Factors are above 0: what is not to
        be trained requires no gradient instead.
        """
        return {}
