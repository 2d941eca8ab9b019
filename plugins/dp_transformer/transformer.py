"""`TransformerForDiffusion`: a transformer over the steps of a trajectory (Chi et al. 2023, DP-T)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dp_core.errors import InputError
from dp_core.interfaces import BaseDenoiser, ModuleAttrMixin
from dp_core.kit.nn.time_embedding import SinusoidalPosEmb, check_end_timestep

if TYPE_CHECKING:
    from dp_transformer.config import TransformerConfig

INIT_STD = 0.02


class TransformerForDiffusion(ModuleAttrMixin, BaseDenoiser):
    """Denoises trajectories of up to ``horizon`` steps, one token each.

    Time and observations are tokens as well, one per observed step: ``global_cond`` is taken apart into (B, To, Do),
    and ``tokens`` follow as they are. The trajectory attends to them across. With ``time_as_cond=False`` there is an
    encoder only, no observations, and the time is the first token.
    Parameter names, the order of registration (of optimizer states) and that of construction (of random
    initialisation) are the original's.
    """

    mask: Tensor | None
    """The mask (tokens, tokens) added to scores of self-attention: 0 where a token may look, else minus infinity."""
    memory_mask: Tensor | None
    """The same (T, 1 + To + L) for attention to the tokens of time and observations."""

    def __init__(
        self,
        config: TransformerConfig,
        *,
        input_dim: int,
        horizon: int,
        n_obs_steps: int,
        global_cond_dim: int | None,
        local_cond_dim: int | None = None,
        has_end_timestep: bool = False,
        token_dim: int | None = None,
        n_tokens: int = 0,
    ) -> None:
        super().__init__()
        _check_dims(config, n_obs_steps, global_cond_dim, local_cond_dim)
        _check_tokens(config, n_obs_steps, n_tokens)
        self.horizon = horizon
        self.n_obs_steps = n_obs_steps
        n_emb, has_obs = config.n_emb, global_cond_dim is not None or n_tokens > 0
        n_places = horizon if config.time_as_cond else horizon + 1
        # Column 0 is the time; a step sees the observations of no later step than its own.
        obs_steps = [0, *_steps_of(n_obs_steps if global_cond_dim is not None else 0, n_obs_steps)]
        obs_steps += _steps_of(n_tokens, n_obs_steps)

        self.input_emb = nn.Linear(input_dim, n_emb)
        self.pos_emb = nn.Parameter(torch.zeros(1, n_places, n_emb))
        self.drop = nn.Dropout(config.p_drop_emb)
        self.time_emb = SinusoidalPosEmb(n_emb)
        self.cond_obs_emb = nn.Linear(global_cond_dim // n_obs_steps, n_emb) if global_cond_dim is not None else None
        self.cond_token_emb = nn.Linear(token_dim, n_emb) if token_dim is not None else None
        self.cond_pos_emb = nn.Parameter(torch.zeros(1, len(obs_steps), n_emb)) if config.time_as_cond else None
        self.encoder: nn.Module
        self.decoder: nn.TransformerDecoder | None
        if config.time_as_cond:
            self.encoder = _encoder(config, config.n_cond_layers) if config.n_cond_layers else _mlp(n_emb)
            self.decoder = nn.TransformerDecoder(
                nn.TransformerDecoderLayer(
                    n_emb, config.n_head, 4 * n_emb, config.p_drop_attn, "gelu", batch_first=True, norm_first=True
                ),
                config.n_layer,
            )
        else:
            self.encoder = _encoder(config, config.n_layer)
            self.decoder = None
        self.register_buffer("mask", _causal_mask(n_places, range(n_places)) if config.causal_attn else None)
        self.register_buffer(
            "memory_mask", _causal_mask(n_places, obs_steps) if config.causal_attn and has_obs else None
        )
        self.ln_f = nn.LayerNorm(n_emb)
        self.head = nn.Linear(n_emb, input_dim)
        # The original has no such thing. Of the time that a step takes, added to the token of its start.
        self.step_length_emb = _mlp(n_emb) if has_end_timestep else None

        self.apply(_init_weights)
        nn.init.normal_(self.pos_emb, std=INIT_STD)
        if has_obs and self.cond_pos_emb is not None:
            nn.init.normal_(self.cond_pos_emb, std=INIT_STD)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
        *,
        end_timestep: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """Denoise a trajectory (B, T, D); see `BaseDenoiser`.

        Raises:
            InputError: the trajectory is longer than the horizon, or conditions and times are not those it was built
                with.
        """
        self._check_inputs(sample, local_cond, global_cond, tokens)
        check_end_timestep(end_timestep, self.step_length_emb is not None, "transformer")
        time = self.time_emb(timestep.expand(len(sample))).to(sample.dtype)[:, None]  # (B, 1, n_emb)
        if self.step_length_emb is not None and end_timestep is not None:
            length = self.time_emb((timestep - end_timestep).expand(len(sample))).to(sample.dtype)
            time = time + self.step_length_emb(length)[:, None]
        x = self.input_emb(sample)  # (B, T, n_emb)
        if self.decoder is None:
            x = self._embed(torch.cat([time, x], dim=1), self.pos_emb)
            x = self.encoder(x, **self._self_attention(x))[:, 1:]  # without the time
        else:
            memory = self._encode_condition(time, global_cond, tokens)
            x = self._embed(x, self.pos_emb)
            attention = {f"tgt_{name}": value for name, value in self._self_attention(x).items()}
            x = self.decoder(x, memory, memory_mask=_rows(self.memory_mask, x), **attention)
        return self.head(self.ln_f(x))  # (B, T, D)

    def no_weight_decay(self) -> set[str]:
        """Name biases, normalisation and positions: everything but matrices."""
        return {name for name, parameter in self.named_parameters() if parameter.ndim != 2}

    def _encode_condition(self, time: Tensor, global_cond: Tensor | None, tokens: Tensor | None) -> Tensor:
        seen = [time]
        if self.cond_obs_emb is not None and global_cond is not None:
            seen.append(self.cond_obs_emb(global_cond.unflatten(1, (self.n_obs_steps, -1))))  # (B, To, n_emb)
        if self.cond_token_emb is not None and tokens is not None:
            seen.append(self.cond_token_emb(tokens))  # (B, L, n_emb)
        assert self.cond_pos_emb is not None
        return self.encoder(self._embed(torch.cat(seen, dim=1), self.cond_pos_emb))  # (B, 1 + To + L, n_emb)

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return self.drop(tokens + positions[:, : tokens.shape[1]])

    def _self_attention(self, tokens: Tensor) -> dict[str, Tensor | bool | None]:
        if self.mask is None:
            return {"mask": None}
        # Said rather than left to torch to find out, which would wait for the GPU at every call.
        return {"mask": _rows(self.mask[:, : tokens.shape[1]], tokens), "is_causal": True}

    def _check_inputs(
        self, sample: Tensor, local_cond: Tensor | None, global_cond: Tensor | None, tokens: Tensor | None
    ) -> None:
        if sample.shape[1] > self.horizon:
            raise InputError(
                f"transformer: the trajectory has {sample.shape[1]} steps; at most {self.horizon}, the horizon it was "
                "built with, have a position"
            )
        if local_cond is not None:
            raise InputError("transformer: 'local_cond' was given; the network takes none")
        if (global_cond is not None) != (self.cond_obs_emb is not None):
            found, built = ("is missing", "with") if global_cond is None else ("was given", "without")
            raise InputError(f"transformer: 'global_cond' {found}; the network was built {built} it")
        if (tokens is not None) != (self.cond_token_emb is not None):
            found, built = ("are missing", "with") if tokens is None else ("were given", "without")
            raise InputError(f"transformer: 'tokens' {found}; the network was built {built} them")


def _check_dims(
    config: TransformerConfig, n_obs_steps: int, global_cond_dim: int | None, local_cond_dim: int | None
) -> None:
    if local_cond_dim is not None:
        raise InputError("transformer: local conditioning is not supported; choose another denoiser")
    if global_cond_dim is None:
        return
    if not config.time_as_cond:
        raise InputError("transformer: 'time_as_cond: false' takes no global conditioning; choose true")
    if global_cond_dim % n_obs_steps:
        raise InputError(
            f"transformer: global_cond_dim {global_cond_dim} does not divide into {n_obs_steps} observation steps"
        )


def _check_tokens(config: TransformerConfig, n_obs_steps: int, n_tokens: int) -> None:
    if n_tokens and not config.time_as_cond:
        raise InputError("transformer: 'time_as_cond: false' attends to no tokens; choose true")
    if n_tokens % n_obs_steps:
        raise InputError(f"transformer: {n_tokens} tokens do not divide into {n_obs_steps} observation steps")


def _steps_of(count: int, n_obs_steps: int) -> list[int]:
    """The observation step of each of ``count`` tokens, which come step by step."""
    return [index * n_obs_steps // count for index in range(count)]


def _mlp(n_emb: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_emb, 4 * n_emb), nn.Mish(), nn.Linear(4 * n_emb, n_emb))


def _encoder(config: TransformerConfig, n_layer: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        config.n_emb, config.n_head, 4 * config.n_emb, config.p_drop_attn, "gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, n_layer, enable_nested_tensor=False)


def _causal_mask(n_rows: int, steps: Sequence[int]) -> Tensor:
    """0 where the step of a column is not later than that of the row, else minus infinity, (n_rows, columns)."""
    is_later = torch.tensor(steps) > torch.arange(n_rows)[:, None]
    return torch.zeros(is_later.shape).masked_fill(is_later, -torch.inf)


def _rows(mask: Tensor | None, tokens: Tensor) -> Tensor | None:
    """The mask of a trajectory that may be shorter than the horizon."""
    return None if mask is None else mask[: tokens.shape[1]]


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INIT_STD)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.MultiheadAttention):
        assert module.in_proj_weight is not None
        nn.init.normal_(module.in_proj_weight, std=INIT_STD)
        nn.init.zeros_(module.in_proj_bias)
