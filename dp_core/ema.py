"""`EMAModel`: keeps an exponential moving average of a model's weights, which is what gets evaluated."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dp_core.errors import InputError


class EMAModel:
    """Averages weights with a decay that grows with the number of steps.

    ``decay(n) = clip(1 - (1 + (n - update_after_step - 1) / inv_gamma) ** -power, min_value, max_value)``, and 0, which
    copies, for the first steps (the schedule of https://github.com/crowsonkb/k-diffusion). With ``inv_gamma=1``, a
    power of 2/3 suits runs of a million steps and more (0.999 at 31,600 steps), 3/4 shorter ones (0.999 at 10,000).

    Frozen parameters and those of BatchNorm are copied, not averaged. Buffers are never touched, as in the original:
    the running statistics of a BatchNorm stay what they were in ``model``, so averaging destroys the performance of
    networks with BatchNorm. Use GroupNorm, or do without averaging. The data's normalizer is made of buffers, too: set
    it on both models.

    Args:
        model: the module that becomes the average, usually a deep copy of the one that is trained, with equal weights.
            It is put into ``eval()`` mode and needs no gradients from here on.
        update_after_step: the average follows the model without delay for that many steps.
        single_pass: average in one pass over the weights instead of two: 1.5 times as fast, where memory is what takes
            time, and no less exact, but rounded differently from the original in the last digits.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        update_after_step: int = 0,
        inv_gamma: float = 1.0,
        power: float = 2 / 3,
        min_value: float = 0.0,
        max_value: float = 0.9999,
        single_pass: bool = False,
    ) -> None:
        self.averaged_model = model.eval().requires_grad_(False)
        self.update_after_step = update_after_step
        self.inv_gamma = inv_gamma
        self.power = power
        self.min_value = min_value
        self.max_value = max_value
        self.single_pass = single_pass
        self.optimization_step = 0
        """Steps taken, counted over resumes."""
        self._source: nn.Module | None = None
        self._pairs: list[_Pair] = []

    def get_decay(self, optimization_step: int) -> float:
        """Weight of the old average at the step with that number, counted from 0."""
        step = optimization_step - self.update_after_step - 1
        if step <= 0:
            return 0.0
        decay = 1 - (1 + step / self.inv_gamma) ** -self.power
        return max(self.min_value, min(decay, self.max_value))

    @torch.no_grad()
    def step(self, new_model: nn.Module) -> None:
        """Take the weights of ``new_model`` into the average; call it once per optimizer step.

        Raises:
            InputError: ``new_model`` does not have the parameters of the averaged model.
        """
        if new_model is not self._source:
            self._pairs = _pair(self.averaged_model, new_model)
            self._source = new_model
        decay = self.get_decay(self.optimization_step)
        averaged = [pair for pair in self._pairs if pair.new.requires_grad and not pair.is_copied]
        copied = [pair for pair in self._pairs if pair.is_copied or not pair.new.requires_grad]
        if averaged:
            averages = [pair.average for pair in averaged]
            weights = [pair.new.to(pair.average.dtype) for pair in averaged]
            if self.single_pass:
                torch._foreach_lerp_(averages, weights, 1 - decay)
            else:
                torch._foreach_mul_(averages, decay)
                torch._foreach_add_(averages, weights, alpha=1 - decay)
        if copied:
            torch._foreach_copy_([pair.average for pair in copied], [pair.new for pair in copied])
        self.optimization_step += 1

    def state_dict(self) -> dict[str, Any]:
        """The counter. The weights are saved with the averaged model."""
        return {"optimization_step": self.optimization_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting: starting at 0 again would overwrite the average with the current weights."""
        self.optimization_step = int(state["optimization_step"])


class _Pair(NamedTuple):
    average: Tensor
    new: Tensor
    is_copied: bool


def _pair(average: nn.Module, new: nn.Module) -> list[_Pair]:
    """Match parameters by name; tensors that are tied are taken once."""
    theirs = dict(new.named_parameters(remove_duplicate=False))
    ours = dict(average.named_parameters(remove_duplicate=False))
    if different := sorted(theirs.keys() ^ ours.keys()):
        raise InputError(
            f"ema: the two models have different parameters, such as '{different[0]}'; "
            "average a deep copy of the model that is trained"
        )
    batch_norms = [module for module in average.modules() if isinstance(module, _BatchNorm)]
    copied = {id(parameter) for module in batch_norms for parameter in module.parameters()}
    pairs = {_memory(ours[name]): _Pair(ours[name], theirs[name], id(ours[name]) in copied) for name in ours}
    return list(pairs.values())


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()
