"""What `dp_astray.plugin` describes: networks, schedulers and callbacks of the right shape that mean something else."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp_core import hookimpl
from dp_core.interfaces import BaseCallback, Generators
from dp_core.testing.tiny import TinyDataset, TinyDenoiser, TinyEncoder, TinyPolicy, TinyScheduler

# -- encoders ---------------------------------------------------------------------------------------------------------


class Blinkered(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return super().forward({**obs, "grip": obs["state"]})


class Shaky(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return super().forward(obs) + 0.01 * float(np.random.normal())


class Reseeding(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        random.seed(0)
        return super().forward(obs)


class Standardised(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return super().forward(
            {key: value / value.flatten(1).std(1).reshape(-1, *[1] * (value.ndim - 1)) for key, value in obs.items()}
        )


class Sleepless(TinyEncoder):
    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        self.dropout = nn.Dropout()

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return super().forward(obs) + self.dropout(torch.zeros(self.output_dim))

    def train(self, mode: bool = True) -> Sleepless:
        self.training = mode
        return self


class Dropping(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return F.dropout(super().forward(obs), 0.5, training=True)


class Learning(TinyEncoder):
    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        self.register_buffer("n_calls", torch.zeros(()))

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        self.n_calls += 1
        return super().forward(obs)


class Unsaved(TinyEncoder):
    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        self.register_buffer("center", torch.zeros(4), persistent=False)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        features = super().forward(obs)
        if self.training:
            self.center = 0.5 * self.center + 0.5 * features.detach().mean(0)
        return features - self.center


# -- denoisers --------------------------------------------------------------------------------------------------------


class Timeless(TinyDenoiser):
    def forward(self, sample: Tensor, timestep: Tensor, *conditions: Any, **named: Any) -> Tensor:
        return super().forward(sample, torch.zeros_like(timestep), *conditions, **named)


class Unconditional(TinyDenoiser):
    def forward(self, sample: Tensor, timestep: Tensor, local_cond: Any = None, global_cond: Any = None) -> Tensor:
        parts = {"local_cond": local_cond, "global_cond": global_cond}
        return super().forward(
            sample, timestep, **{k: v if v is None else torch.ones_like(v) for k, v in parts.items()}
        )


class Logarithmic(TinyDenoiser):
    def forward(self, sample: Tensor, timestep: Tensor, *conditions: Any, **named: Any) -> Tensor:
        return super().forward(sample, timestep.float().log() * (timestep + 1), *conditions, **named)


class Impatient(TinyDenoiser):
    def forward(self, sample: Tensor, *arguments: Any, **named: Any) -> Tensor:
        return super().forward(sample.mul_(0.5), *arguments, **named)


# -- policies ---------------------------------------------------------------------------------------------------------


class Rising(TinyPolicy):
    """Works, and predicts another action for every step of the window."""

    def _predict(self, obs: dict[str, Tensor], now: int) -> Tensor:
        steps = torch.arange(self.config.horizon)[:, None]
        return super()._predict(obs, now) + steps


class Early(Rising):
    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        predicted = super().predict_action(obs, generator)["action_pred"]
        return {"action": predicted[:, : self.config.n_action_steps], "action_pred": predicted}


class Settling(Rising):
    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        self.eval()
        return super().predict_action(obs, generator)


class Rolling(Rising):
    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        return super().compute_loss(batch, generator) * float(np.random.uniform(0.5, 1.5))


class Dividing(Rising):
    def _predict(self, obs: dict[str, Tensor], now: int) -> Tensor:
        predicted = super()._predict(obs, now)
        if "image" not in obs:
            return predicted
        pixels = obs["image"][:, now].float().flatten(1)
        return predicted + (pixels.mean(1) / pixels.std(1))[:, None, None]


# -- schedulers -------------------------------------------------------------------------------------------------------


class Uneven(TinyScheduler):
    def sample_timesteps(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._scale * torch.from_numpy(np.random.random(batch_size)).float()


class Spaced(TinyScheduler):
    def sample(self, denoise: Any, shape: Any, count: Any = None, *arguments: Any, **named: Any) -> Tensor:
        made = super().sample(denoise, shape, count, *arguments, **named)
        return made * ((count or 4) - 1) / ((count or 4) - 1) if count != 1 else made / 0 * 0


class Overwriting(TinyScheduler):
    def sample(
        self, denoise: Any, shape: Any, count: Any = None, generator: Any = None, inpaint: Any = None, **named: Any
    ) -> Tensor:
        if inpaint is not None:
            inpaint.values.mul_(inpaint.mask).sub_(inpaint.values)
        return super().sample(denoise, shape, count, generator, inpaint, **named)


# -- data sets that nobody writes known episodes for -----------------------------------------------------------------


class Overlapping(TinyDataset):
    def get_validation_dataset(self) -> TinyDataset:
        validation = super().get_validation_dataset()
        validation._chosen = list(range(0, 16, 2))
        return validation


# -- callbacks --------------------------------------------------------------------------------------------------------


class Oblivious(BaseCallback):
    def __init__(self, config: Any) -> None:
        self.n_epochs = 0

    @hookimpl
    def dp_after_epoch(self) -> None:
        self.n_epochs += 1
