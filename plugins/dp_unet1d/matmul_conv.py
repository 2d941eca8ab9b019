"""Computes 1-D convolutions as one matrix product each, faster on CPUs where sequences are short and channels many.

The layers are torch's own, with the same weights under the same names; only their arithmetic goes another way, where
that pays. Convolution kernels of CPUs are made for images: for a trajectory of 4 to 16 steps they leave most of the
arithmetic units idle, and their gradients more so (`docs/performance.md` has the figures).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_FEWEST_WEIGHTS = 500_000
_WEIGHTS_PER_ROW = 256
"""How large a layer must be, alone and for each row of the product, for training to be faster this way."""
_WEIGHTS_PER_ROW_WITHOUT_GRADIENT = 2048
_FEWEST_ROWS_WITHOUT_GRADIENT = 32
"""Fewer, as in sampling for one robot, and reading the weights is all that takes time, which kernels do as fast."""
_MOST_ROWS_PACKED = 8
_FEWEST_WEIGHTS_PACKED = 1_000_000
"""With so few rows of such large weights, weights that oneDNN has packed are read 1.4 times as fast."""


class Conv1d(nn.Conv1d):
    """`torch.nn.Conv1d` with zero padding, without dilation and groups."""

    _packs = False
    _packed: Tensor | None = None
    _packed_version = 0
    """Of the weight that was packed."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, T) to (B, C', T / stride)."""
        if _is_autocast(x):
            return _autocast(self, x)
        rows = x.shape[0] * x.shape[2] // self.stride[0]
        if self._packs and _is_read_faster_packed(x, self.weight, rows):
            return self._forward_packed(x)
        if not _is_faster_as_product(x, self.weight, rows):
            return super().forward(x)
        return self.product(x, self.weight, self.bias)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve ``x`` (B, C, T) as one matrix product, with the given weight (C', C, kernel) and bias (C',)."""
        y: Tensor = _Conv1d.apply(x, weight, bias, self.stride[0], self.padding[0])
        return y

    def pack(self) -> None:
        """Keep a copy of the weight as oneDNN wants it, made at the first forward that is faster with it.

        It is made again where the weight was written to; so for weights that are final.
        """
        self._packs, self._packed = torch.backends.mkldnn.is_available(), None

    def __getstate__(self) -> dict[str, Any]:
        # oneDNN's tensors can be neither copied nor pickled; a copy packs again.
        return {**super().__getstate__(), "_packed": None}

    def _forward_packed(self, x: Tensor) -> Tensor:
        if self._packed is None or self._packed_version != self.weight._version:
            self._packed = self.weight.detach().flatten(1).to_mkldnn()
            self._packed_version = self.weight._version
        windows = _windows(x, self.weight.shape[2], self.stride[0], int(self.padding[0]))
        rows = torch.ops.aten.mkldnn_linear(windows.to_mkldnn(), self._packed).to_dense()
        return _from_rows(rows if self.bias is None else rows + self.bias, x.shape[0])


class ConvTranspose1d(nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` without output padding, dilation and groups."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve (B, C, T) to (B, C', T * stride), for a kernel larger than the stride by twice the padding."""
        if _is_autocast(x):
            return _autocast(self, x)
        rows = x.shape[0] * x.shape[2]
        if not _is_faster_as_product(x, self.weight, rows):
            return super().forward(x, output_size)
        return self.product(x, self.weight, self.bias)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve ``x`` (B, C, T) as one matrix product, with the given weight (C, C', kernel) and bias (C',)."""
        y: Tensor = _ConvTranspose1d.apply(x, weight, bias, self.stride[0], self.padding[0])
        return y


def _is_autocast(x: Tensor) -> bool:
    return x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


def _autocast(layer: Conv1d | ConvTranspose1d, x: Tensor) -> Tensor:
    """In lower precision as a product where that is faster; CPUs have slow convolutions in it, so otherwise without."""
    dtype = torch.get_autocast_dtype("cpu")
    with torch.autocast("cpu", enabled=False):
        if layer.weight.numel() < _FEWEST_WEIGHTS or _is_differentiated_forward(x):
            return layer(x.to(layer.weight.dtype))
        bias = None if layer.bias is None else layer.bias.to(dtype)
        return layer.product(x.to(dtype), layer.weight.to(dtype), bias)


def _is_faster_as_product(x: Tensor, weight: Tensor, rows: int) -> bool:
    """Measured on CPUs. Compilers choose for themselves."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or _is_differentiated_forward(x):
        return False
    if x.dtype in (torch.bfloat16, torch.float16):
        return True
    if x.dtype != torch.float32:
        return False
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return weight.numel() >= max(_FEWEST_WEIGHTS, _WEIGHTS_PER_ROW * rows)
    return rows >= _FEWEST_ROWS_WITHOUT_GRADIENT and weight.numel() >= _WEIGHTS_PER_ROW_WITHOUT_GRADIENT * rows


