"""Other people's code, where it is on this machine: the original in the folder DP_ORIGINAL, LeRobot as installed.

Both are timed as they are, with the yardstick's loop around them, which is what theirs does.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from plain import make_scheduler

ORIGINAL = "original"
LEROBOT = "LeRobot"
_FOLDER = "DP_ORIGINAL"


def has_original() -> bool:
    """Tell whether DP_ORIGINAL names a checkout of github.com/real-stanford/diffusion_policy; put it on the path."""
    folder = os.environ.get(_FOLDER)
    if folder and folder not in sys.path:
        sys.path.append(folder)
    return bool(folder)


def has_lerobot() -> bool:
    """Tell whether the package can be imported."""
    return importlib.util.find_spec("lerobot") is not None


def original_policy(ours: Any) -> nn.Module:
    """Make the original's U-Net policy with our weights: for images if there is a camera, else for states."""
    config, unet = ours.config, ours.config.denoiser.config
    scheduler, steps = make_scheduler(config.scheduler)
    options: dict[str, Any] = {
        "noise_scheduler": scheduler,
        "horizon": config.horizon,
        "n_action_steps": config.n_action_steps,
        "n_obs_steps": config.n_obs_steps,
        "num_inference_steps": steps,
        "obs_as_global_cond": True,
    }
    sizes = {
        "diffusion_step_embed_dim": unet.diffusion_step_embed_dim,
        "down_dims": list(unet.down_dims),
        "kernel_size": unet.kernel_size,
        "n_groups": unet.n_groups,
        "cond_predict_scale": unet.cond_predict_scale,
    }
    with _quiet():
        if "obs" in ours.shape_meta["obs"]:
            from diffusion_policy.model.diffusion.conditional_unet1d import ConditionalUnet1D
            from diffusion_policy.policy.diffusion_unet_lowdim_policy import DiffusionUnetLowdimPolicy

            obs_dim = ours.obs_encoder.output_dim
            model = ConditionalUnet1D(ours.action_dim, global_cond_dim=config.n_obs_steps * obs_dim, **sizes)
            policy: Any = _FlatObs(
                DiffusionUnetLowdimPolicy(
                    model=model, obs_dim=obs_dim, action_dim=ours.action_dim, oa_step_convention=True, **options
                )
            )
            policy.policy.load_state_dict(ours.state_dict())
            return policy.to(ours.device)
        from diffusion_policy.policy.diffusion_unet_hybrid_image_policy import DiffusionUnetHybridImagePolicy

        encoder = config.encoder.config
        # eval_fixed_crop replaces a class that robomimic 0.3 has moved; that one crops the centre in eval() itself.
        policy = DiffusionUnetHybridImagePolicy(
            shape_meta=ours.shape_meta,
            crop_shape=encoder.crop_shape,
            obs_encoder_group_norm=encoder.obs_encoder_group_norm,
            eval_fixed_crop=False,
            **options,
            **sizes,
        )
        policy.load_state_dict(ours.state_dict())
        return policy.to(ours.device)


def original_average(average: nn.Module) -> Callable[[nn.Module], object]:
    """Make the original's exponential moving average."""
    from diffusion_policy.model.diffusion.ema_model import EMAModel

    return EMAModel(average, power=0.75).step


def lerobot_policy(ours: Any) -> nn.Module:
    """Make LeRobot's diffusion policy of the same size, with weights of its own; for one camera and a position."""
    from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

    config, unet, scheduler = ours.config, ours.config.denoiser.config, ours.config.scheduler
    shapes = {key: tuple(spec["shape"]) for key, spec in ours.shape_meta["obs"].items()}
    identity = dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)
    theirs = DiffusionConfig(
        n_obs_steps=config.n_obs_steps,
        horizon=config.horizon,
        n_action_steps=config.n_action_steps,
        input_features={
            "observation.image": PolicyFeature(FeatureType.VISUAL, shapes["image"]),
            "observation.state": PolicyFeature(FeatureType.STATE, shapes["agent_pos"]),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ours.action_dim,))},
        normalization_mapping=identity,
        crop_shape=config.encoder.config.crop_shape,
        down_dims=tuple(unet.down_dims),
        diffusion_step_embed_dim=unet.diffusion_step_embed_dim,
        noise_scheduler_type=scheduler.component.name.upper(),
        num_inference_steps=scheduler.config.num_inference_steps,
        device=str(ours.device),
    )
    return _LeRobot(DiffusionPolicy(theirs), ours.normalizer).to(ours.device)


class _FlatObs(nn.Module):
    """The original's policies for states know one observation without a name."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def compute_loss(self, batch: Mapping[str, Any]) -> Tensor:
        loss: Tensor = self.policy.compute_loss({"obs": batch["obs"]["obs"], "action": batch["action"]})
        return loss

    def predict_action(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        actions: dict[str, Tensor] = self.policy.predict_action(obs)
        return actions


class _LeRobot(nn.Module):
    """LeRobot's policy behind our names; normalising is done outside of it there, too."""

    def __init__(self, policy: Any, normalizer: Any) -> None:
        super().__init__()
        self.policy = policy
        self.normalizer = normalizer

    def compute_loss(self, batch: Mapping[str, Any]) -> Tensor:
        padding = torch.zeros(batch["action"].shape[:2], dtype=torch.bool, device=batch["action"].device)
        action = self.normalizer["action"].normalize(batch["action"])
        # Its data sets load the observed steps only.
        obs = {key: value[:, : self.policy.config.n_obs_steps] for key, value in batch["obs"].items()}
        loss: Tensor = self.policy.forward({**self._obs(obs), "action": action, "action_is_pad": padding})[0]
        return loss

    @torch.no_grad()
    def predict_action(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        batch = self._obs(obs)
        images = torch.stack([batch.pop("observation.image")], dim=2)  # (B, To, cameras, C, H, W)
        actions = self.policy.diffusion.generate_actions({**batch, "observation.images": images})
        return {"action": self.normalizer["action"].unnormalize(actions)}

    def _obs(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            "observation.image": self.normalizer["image"].normalize(obs["image"]),
            "observation.state": self.normalizer["agent_pos"].normalize(obs["agent_pos"]),
        }


@contextlib.contextmanager
def _quiet() -> Any:
    """robomimic and the original print what they build; torchvision is called by names of the past."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
