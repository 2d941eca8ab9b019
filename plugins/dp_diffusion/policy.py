"""`DiffusionPolicy`: normalise, encode, condition; then the loss, or sampling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from dp_core.config.checks import needed_inputs
from dp_core.config.declared import TOKENS, WINDOW, gives, sees
from dp_core.errors import InputError
from dp_core.interfaces import BaseDenoiser, BaseEncoder, BasePolicy, BaseScheduler, Generators, Inpaint
from dp_core.kit.nn.encoding import build_encoder, encode_window
from dp_core.normalizer import LinearNormalizer
from dp_core.observations import ObservationCheck, Raw
from dp_core.profiling import section
from dp_core.shape_meta import action_dim
from dp_diffusion.conditioning import (
    Condition,
    ConditionedDenoiser,
    Conditioning,
    GlobalConditioning,
    InpaintingConditioning,
    LocalConditioning,
    TokenConditioning,
)
from dp_diffusion.cuda_graph import SamplingGraph
from dp_diffusion.feature_cache import FeatureCache
from dp_diffusion.finite import FiniteFeatures
from dp_diffusion.inputs import check_action, check_prefix, check_sampled, first_steps, last_steps
from dp_diffusion.mask_generator import LowdimMaskGenerator

if TYPE_CHECKING:
    from dp_diffusion.config import DiffusionConfig

DENOISER_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class DiffusionPolicy(BasePolicy):
    """Learns the distribution of action trajectories given observations (Chi et al. 2023).

    Its state dict has the names of the original's hybrid policy, and with an encoder that has no parameters those of
    the original's low-dimensional policy. Draws, in this order: the encoder's augmentation, then what the scheduler's
    loss draws.
    """

    def __init__(self, config: DiffusionConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.shape_meta = shape_meta
        self.action_dim = action_dim(shape_meta)
        self.first_predicted_step = config.first_action_step if config.pred_action_steps_only else 0

        n_steps = config.n_obs_steps
        encoder: BaseEncoder = build_encoder(config.encoder, shape_meta=shape_meta, n_obs_steps=n_steps)
        self._sees_window = sees(config.encoder) == WINDOW
        self._has_tokens = gives(config.encoder) == TOKENS
        # The oldest of them first; but what is encoded of a whole window has no steps any more.
        n_features = 1 if self._sees_window else n_steps
        # Known entries exist with inpainting only; but the original's state dict always has the mask generator.
        mask_generator = LowdimMaskGenerator(
            self.action_dim,
            obs_dim=encoder.output_dim if config.inpaints else 0,
            max_n_obs_steps=n_steps,
        )
        self.conditioning: Conditioning
        if self._has_tokens:
            self.conditioning = TokenConditioning(
                self.action_dim, encoder.output_dim, encoder.n_tokens, n_steps, n_features
            )
        elif config.obs_as_global_cond:
            self.conditioning = GlobalConditioning(self.action_dim, encoder.output_dim, n_steps, n_features)
        elif config.obs_as_local_cond:
            self.conditioning = LocalConditioning(self.action_dim, encoder.output_dim, config.horizon, n_steps)
        else:
            self.conditioning = InpaintingConditioning(
                self.action_dim, encoder.output_dim, config.horizon, mask_generator
            )

        self.obs_encoder = encoder
        self.model: BaseDenoiser = config.denoiser.build(
            input_dim=self.conditioning.trajectory_dim,
            horizon=config.trajectory_steps,
            n_obs_steps=n_features,
            global_cond_dim=self.conditioning.global_cond_dim,
            local_cond_dim=self.conditioning.local_cond_dim,
            **self.conditioning.tokens,
            **({"has_end_timestep": True} if "end_timestep" in needed_inputs(config.scheduler) else {}),
        )
        self.mask_generator = mask_generator
        self.normalizer = LinearNormalizer(shape_meta)
        self.scheduler: BaseScheduler = config.scheduler.build()
        self._finite_features = FiniteFeatures()
        self._denoiser_dtype: torch.dtype | None = None
        self._graph: SamplingGraph | None = None
        self._cache = FeatureCache(self.obs_encoder, self.normalizer) if config.cache_obs_features else None

    @property
    def largest_normalized_action(self) -> float | None:
        """The largest magnitude that the sampler gives; None without a limit."""
        return self.scheduler.largest_sample

    def prepare_inference(self, obs: dict[str, Tensor], *, dtype: torch.dtype = torch.float32) -> None:
        """Get ready to act; see `BasePolicy`.

        With ``torch.bfloat16`` or ``torch.float16`` the denoiser has such weights, and so half of the memory to read at
        every step; observations are encoded, and trajectories kept, in float32. On a GPU all steps of the sampling
        become one graph, for batches of the size of ``obs`` that are drawn from a single generator, unless the
        scheduler waits for the device.
        """
        if dtype not in DENOISER_DTYPES:
            names = ", ".join(str(known) for known in DENOISER_DTYPES)
            raise InputError(f"dtype: {dtype} is not one of {names}")
        self._graph = None  # it would replay the weights of before
        self._denoiser_dtype = None if dtype == self.dtype else dtype
        self.model.to(dtype).prepare_inference()
        super().prepare_inference(obs)
        if self.device.type == "cuda" and not self.scheduler.waits_for_device:
            with torch.no_grad():
                condition = self._observed(self._last_steps(obs))
                self._graph = SamplingGraph(lambda known: self._sample(known, None), condition, self.device)
            self.reset()

    def __getstate__(self) -> dict[str, Any]:
        # Graphs can be neither copied nor pickled; a copy samples step by step until it is prepared.
        return {**super().__getstate__(), "_graph": None}

    def reset(self) -> None:
        """Forget the last observations."""
        if self._cache is not None:
            self._cache.clear()

    def train(self, mode: bool = True) -> Self:
        """Switch mode; what was kept from before is forgotten, as the weights may be about to change."""
        self.reset()
        if mode != self.training:
            self._finite_features.renew()
        return super().train(mode)

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        """Return the training loss, which is the scheduler's (`BaseScheduler.loss`); see `BasePolicy`."""
        config = self.config
        check_action(batch["action"], self.shape_meta, config.horizon)
        actions = self.normalizer["action"].normalize(batch["action"])
        if config.pred_action_steps_only:
            actions = actions[:, self._executed]
        n_steps, hint = self.conditioning.n_training_obs_steps, self.conditioning.training_hint
        obs = first_steps(batch["obs"], self.shape_meta, n_steps, self.device, hint)
        features = self._encode(obs)
        if config.train_diffusion_n_samples > 1:
            actions = actions.repeat_interleave(config.train_diffusion_n_samples, dim=0)
            features = features.repeat_interleave(config.train_diffusion_n_samples, dim=0)
        trajectory = self.conditioning.trajectory(actions, features)
        condition = self.conditioning.condition(features)

        with section("denoise"):
            return self.scheduler.loss(
                ConditionedDenoiser(self.model, condition),
                trajectory,
                generator,
                condition.known,
                input_perturbation=config.input_pertub if self.training else 0.0,
            )

    @torch.no_grad()
    def predict_action(
        self,
        obs: dict[str, Tensor],
        generator: Generators = None,
        *,
        fixed_action_prefix: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Sample a chunk of actions; see `BasePolicy`.

        Args:
            obs: may be arrays of numpy, too, which are brought to the policy's device; and (B, *shape) of what is
                observed once in an episode.
            fixed_action_prefix: (B, K, Da), raw units: the first K actions to execute are decided already, for
                example because the robot will have executed them by the time that this call returns. They are held
                fixed while the others are sampled, so that the chunk continues them.
        """
        given = self._last_steps(obs)
        self.name_ignored(obs, self.shape_meta)
        condition = self._observed(given)
        if fixed_action_prefix is not None:
            batch_size = len(condition.tensors()[0])
            check_prefix(fixed_action_prefix, batch_size, self.config.n_action_steps, self.action_dim)
            prefix = self.normalizer["action"].normalize(fixed_action_prefix)
            condition = condition._replace(known=self._with_prefix(condition.known, prefix))
            given["fixed_action_prefix"] = fixed_action_prefix

        with self._checked(given), section("denoise"):
            trajectory = self._trajectory(condition, generator)
        if self.config.check_obs:
            check_sampled(trajectory, lambda: self.normalizer.normalize(self._last_steps(obs)))
        action_pred = self.normalizer["action"].unnormalize(trajectory[..., : self.action_dim])
        executed = slice(None) if self.config.pred_action_steps_only else self._executed
        return {"action": action_pred[:, executed], "action_pred": action_pred}

    @property
    def _executed(self) -> slice:
        """The steps of a window whose actions are executed."""
        first = self.config.first_action_step
        return slice(first, first + self.config.n_action_steps)

    @section("encode")
    def _encode(self, obs: dict[str, Raw]) -> Tensor:
        """Encode every step of ``{key: (B, T, *shape)}``, to (B, T, Do); see `Conditioning` for other encoders."""
        normalized = self.normalizer.normalize(obs)
        features = encode_window(self.obs_encoder, normalized, sees_window=self._sees_window)
        self._check_features(features)
        self._finite_features.check(self.obs_encoder, features.flatten(0, 1), normalized)
        return features

    def _check_features(self, features: Tensor) -> None:
        encoder = self.obs_encoder
        expected = (encoder.n_tokens, encoder.output_dim) if self._has_tokens else (encoder.output_dim,)
        if tuple(features.shape[2:]) != expected:
            found = tuple(features.flatten(0, 1).shape)
            names, say = ("n_tokens and output_dim", "say") if self._has_tokens else ("output_dim", "says")
            raise InputError(
                f"{self.config.encoder.component.label} gave features of shape {found}; expected "
                f"(N, {', '.join(map(str, expected))}), as its {names} {say}; set {names} in its constructor to the "
                "size of what forward returns"
            )

    @contextmanager
    def _checked(self, given: dict[str, Raw]) -> Iterator[None]:
        """Look at what was given while the sampling is launched, and refuse it afterwards if it is bad."""
        if not self.config.check_obs:
            yield
            return
        try:
            check = ObservationCheck(given, self.shape_meta)
            yield
            check.finish()
        except InputError:
            self.reset()  # features of it may be kept
            raise

    def _last_steps(self, obs: dict[str, Any]) -> dict[str, Raw]:
        return last_steps(obs, self.shape_meta, self.config.n_obs_steps, self.device)

    def _observed(self, obs: dict[str, Raw]) -> Condition:
        """Encode the observations of To steps; from the cache where they were seen before."""
        cache = None if self.training else self._cache
        return self.conditioning.condition(self._encode(obs) if cache is None else cache.features(obs, self._encode))

    def _trajectory(self, condition: Condition, generator: Generators) -> Tensor:
        """Sample normalised trajectories, (B, T, D), with one launch where that was prepared."""
        graph = self._graph if self._graph is not None and self._graph.fits(condition) else None
        # A graph draws for all rows at once.
        if graph is not None and (generator is None or isinstance(generator, torch.Generator)):
            return graph(condition, generator)
        return self._sample(condition, generator)

    def _sample(self, condition: Condition, generator: Generators) -> Tensor:
        """Sample normalised trajectories, (B, T, D), step by step."""
        any_tensor = condition.tensors()[0]
        return self.scheduler.sample(
            ConditionedDenoiser(self.model, condition, self._denoiser_dtype),
            (len(any_tensor), self.config.trajectory_steps, self.conditioning.trajectory_dim),
            generator=generator,
            inpaint=condition.known,
            device=any_tensor.device,
            dtype=self.dtype,  # under autocast, features may have less
        )

    def _with_prefix(self, known: Inpaint | None, prefix: Tensor) -> Inpaint:
        """Add normalised actions (B, K, Da), from the first executed step on, to what is known."""
        first = self.config.first_action_step - self.first_predicted_step
        after = self.config.trajectory_steps - first - prefix.shape[1]
        padding = (0, self.conditioning.trajectory_dim - self.action_dim, first, after)
        mask, values = F.pad(torch.ones_like(prefix, dtype=torch.bool), padding), F.pad(prefix, padding)
        if known is None:
            return Inpaint(mask, values)
        return Inpaint(mask | known.mask, torch.where(mask, values, known.values))
