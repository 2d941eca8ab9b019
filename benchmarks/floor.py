"""What no program can go below on this machine: arithmetic over measured FLOP/s, memory traffic over measured bytes/s.

    python benchmarks/floor.py [--device cuda]

The ceilings are what the machine reaches at its best: one large matrix product, and a pass over a large tensor. Traffic
counts every weight as often as it has to be read and written, and nothing else, as if all activations stayed in caches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import attrs
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from common import Settings, parse, wait_for

_ATTEMPTS = 15
_CONDITION = ("cond_encoder", "diffusion_step_encoder")
"""Modules of the U-Net that look at times and condition only."""


@attrs.frozen
class Work:
    """The arithmetic and the memory traffic of a piece of work, which can overlap within it."""

    flops: float
    """The multiplications and additions, each counted as one."""
    read: float
    """The bytes of passes that only read."""
    updated: float = 0.0
    """The bytes of passes that write as well; each byte read and each byte written is counted."""


@attrs.frozen
class Ceilings:
    """The most that the device reaches, per second."""

    flops: float
    read: float
    """The bytes of passes that only read."""
    updated: float
    """The bytes of passes that write what they have read: more, where a write needs the line in the cache anyhow."""

    def seconds(self, *pieces: Work) -> float:
        """Compute the least time for pieces of work of which one begins when the other is done."""
        return sum(max(work.flops / self.flops, work.read / self.read + work.updated / self.updated) for work in pieces)

    def __str__(self) -> str:
        return f"{self.flops / 1e9:.4g} GFLOP/s, {self.read / 1e9:.4g} GB/s read, {self.updated / 1e9:.4g} GB/s updated"


def measure_ceilings(settings: Settings, dtype: torch.dtype = torch.float32) -> Ceilings:
    """Measure the best of a few square matrix products with elements of ``dtype``, and of passes over large tensors.

    On a GPU float32 products may round to TF32, as torch's convolutions do there.
    """
    device = settings.device
    is_gpu = device.type == "cuda"
    size = 256 if settings.quick else 8192 if is_gpu else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    n_bytes = 2**22 if settings.quick else 2**32 if is_gpu else 2**30
    x, y = (torch.ones(n_bytes // 4, device=device) for _ in range(2))
    reads: dict[int, Callable[[], object]] = {1: x.sum, 2: lambda: torch.dot(x, y)}
    updates: dict[int, Callable[[], object]] = {2: lambda: x.mul_(1.0), 3: lambda: x.lerp_(y, 0.5)}
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        product_seconds = _best_seconds(lambda: a @ b, device)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    return Ceilings(
        flops=2 * size**3 / product_seconds,
        read=max(count * n_bytes / _best_seconds(read, device) for count, read in reads.items()),
        updated=max(count * n_bytes / _best_seconds(update, device) for count, update in updates.items()),
    )


def count_flops(function: Callable[[], object]) -> int:
    """Count those of the matrix products and convolutions that ``function`` does, backward included."""
    with FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


def training_work(policy: nn.Module, flops: float) -> tuple[Work, Work, Work]:
    """Compute the work of one step: forward and backward; AdamW; average.

    Traffic in weights of float32: read forward and backward, gradients written; the optimizer reads weight, gradient
    and two moments, and writes all but the gradient; the average reads weight and average, and writes it.
    """
    size = 4.0 * sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
    return Work(flops, 2 * size, size), Work(0, 0, 7 * size), Work(0, 0, 3 * size)


def sampling_work(
    encoder: nn.Module, denoiser: nn.Module, encoder_flops: float, step_flops: float
) -> tuple[Work, Work]:
    """Compute the work that is done once for a chunk of actions, and that of one step.

    Times and condition are known before the first step, so what projects them is read once; all other weights of the
    denoiser are read at every step.
    """
    once = [parameter for name, parameter in denoiser.named_parameters() if any(part in name for part in _CONDITION)]
    all_bytes, once_bytes = _weight_bytes(denoiser.parameters()), _weight_bytes(once)
    return Work(encoder_flops, _weight_bytes(encoder.parameters()) + once_bytes), Work(
        step_flops, all_bytes - once_bytes
    )


def _weight_bytes(parameters: Iterable[nn.Parameter]) -> float:
    return float(sum(parameter.numel() * parameter.element_size() for parameter in parameters))


def _best_seconds(function: Callable[[], object], device: torch.device) -> float:
    function()
    seconds = []
    for _ in range(_ATTEMPTS):
        wait_for(device)
        start = time.perf_counter()
        function()
        wait_for(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the ceilings."""
    settings = parse(__doc__ or "", argv, rounds=1)
    for dtype in (torch.float32, torch.bfloat16):
        print(f"{dtype!s:16}{measure_ceilings(settings, dtype)}")


if __name__ == "__main__":
    main()
