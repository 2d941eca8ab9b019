"""`EMAModel`: keeps an exponential moving average of a model's weights, which is what gets evaluated."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dp_core.errors import InputError


class EMAModel:
    """Averages weights with a decay that grows with the number of steps.

    ``decay(n) = clip(1 - (1 + (n - update_after_step - 1) / inv_gamma) ** -power, min_value, max_value)``, and 0, which
    copies, for the first steps (the schedule of https://github.com/crowsonkb/k-diffusion). With ``inv_gamma=1``, a
    power of 2/3 suits runs of a million steps and more (0.999 at 31,600 steps), 3/4 shorter ones (0.999 at 10,000).

    Frozen parameters and those of BatchNorm are copied, not averaged. Buffers, such as a BatchNorm's running
    statistics, are copied with ``buffers="copy"``. They are never touched with ``"keep"``, as in the original: the
    average then normalises with the statistics that ``model`` had in the beginning, which destroys the performance of
    networks with BatchNorm. The data's normalizer is made of buffers, too: set it on both models.

    Args:
        model: the module that becomes the average, usually a deep copy of the one that is trained, with equal weights.
            It is put into ``eval()`` mode and needs no gradients from here on.
        update_after_step: the average follows the model without delay for that many steps.
        single_pass: average in one pass over the weights instead of two: 1.5 times as fast, where memory is what takes
            time, and no less exact, but rounded differently from the original in the last digits.
        buffers: whether the average takes over the buffers of a state dict at every step. Others, which are not saved,
            stay its own.
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
        buffers: Literal["copy", "keep"] = "keep",
    ) -> None:
        self.averaged_model = model.eval().requires_grad_(False)
        self.update_after_step = update_after_step
        self.inv_gamma = inv_gamma
        self.power = power
        self.min_value = min_value
        self.max_value = max_value
        self.single_pass = single_pass
        self.buffers = buffers
        self.optimization_step = 0
        """Steps taken, counted over resumes."""
        self._source: nn.Module | None = None
        self._pairs: list[_Pair] = []
        self._buffers: list[_BufferPair] = []

    def get_decay(self, optimization_step: int) -> float:
        """Return the weight of the old average, in [min_value, max_value] or 0, at a step counted from 0."""
        step = optimization_step - self.update_after_step - 1
        if step <= 0:
            return 0.0
        decay = 1 - (1 + step / self.inv_gamma) ** -self.power
        return max(self.min_value, min(decay, self.max_value))

    @torch.no_grad()
    def step(self, new_model: nn.Module) -> None:
        """Take the weights of ``new_model`` into the average; call it once per optimizer step.

        Raises:
            InputError: ``new_model`` does not have the parameters of the averaged model, or not the buffers to copy.
        """
        if new_model is not self._source:
            self._pairs = _pair(self.averaged_model, new_model)
            self._buffers = _pair_buffers(self.averaged_model, new_model) if self.buffers == "copy" else []
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
        for averages, buffers in _by_dtype(self._buffers):
            torch._foreach_copy_(averages, buffers)
        self.optimization_step += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps; the weights are saved with the averaged model."""
        return {"optimization_step": self.optimization_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the number of steps: counting from 0 again would overwrite the average with the current weights."""
        self.optimization_step = int(state["optimization_step"])


class _Pair(NamedTuple):
    average: Tensor
    new: Tensor
    is_copied: bool


class _BufferPair(NamedTuple):
    """A buffer's name and the modules that have it: a module may put another tensor in its place at any time."""

    name: str
    average: nn.Module
    new: nn.Module


def _pair(average: nn.Module, new: nn.Module) -> list[_Pair]:
    """Match parameters by name; tensors that are tied are taken once."""
    theirs = dict(new.named_parameters(remove_duplicate=False))
    ours = dict(average.named_parameters(remove_duplicate=False))
    _require_same(theirs, ours, "parameters")
    batch_norms = [module for module in average.modules() if isinstance(module, _BatchNorm)]
    copied = {id(parameter) for module in batch_norms for parameter in module.parameters()}
    pairs = {_memory(ours[name]): _Pair(ours[name], theirs[name], id(ours[name]) in copied) for name in ours}
    return list(pairs.values())


def _pair_buffers(average: nn.Module, new: nn.Module) -> list[_BufferPair]:
    """Match saved buffers by name; modules and tensors that are tied are taken once."""
    theirs, ours = dict(_saved_buffers(new)), dict(_saved_buffers(average))
    _require_same(theirs, ours, "buffers")
    pairs = {}
    for path, module in ours.items():
        name = path.rpartition(".")[2]
        buffer = module.get_buffer(name)
        if buffer.numel():
            pairs[_memory(buffer)] = _BufferPair(name, module, theirs[path])
    return list(pairs.values())


def _saved_buffers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names of the buffers that a state dict has, and the module that each belongs to."""
    saved = model.state_dict(keep_vars=True).keys()
    for path, _ in model.named_buffers(remove_duplicate=False):
        if path in saved:
            yield path, model.get_submodule(path.rpartition(".")[0])


def _by_dtype(pairs: list[_BufferPair]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Averages and what they become, those of one dtype together, which a GPU copies at once."""
    tensors: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for name, average, new in pairs:
        buffer = getattr(average, name)
        averages, buffers = tensors.setdefault(buffer.dtype, ([], []))
        averages.append(buffer)
        buffers.append(getattr(new, name))
    yield from tensors.values()


def _require_same(theirs: Collection[str], ours: Collection[str], what: str) -> None:
    if different := sorted(set(theirs) ^ set(ours)):
        raise InputError(
            f"ema: the two models have different {what}, such as '{different[0]}'; "
            "average a deep copy of the model that is trained"
        )


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()
