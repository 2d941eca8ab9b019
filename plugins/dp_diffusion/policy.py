"""`DiffusionPolicy`: normalise, encode, condition; then the loss, or sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dp_core.interfaces import BaseDenoiser, BaseEncoder, BasePolicy, BaseScheduler
from dp_core.normalizer import LinearNormalizer
from dp_core.shape_meta import action_dim
from dp_diffusion.conditioning import Conditioning, GlobalConditioning, InpaintingConditioning
from dp_diffusion.inputs import check_action, first_steps
from dp_diffusion.mask_generator import LowdimMaskGenerator

if TYPE_CHECKING:
    from dp_diffusion.config import DiffusionConfig


class DiffusionPolicy(BasePolicy):
    """Learns the distribution of action trajectories given observations (Chi et al. 2023).

    Its state dict has the names of the original's hybrid policy, and with an encoder that has no parameters those of
    the original's low-dimensional policy. Draws, in this order: the encoder's augmentation, noise, timesteps.
    """

    def __init__(self, config: DiffusionConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.shape_meta = shape_meta
        self.action_dim = action_dim(shape_meta)

        encoder: BaseEncoder = config.encoder.build(shape_meta=shape_meta)
        # Known entries exist with inpainting only; but the original's state dict always has the mask generator.
        mask_generator = LowdimMaskGenerator(
            self.action_dim,
            obs_dim=0 if config.obs_as_global_cond else encoder.output_dim,
            max_n_obs_steps=config.n_obs_steps,
        )
        self.conditioning: Conditioning
        if config.obs_as_global_cond:
            self.conditioning = GlobalConditioning(self.action_dim, encoder.output_dim, config.n_obs_steps)
        else:
            self.conditioning = InpaintingConditioning(
                self.action_dim, encoder.output_dim, config.horizon, mask_generator
            )

        self.obs_encoder = encoder
        self.model: BaseDenoiser = config.denoiser.build(
            input_dim=self.conditioning.trajectory_dim,
            horizon=config.horizon,
            n_obs_steps=config.n_obs_steps,
            global_cond_dim=self.conditioning.global_cond_dim,
            local_cond_dim=None,
        )
        self.mask_generator = mask_generator
        self.normalizer = LinearNormalizer()
        self.scheduler: BaseScheduler = config.scheduler.build()

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        """Return the training loss; see `BasePolicy`.

        Mean squared error between what the denoiser predicts and what the scheduler wants predicted. Known entries
        contribute zero, and still count in the mean.
        """
        check_action(batch["action"], self.shape_meta, self.config.horizon)
        actions = self.normalizer["action"].normalize(batch["action"])
        features = self._encode(batch["obs"], self.conditioning.n_training_obs_steps, self.conditioning.training_hint)
        trajectory = self.conditioning.trajectory(actions, features)
        condition = self.conditioning.condition(features)

        noise = torch.randn(trajectory.shape, generator=generator, device=trajectory.device, dtype=trajectory.dtype)
        timesteps = self.scheduler.sample_timesteps(len(trajectory), trajectory.device, generator)
        noisy = self.scheduler.add_noise(trajectory, noise, timesteps)
        if condition.known is not None:
            noisy = torch.where(condition.known.mask, condition.known.values, noisy)

        prediction = self.model(noisy, timesteps, global_cond=condition.global_cond)
        error = (prediction - self.scheduler.target(trajectory, noise, timesteps)).square()
        if condition.known is not None:
            error = error.masked_fill(condition.known.mask, 0)
        return error.mean()

    @torch.no_grad()
    def predict_action(self, obs: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Sample a chunk of actions; see `BasePolicy`."""
        features = self._encode(obs, self.config.n_obs_steps)
        condition = self.conditioning.condition(features)

        def denoise(sample: Tensor, timestep: Tensor) -> Tensor:
            return self.model(sample, timestep, global_cond=condition.global_cond)

        trajectory = self.scheduler.sample(
            denoise,
            (len(features), self.config.horizon, self.conditioning.trajectory_dim),
            generator=generator,
            inpaint=condition.known,
            device=features.device,
            dtype=features.dtype,
        )
        action_pred = self.normalizer["action"].unnormalize(trajectory[..., : self.action_dim])
        now = self.config.n_obs_steps - 1
        return {"action": action_pred[:, now : now + self.config.n_action_steps], "action_pred": action_pred}

    def _encode(self, obs: dict[str, Tensor], n_steps: int, hint: str = "") -> Tensor:
        """Features of the first ``n_steps``, (B, n_steps, Do). Later steps are not even normalised."""
        obs = first_steps(obs, self.shape_meta, n_steps, hint)
        obs = {key: value.flatten(0, 1) for key, value in self.normalizer.normalize(obs).items()}  # (B*T, *shape)
        return self.obs_encoder(obs).unflatten(0, (-1, n_steps))
