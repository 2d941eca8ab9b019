"""`DiffusersScheduler`: any scheduler of the library diffusers that corrupts and steps as its usual ones do."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from torch import Tensor

from dp_core.errors import InputError
from dp_core.interfaces import BaseScheduler, Generators, Inpaint, draw_noise
from dp_core.interfaces.scheduler import Denoise, prepared
from dp_schedulers.sampling import number_of_steps, with_known

if TYPE_CHECKING:
    from dp_schedulers.diffusers_config import DiffusersConfig


class DiffusersScheduler(BaseScheduler):
    """Train with the mixtures and the prediction of a class of diffusers, and sample with its steps.

    A network is trained with what the class shows it while sampling: ``sqrt(a_t) x0 + sqrt(1 - a_t) noise``, with its
    ``alphas_cumprod`` at whole times, or ``(1 - sigma) x0 + sigma noise`` where it matches flows. Those are its
    ``add_noise`` and ``scale_noise``, scaled as by its ``scale_model_input``, without the search for every time. Some
    of its solvers round the times of a flow to whole numbers, so have ``num_train_timesteps`` of 1000 there.
    """

    def __init__(self, config: DiffusersConfig) -> None:
        self.config = config
        self._process = _made(config)
        self._prediction = self._process.config.get("prediction_type", "flow_prediction")
        self._takes_generator = "generator" in inspect.signature(self._process.step).parameters
        self._on: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._tried: set[int] = set()
        self._try(config.num_inference_steps)  # now, as training may take days
        self._training_times, self._mixtures = self._read()

    @property
    def largest_sample(self) -> float | None:
        """Return what the class clips predicted trajectories to; None where it does not."""
        options = self._process.config
        if options.get("thresholding"):
            return 1.0
        return options.get("clip_sample_range", 1.0) if options.get("clip_sample") else None

    @property
    def waits_for_device(self) -> bool:
        """Return True: the library looks for times on the device."""
        return True

    def sample_timesteps(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw training times of the class evenly, (B,), on ``device``, int64 or float32 as the class has them."""
        times, _ = self._tables(device)
        return times[torch.randint(0, len(times), (batch_size,), device=device, generator=generator)]

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix what the network sees, (B, T, D), in the dtype of ``x0``; see `BaseScheduler`."""
        of_x0, of_noise = self._mixture(timesteps, x0)
        return of_x0 * x0 + of_noise * noise

    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return what the class expects to be predicted, (B, T, D); see its ``prediction_type``."""
        if self._prediction == "epsilon":
            return noise
        if self._prediction == "sample":
            return x0
        if self._prediction == "flow_prediction":
            return noise - x0
        of_x0, of_noise = self._mixture(timesteps, x0)
        return of_x0 * noise - of_noise * x0

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
        """Generate trajectories (B, T, D), normalised, on ``device`` and of ``dtype``; see `BaseScheduler`.

        Draws the initial noise, then what the class draws. Calls ``denoise`` once for each of its times, of shape ().

        Raises:
            InputError: the class cannot take that number of steps.
        """
        count = number_of_steps(num_inference_steps, self.config.num_inference_steps)
        self._try(count)
        return self._walk(denoise, shape, count, generator, inpaint, device, dtype)

    def _try(self, count: int) -> None:
        """Take ``count`` steps once, with a network that predicts zeros: many classes fail at some step only.

        Raises:
            InputError: the class cannot take them.
        """
        if count in self._tried:
            return
        try:
            draw = torch.Generator().manual_seed(0)
            sample = self._walk(_predict_zeros, (1, 1, 1), count, draw)
            reason = "" if sample.isfinite().all() else "its steps do not lead to a finite trajectory"
        except Exception as error:
            reason = _in_one_line(error)
        if reason:
            raise InputError(
                f"num_inference_steps: {count} steps of {self.config.scheduler} fail with num_train_timesteps "
                f"{self._process.config.num_train_timesteps} and its other options: {reason}; choose fewer steps, or "
                "other options"
            )
        self._tried.add(count)

    def _walk(
        self,
        denoise: Denoise,
        shape: tuple[int, ...],
        count: int,
        generator: Generators,
        inpaint: Inpaint | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Sample in ``count`` steps; arguments as of `sample`."""
        process = copy.deepcopy(self._process)  # it keeps what the steps of one chunk have in common
        process.set_timesteps(count, device=device)
        times = process.timesteps
        denoise_step = prepared(denoise, times.float() if times.is_floating_point() else times)
        many = list(generator) if isinstance(generator, tuple) else generator  # the library knows lists
        draws = {"generator": many} if self._takes_generator else {}
        sample = draw_noise(shape, generator, device=device, dtype=dtype) * getattr(process, "init_noise_sigma", 1.0)
        for i, time in enumerate(times):
            seen = process.scale_model_input(sample, time) if hasattr(process, "scale_model_input") else sample
            output = denoise_step(with_known(seen, inpaint).to(dtype), i)
            sample = process.step(output, time, sample, **draws, return_dict=False)[0]
        return with_known(sample.to(dtype), inpaint)

    def _read(self) -> tuple[Tensor, Tensor]:
        """Read the training times, rising, (N,), and the shares of data and noise at each, (2, N).

        Raises:
            InputError: the options do not say how data and noise are mixed.
        """
        options, process = self._process.config, self._process
        if self._prediction != "flow_prediction":
            a = process.alphas_cumprod
            return torch.arange(options.num_train_timesteps), torch.stack([a.sqrt(), (1 - a).sqrt()])
        if "prediction_type" in options:
            if not options.get("use_flow_sigmas"):
                raise InputError(
                    f"scheduler: {self.config.scheduler} with prediction_type 'flow_prediction' steps along straight "
                    "paths with use_flow_sigmas: true alone; set it"
                )
            process.set_timesteps(options.num_train_timesteps)
        times = process.timesteps.unique().float()
        sigmas = times / options.num_train_timesteps
        return times, torch.stack([1 - sigmas, sigmas])

    def _mixture(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the shares of x0 and of noise at ``timesteps`` (B,), each (B, 1, 1); in line between whole times."""
        if self._prediction == "flow_prediction":
            sigmas = timesteps / self._process.config.num_train_timesteps
            shares = torch.stack([1 - sigmas, sigmas])
        else:
            _, mixtures = self._tables(like.device)
            below = timesteps.floor().long()
            above = (below + 1).clamp(max=mixtures.shape[1] - 1)
            shares = torch.lerp(mixtures[:, below], mixtures[:, above], (timesteps - below).to(mixtures.dtype))
        return shares[0].to(like.dtype)[:, None, None], shares[1].to(like.dtype)[:, None, None]

    def _tables(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._on:
            self._on[device] = self._training_times.to(device), self._mixtures.to(device)
        return self._on[device]


def _made(config: DiffusersConfig) -> Any:
    options = dict(config.options)
    count = options.get("num_train_timesteps")
    if isinstance(count, float) and count.is_integer():
        options["num_train_timesteps"] = int(count)  # taken over from a flow, whose times have a scale
    try:
        return getattr(diffusers, config.scheduler)(**options)
    except Exception as error:
        reason = _in_one_line(error)
        raise InputError(f"scheduler: {config.scheduler} cannot be made with these options: {reason}") from error


def _predict_zeros(sample: Tensor, timestep: Tensor, end_timestep: Tensor | None = None) -> Tensor:
    return torch.zeros_like(sample)


def _in_one_line(error: Exception) -> str:
    """Return what an error says; its type where it says nothing."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