def _is_differentiated_forward(x: Tensor) -> bool:
    """Whether a Jacobian-vector product is being computed: torch's own convolutions can do that."""
    return torch.autograd.forward_ad.unpack_dual(x).tangent is not None


def _is_read_faster_packed(x: Tensor, weight: Tensor, rows: int) -> bool:
    return (
        rows <= _MOST_ROWS_PACKED
        and weight.numel() >= _FEWEST_WEIGHTS_PACKED
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
    )


class _Conv1d(torch.autograd.Function):
    """Windows of the input times the weight (C', C, K)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        windows = _windows(x, weight.shape[2], stride, padding)
        matrix = weight.flatten(1)
        y = windows @ matrix.t() if bias is None else torch.addmm(bias, windows, matrix.t())
        ctx.save_for_backward(windows, weight)
        ctx.geometry = x.shape[0], x.shape[2], stride, padding
        return _from_rows(y, x.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        windows, weight = ctx.saved_tensors
        batch, length, stride, padding = ctx.geometry
        rows = _to_rows(grad)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _overlap_add(rows @ weight.flatten(1), batch, length, weight.shape[2], stride, padding)
        if ctx.needs_input_grad[1]:
            grad_weight = (rows.t() @ windows).view_as(weight)
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0)
        return grad_x, grad_weight, grad_bias, None, None


class _ConvTranspose1d(torch.autograd.Function):
    """The input times the weight (C, C', K), and the windows that this gives added up where they overlap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        rows = _to_rows(x)
        kernel = weight.shape[2]
        length = (x.shape[2] - 1) * stride + kernel - 2 * padding
        y = _overlap_add(rows @ weight.flatten(1), x.shape[0], length, kernel, stride, padding)
        ctx.save_for_backward(rows, weight)
        ctx.geometry = x.shape[0], stride, padding
        return y if bias is None else y + bias[:, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        batch, stride, padding = ctx.geometry
        windows = _windows(grad, weight.shape[2], stride, padding)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _from_rows(windows @ weight.flatten(1).t(), batch)
        if ctx.needs_input_grad[1]:
            grad_weight = (rows.t() @ windows).view_as(weight)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 2))
        return grad_x, grad_weight, grad_bias, None, None


def _to_rows(x: Tensor) -> Tensor:
    """(B, C, T) -> (B*T, C)."""
    return x.transpose(1, 2).flatten(0, 1)


def _from_rows(rows: Tensor, batch: int) -> Tensor:
    """(B*T, C) -> (B, C, T)."""
    return rows.unflatten(0, (batch, -1)).transpose(1, 2)


def _windows(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """What each step of the output sees of the input: (B, C, T) -> (B*T', C*K)."""
    windows = F.pad(x, (padding, padding)).unfold(2, kernel, stride)  # (B, C, T', K)
    return windows.permute(0, 2, 1, 3).reshape(-1, x.shape[1] * kernel)


def _overlap_add(windows: Tensor, batch: int, length: int, kernel: int, stride: int, padding: int) -> Tensor:
    """The adjoint of `_windows`: (B*T', C*K) -> (B, C, T), entries that mean the same step added up."""
    windows = windows.unflatten(1, (-1, kernel)).unflatten(0, (batch, -1))  # (B, T', C, K)
    n_windows = windows.shape[1]
    padded = windows.new_zeros(batch, length + 2 * padding, windows.shape[2])
    for offset in range(kernel):
        padded[:, offset : offset + stride * (n_windows - 1) + 1 : stride] += windows[..., offset]
    return padded[:, padding : padding + length].transpose(1, 2)
