"""`ModuleAttrMixin`: a module that knows where it lives."""

from __future__ import annotations

import torch
from torch import nn


class ModuleAttrMixin(nn.Module):
    """Gives a module ``device`` and ``dtype``, also when it has no parameters.

    The empty tensor has the original's name, so that its checkpoints load. It is a buffer: as a parameter it never
    received a gradient, which distributed training reports as an error.
    """

    _dummy_variable: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_dummy_variable", torch.empty(0))

    @property
    def device(self) -> torch.device:
        """The device that inputs have to be on."""
        return self._dummy_variable.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the parameters."""
        return self._dummy_variable.dtype
