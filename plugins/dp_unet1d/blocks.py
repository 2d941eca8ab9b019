"""The parts of the 1-D U-Net; names of modules are the original's, so that its weights load.

Inside the network tensors are (B, channels, T).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dp_unet1d.matmul_conv import Conv1d, ConvTranspose1d


def conv1d(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Module:
    """Make a convolution that keeps the length, or divides it by ``stride``; the network has no other."""
    return Conv1d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)


class Conv1dBlock(nn.Module):
    """Convolves, normalises groups of channels, and applies Mish."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, n_groups: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            conv1d(in_channels, out_channels, kernel_size), nn.GroupNorm(n_groups, out_channels), nn.Mish()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Transform (B, in_channels, T) into (B, out_channels, T)."""
        return self.block(x)


class ConditionalResidualBlock1D(nn.Module):
    """Two convolution blocks with a shortcut; between them the condition modulates every channel (FiLM).

    FiLM (Perez et al. 2018) multiplies by the predicted scale itself, not by one plus it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        cond_dim: int,
        *,
        kernel_size: int,
        n_groups: int,
        cond_predict_scale: bool,
    ) -> None:
        super().__init__()
        self.cond_predict_scale = cond_predict_scale
        self.blocks = nn.ModuleList(
            [
                Conv1dBlock(in_channels, out_channels, kernel_size, n_groups),
                Conv1dBlock(out_channels, out_channels, kernel_size, n_groups),
            ]
        )
        self.cond_encoder = nn.Sequential(
            nn.Mish(), nn.Linear(cond_dim, 2 * out_channels if cond_predict_scale else out_channels)
        )
        self.residual_conv = conv1d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        """Transform ``x`` (B, in_channels, T) into (B, out_channels, T), modulated by ``film`` (B, F), see `film`."""
        hidden = self._modulate(self.blocks[0](x), film[..., None])
        return self.blocks[1](hidden) + self.residual_conv(x)

    def film(self, cond: Tensor) -> Tensor:
        """Project the condition (B, cond_dim) to (B, F): a scale, where there is one, and a shift for each channel."""
        projected: Tensor = self.cond_encoder(cond)
        return projected

    def film_parts(self, time: Tensor, other: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Split `film` into the part of the times (N, time_dim), with the bias, and that of the rest of the condition.

        Their sum, of any time and any sample of the batch, is `film` of the two together but for rounding.
        """
        activation, linear = self.cond_encoder
        assert isinstance(linear, nn.Linear)
        of_time, of_other = linear.weight.split([time.shape[1], linear.in_features - time.shape[1]], dim=1)
        shift = F.linear(activation(time), of_time, linear.bias)
        return shift, None if other is None else F.linear(activation(other), of_other)

    def _modulate(self, hidden: Tensor, film: Tensor) -> Tensor:
        if not self.cond_predict_scale:
            return hidden + film
        scale, bias = film.chunk(2, dim=1)
        return scale * hidden + bias


class Downsample1d(nn.Module):
    """Halves the length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv1d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Halve (B, channels, T) to (B, channels, T / 2)."""
        return self.conv(x)


class Upsample1d(nn.Module):
    """Doubles the length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvTranspose1d(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Double (B, channels, T) to (B, channels, 2 T)."""
        return self.conv(x)
