"""`BasePolicy`: from observations to actions."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dp_core.errors import InputError, quoted
from dp_core.interfaces.module import ModuleAttrMixin
from dp_core.interfaces.noise import Generators
from dp_core.normalizer import LinearNormalizer

logger = logging.getLogger(__name__)


class BasePolicy(ModuleAttrMixin, ABC):
    """Maps a window of observations to a chunk of actions, all in raw units.

    Images are uint8 or other whole numbers in 0..255, bool, or floats in [0, 1]; low-dimensional values are numbers of
    any dtype, in the task's own units. The modality of the key decides which, see `BaseModality`, as in data sets.
    Normalising is the policy's business: it owns a ``LinearNormalizer(shape_meta)``, which travels in its state dict.
    Randomness comes from ``generator`` only, or from torch's global state where it is None.
    """

    # Set this in all subclasses, in the constructor.
    normalizer: LinearNormalizer
    """``LinearNormalizer(shape_meta)``; `set_normalizer` fills it with the statistics of the data."""

    # Set this in subclasses that predict less than the whole window.
    first_predicted_step: int = 0
    """Step of the window that ``action_pred`` starts at, from 0 on."""
    _ignored: frozenset[str] = frozenset()

    @property
    def largest_normalized_action(self) -> float | None:
        """Largest magnitude that an action can have before it is unnormalised; None, the default: there is no limit.

        A run whose demonstrations are beyond that warns when it starts.
        """
        return None

    @abstractmethod
    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        """Return the training loss, a scalar.

        Args:
            batch: ``{"obs": {key: (B, To or more, *shape)}, "action": (B, Tp, Da)}`` on this policy's device, from the
                first step of the window on: the first To steps are observed.
            generator: on this policy's device.
        """

    @abstractmethod
    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        """Sample a chunk of actions.

        Of the steps of a window, To are observed, Tp predicted, and Ta executed; for To = 2, Ta = 8 and Tp = 16::

            step        0     1     2     3     4     5     6     7     8     9    ...   15
            observed    o     o
            predicted   a     a     a     a     a     a     a     a     a     a    ...   a
            executed          a     a     a     a     a     a     a     a
                              ^ now

        No row depends on the others, except for how batched arithmetic rounds: evaluations ask about many episodes at a
        time, each of which has a generator of its own.

        Args:
            obs: ``{key: (B, To or more, *shape)}``, oldest first; the last step is now. Of a longer history, the last
                To steps count. Arrays of strings for text, tensors for all else. Keys that ``shape_meta`` does not name
                are ignored: robots hand over all that they have. `name_ignored` says so once.
            generator: on this policy's device: a single one for the batch, or a sequence of B, one for each row, whose
                noise is then the same as if it were alone. `draw_noise` takes either.

        Raises:
            InputError: an observation is NaN or infinite, or an image is out of range: no action comes of it. See
                `dp_core.observations.ObservationCheck`.

        Returns:
            ``{"action": (B, Ta, Da), "action_pred": (B, Tp, Da)}``: what to execute, the first of them now, and the
            whole prediction, whose step ``To - 1`` is now. A policy may predict fewer steps, from
            ``first_predicted_step`` on.
        """

    def prepare_inference(self, obs: dict[str, Tensor], *, dtype: torch.dtype = torch.float32) -> None:
        """Get ready to act as fast as this device can. Call it once, after loading; a policy acts without it, too.

        From here on the policy only acts: it is neither trained nor saved. It acts once on ``obs``, so that no later
        call waits for what libraries do at first; global random state stays as it is.

        Args:
            obs: observations such as will come, on this policy's device, see `predict_action`. Batches of another size
                work, and may be slower.
            dtype: of the weights and the arithmetic of the networks. Lower precision is faster, and changes actions.

        Raises:
            InputError: the policy cannot act with such weights.
        """
        if dtype != torch.float32:
            raise InputError(f"dtype: this policy acts with weights of torch.float32, not of {dtype}; leave it out")
        self.eval().requires_grad_(False)
        self.predict_action(obs, torch.Generator(self.device))
        self.reset()

    def name_ignored(self, obs: Mapping[str, Any], shape_meta: Mapping[str, Any]) -> None:
        """Log, once for each, which observations make no difference, as ``shape_meta`` does not name them.

        For policies to call in `predict_action`.
        """
        if ignored := obs.keys() - shape_meta["obs"].keys() - self._ignored:
            self._ignored |= ignored
            names = quoted(sorted(ignored))
            logger.warning("predict_action: ignores %s, which shape_meta does not name", names)

    def reset(self) -> None:
        """Forget what was kept between calls.

        Called whenever the next call is about other episodes than the last: at the start of one, and in an evaluation
        of many at a time also when one of them ends. Between two resets, row i is always the same episode. So memory
        that reaches over a whole episode is possible for one robot, and in evaluations with ``n_envs: 1`` and without
        ``batch_invariant``, which resets before every call.
        """

    def set_normalizer(self, normalizer: LinearNormalizer) -> None:
        """Copy the statistics of ``normalizer``, which are those of the training data."""
        self.normalizer.load_state_dict(normalizer.state_dict())

    def forward(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        """Return `compute_loss`, a scalar. The loop calls the module, so that what wraps it is not bypassed."""
        return self.compute_loss(batch, generator)
