"""`BaseDenoiser`: the network that the sampler calls at every step."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from dp_core.interfaces.scheduler import DenoiseStep


class BaseDenoiser(nn.Module, ABC):
    """Predicts what the scheduler asks for (noise, clean sample, velocity) from a noisy trajectory.

    Built with ``input_dim`` (D), ``horizon`` (T), ``n_obs_steps``, ``global_cond_dim`` (G, or None) and
    ``local_cond_dim`` (size of a vector for each step, or None). ``n_obs_steps`` says of how many equal parts, oldest
    first, the condition consists: To, or 1 where the encoder saw the window as a whole.

    A denoiser that can do more says so in its config class, with one word for each further input::

        takes: ClassVar[tuple[str, ...]] = ("tokens", "end_timestep")

    ``tokens``: where the encoder gives tokens, it is built with ``token_dim`` and ``n_tokens`` besides, and `forward`
    and `prepare` are handed ``tokens`` (B, L, token_dim), which it attends to. ``end_timestep``: where the scheduler
    needs a second time, it is built with ``has_end_timestep=True``, `forward` is handed ``end_timestep``, () or (B,),
    beside ``timestep``, and `prepare` ``end_timesteps`` (N,). None of these keywords is passed otherwise, so that a
    denoiser that takes neither need not know of them; a config that puts it beside an encoder or a scheduler that needs
    one of them is refused. The methods of today lead to less noise, so ``end_timestep`` is at most ``timestep``; where
    they are equal, the network is asked about a single time.
    """

    @abstractmethod
    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
    ) -> Tensor:
        """Predict from a noisy trajectory what the scheduler asks for.

        Args:
            sample: (B, T, D), noisy, normalised, of the dtype of the weights.
            timestep: () or (B,), int64 for discrete processes, float32 for continuous ones, in the range
                that the scheduler says.
            local_cond: (B, T, L), one vector per step of the trajectory.
            global_cond: (B, G).

        Returns:
            The prediction, (B, T, D).
        """

    def prepare(
        self,
        timesteps: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
        end_timesteps: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> DenoiseStep:
        """Prepare to denoise one chunk of actions, all of whose times and whose condition are known beforehand.

        Networks that can compute a part of every step from these alone do it here, once.

        Args:
            timesteps: (N,), those of the steps to come, in their order.
            local_cond, global_cond: see `forward`.
            end_timesteps: (N,), where the steps lead; handed over to networks that are built with it.
            tokens: (B, L, token_dim), handed over only to networks that are built with them.

        Returns:
            ``denoise(sample (B, T, D), i) -> (B, T, D)``, which is `forward` at ``timesteps[i]``.
        """
        given = {"local_cond": local_cond, "global_cond": global_cond}
        if tokens is not None:
            given["tokens"] = tokens
        if end_timesteps is None:
            return lambda sample, i: self(sample, timesteps[i], **given)
        return lambda sample, i: self(sample, timesteps[i], end_timestep=end_timesteps[i], **given)

    def prepare_inference(self) -> None:
        """Arrange weights as is fastest for sampling; called when they are final and where they are going to be."""

    def no_weight_decay(self) -> set[str]:
        """Name the own parameters that weight decay leaves alone, usually biases, normalisation and positions."""
        return set()
