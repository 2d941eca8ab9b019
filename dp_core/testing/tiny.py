"""The stand-ins that `dp_core.testing.tiny_plugin` describes: a few numbers each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from dp_core.interfaces import (
    BaseDataset,
    BaseDenoiser,
    BaseEncoder,
    BasePolicy,
    BaseRunner,
    BaseScheduler,
    Generators,
    Inpaint,
    draw_noise,
)
from dp_core.interfaces.scheduler import Denoise
from dp_core.normalizer import LinearNormalizer
from dp_core.observations import ObservationCheck
from dp_core.shape_meta import action_dim, obs_shape
from dp_core.testing.examples import SHAPE_METAS
from dp_core.testing.samples import normalizer_for, raw_batch, raw_obs
from dp_core.testing.tiny_plugin import TinyOptions, TinySchedulerOptions, TinyTrainConfig, TinyWindowOptions
from dp_core.training.data_loading import BatchOrder, make_loader
from dp_core.training.ema import EMAModel
from dp_core.training.loop import train
from dp_core.training.options import LoaderOptions
from dp_core.training.progress import Progress
from dp_core.training.random_state import RandomState
from dp_core.workspace import BaseWorkspace


class TinyEncoder(BaseEncoder):
    """Mixes the mean of every observation."""

    def __init__(self, config: TinyOptions, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self._keys = list(shape_meta["obs"])
        self.output_dim = 4
        self.layer = nn.Linear(len(self._keys), self.output_dim)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        features: Tensor = self.layer(
            torch.stack([obs[key].reshape(len(obs[key]), -1).mean(1) for key in self._keys], dim=1)
        )
        return features


class TinyDenoiser(BaseDenoiser):
    """One layer for every step of the trajectory, which sees the time and the conditions."""

    def __init__(
        self,
        config: TinyOptions,
        *,
        input_dim: int,
        horizon: int,
        n_obs_steps: int,
        global_cond_dim: int | None = None,
        local_cond_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.layer = nn.Linear(input_dim + 1 + (global_cond_dim or 0) + (local_cond_dim or 0), input_dim)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
    ) -> Tensor:
        batch_size, n_steps, _ = sample.shape
        time = timestep.to(sample.dtype).expand(batch_size) / 100
        parts = [sample, time[:, None, None].expand(-1, n_steps, -1)]
        if local_cond is not None:
            parts.append(local_cond)
        if global_cond is not None:
            parts.append(global_cond[:, None].expand(-1, n_steps, -1))
        prediction: Tensor = self.layer(torch.cat(parts, dim=-1))
        return prediction

    def no_weight_decay(self) -> set[str]:
        return {"layer.bias"}


class TinyScheduler(BaseScheduler):
    """Rectified flow in four steps."""

    def __init__(self, config: TinySchedulerOptions) -> None:
        self._scale = config.timestep_scale

    def sample_timesteps(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        return torch.rand(batch_size, device=device, generator=generator) * self._scale

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        share = (timesteps / self._scale)[:, None, None]
        return (1 - share) * x0 + share * noise

    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return noise - x0

    def sample(
        self,
        denoise: Denoise,
        shape: tuple[int, ...],
        num_inference_steps: int | None = None,
        generator: Generators = None,
        inpaint: Inpaint | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        count = num_inference_steps or 4
        sample = draw_noise(shape, generator, device=device, dtype=dtype)
        for time in torch.linspace(self._scale, 0, count + 1, device=device)[:-1]:
            sample = sample - denoise(_with_known(sample, inpaint), time) / count
        return _with_known(sample, inpaint)


class TinyPolicy(BasePolicy):
    """Predicts the same step for the whole horizon from the last observation; the loss sees some noise."""

    def __init__(self, config: TinyWindowOptions, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self._keys = list(shape_meta["obs"])
        size = sum(math.prod(obs_shape(shape_meta, key)) for key in self._keys)
        self.layer = nn.Linear(size, action_dim(shape_meta))
        self._shape_meta = shape_meta
        self.normalizer = LinearNormalizer(shape_meta)

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        target = self.normalizer["action"].normalize(batch["action"])
        noise = torch.empty_like(target).normal_(generator=generator)
        return (self._predict(batch["obs"], self.config.n_obs_steps - 1) - target - 0.1 * noise).square().mean()

    @torch.no_grad()
    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        self.name_ignored(obs, self._shape_meta)
        ObservationCheck(obs, self._shape_meta).finish()
        actions = self.normalizer["action"].unnormalize(self._predict(obs, -1))
        first = self.config.n_obs_steps - 1
        return {"action": actions[:, first : first + self.config.n_action_steps], "action_pred": actions}

    def _predict(self, obs: dict[str, Tensor], now: int) -> Tensor:
        seen = self.normalizer.normalize({key: obs[key][:, now] for key in self._keys})
        features = torch.cat([value.reshape(len(value), -1) for value in seen.values()], dim=-1)
        action: Tensor = self.layer(features)
        return action[:, None].expand(-1, self.config.horizon, -1)


class TinyDataset(BaseDataset):
    """Sixteen windows of random numbers; every fourth is held out."""

    def __init__(self, config: TinyWindowOptions, *, shape_meta: dict[str, Any]) -> None:
        self.shape_meta = shape_meta
        self._config = config
        self._data = raw_batch(shape_meta, 16, config.horizon)
        self._chosen = [index for index in range(16) if index % 4]

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.__getitems__([index])
        return {"obs": {key: value[0] for key, value in batch["obs"].items()}, "action": batch["action"][0]}

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        rows = [self._chosen[index] for index in indices]
        return {
            "obs": {key: value[rows] for key, value in self._data["obs"].items()},
            "action": self._data["action"][rows],
        }

    def get_normalizer(self) -> LinearNormalizer:
        return normalizer_for(self.shape_meta)

    def get_validation_dataset(self) -> TinyDataset:
        validation = TinyDataset(self._config, shape_meta=self.shape_meta)
        validation._chosen = list(range(0, 16, 4))
        return validation


class TinyRunner(BaseRunner):
    """Scores what the policy does with one observation, without an environment."""

    def __init__(self, config: TinyWindowOptions, *, shape_meta: dict[str, Any], output_dir: str | Path) -> None:
        super().__init__(output_dir)
        self._obs = raw_obs(shape_meta, 1, config.n_obs_steps)

    @torch.no_grad()
    def run(self, policy: BasePolicy) -> dict[str, Any]:
        was_training = policy.training
        policy.eval()
        policy.reset()
        action = policy.predict_action(self._obs, torch.Generator().manual_seed(0))["action"]
        policy.train(was_training)
        rate = {"test/success_rate": 0.0, "test/success_rate_low": 0.0, "test/success_rate_high": 0.8}
        return {"test/mean_score": float(action.mean().sigmoid()), **rate, "seconds_per_episode": 0.1}


class TinyWorkspace(BaseWorkspace):
    """Trains with dp-core's own loop, as small as a run can be; callbacks are tried in it."""

    cfg: TinyTrainConfig
    lr_schedule: LRScheduler
    ema_model: BasePolicy | None = None
    ema: EMAModel | None = None

    def __init__(self, cfg: TinyTrainConfig, output_dir: str | Path | None = None) -> None:
        super().__init__(cfg, output_dir)
        self.options = cfg.training
        self.device = torch.device("cpu")
        shape_meta = SHAPE_METAS["states"]
        self.model: BasePolicy = cfg.policy.build(shape_meta=shape_meta)
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.lr_schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, _constant)
        self.progress = Progress()
        self.random_state = RandomState()
        dataset: BaseDataset = cfg.dataset.build(shape_meta=shape_meta)
        self.model.set_normalizer(dataset.get_normalizer())
        self.order = BatchOrder(len(dataset), self.batch_size, seed=0, shuffle=True)
        self.runner: BaseRunner | None = cfg.runner.build(shape_meta=shape_meta, output_dir=self.output_dir)
        self.loader: DataLoader[Any] = make_loader(dataset, self.order, LoaderOptions(batch_size=self.batch_size))
        self.val_loader: DataLoader[Any] | None = None
        self.sampling_batch: dict[str, Any] = dataset.__getitems__([0, 1])

    @property
    def num_epochs(self) -> int:
        """The epochs of the whole run."""
        return self.options.num_epochs

    @property
    def steps_per_epoch(self) -> int:
        """The batches of an epoch."""
        return self.order.batches_per_epoch()

    @property
    def batch_size(self) -> int:
        """The windows in a batch."""
        return 6

    def loop(self) -> None:
        train(self)


def _constant(_: int) -> float:
    return 1.0


def _with_known(sample: Tensor, inpaint: Inpaint | None) -> Tensor:
    return sample if inpaint is None else torch.where(inpaint.mask, inpaint.values, sample)
