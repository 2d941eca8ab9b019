"""`SamplingGraph`: all steps of the sampling as one CUDA graph, launched by a single call.

A denoiser consists of hundreds of small kernels. For one robot the GPU is done with each sooner than Python has
launched the next, and waits; a graph is launched as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dp_diffusion.conditioning import Condition

_N_TRIALS = 2
"""Runs before the capture, in which libraries choose kernels and tables go to the device."""


class SamplingGraph:
    """Samples as the function it is made of, for conditions of one shape, without gradients.

    Draws what the function draws from the same generators, and leaves them as it does.
    """

    def __init__(self, sample: Callable[[Condition], Tensor], condition: Condition, device: torch.device) -> None:
        """Capture ``sample``.

        Args:
            sample: draws from the global generator of ``device``; must not wait for the device.
            condition: of the shape to come, on ``device``.
        """
        self._condition = condition.map(torch.clone)
        self._device = device
        self._graph = torch.cuda.CUDAGraph()
        random_state = torch.cuda.get_rng_state(device)
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.device(device), torch.cuda.stream(aside):
            for _ in range(_N_TRIALS):
                sample(self._condition)
        torch.cuda.current_stream(device).wait_stream(aside)
        with torch.cuda.device(device), torch.cuda.graph(self._graph):
            self._trajectory = sample(self._condition)
        torch.cuda.set_rng_state(random_state, device)

    def fits(self, condition: Condition) -> bool:
        """Tell whether it was captured for conditions of this shape."""
        return condition.shapes() == self._condition.shapes()

    def __call__(self, condition: Condition, generator: torch.Generator | None) -> Tensor:
        """Sample, (B, T, D)."""
        for own, given in zip(self._condition.tensors(), condition.tensors(), strict=True):
            own.copy_(given)
        if generator is None:
            self._graph.replay()
        else:
            # A graph draws from the global generator, which therefore stands in for the one that was given.
            random_state = torch.cuda.get_rng_state(self._device)
            torch.cuda.set_rng_state(generator.get_state(), self._device)
            self._graph.replay()
            generator.set_state(torch.cuda.get_rng_state(self._device))
            torch.cuda.set_rng_state(random_state, self._device)
        return self._trajectory.clone()
