"""`Actor`: asks a policy what to do in many episodes at a time, such that none depends on the others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dp_core.errors import InputError
from dp_core.interfaces import BasePolicy
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.kit.rollout.environment import Start
from dp_core.kit.rollout.episode import Window

_N_ROWS = 8
"""Rows of every batch with ``batch_invariant``. More are faster where many episodes run, and slower where few do."""


def noise_seed(seed: int, start: Start) -> int:
    """Mix the seed of what a policy draws in an episode, in 0..2**64 - 1.

    It is the first 8 bytes, read as a big-endian number, of the SHA-256 of the text ``{seed}/{split}/{seed of the
    start}``, such as ``0/test/100000``: the same on every machine, and unrelated for neighbouring seeds.

    Args:
        seed: of the runner, see `RolloutOptions`.
    """
    digest = hashlib.sha256(f"{seed}/{start.split}/{start.seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


class Actor:
    """Ask ``policy`` about the episodes that are running, each of which draws from a generator of its own.

    What remains of company is how batched arithmetic rounds: a row may differ in the last digits with the number of
    rows and its place among them. With ``batch_invariant`` it does not: all batches have 8 rows, and an episode is
    always in the same one, that of its seed modulo 8; rows without an episode repeat another.

    Args:
        starts: of all episodes; their indices are the numbers of the episodes.
        action_dim: Da.
        title: of the task, for messages.
    """

    def __init__(
        self, policy: BasePolicy, starts: Sequence[Start], options: RolloutOptions, *, action_dim: int, title: str
    ) -> None:
        self._policy = policy
        self._starts = starts
        self._options = options
        self._action_dim = action_dim
        self._title = title
        self._generators: dict[int, torch.Generator] = {}
        self._filler = torch.Generator(policy.device)
        self._asked: list[int | None] = []

    def act(self, windows: Mapping[int, Window]) -> dict[int, NDArray[np.float32]]:
        """Return what to execute in each of some episodes, (Ta, Da), by the number of the episode.

        Raises:
            InputError: the policy's actions do not have the shape expected, or are not finite, or it cannot draw from
                one generator per row.
        """
        actions: dict[int, NDArray[np.float32]] = {}
        for batch in self._batches(list(windows)):
            # What a policy kept is of the rows that it saw last, and saves it arithmetic that rounds in its own way.
            if batch != self._asked or self._options.batch_invariant:
                self._policy.reset()
            self._asked = batch
            someone = next(number for number in batch if number is not None)
            seen = [windows[someone if number is None else number] for number in batch]
            chunks = self._ask(seen, [self._generator(number) for number in batch])
            actions |= {number: chunk for number, chunk in zip(batch, chunks, strict=True) if number is not None}
        return actions

    def _batches(self, numbers: list[int]) -> Sequence[list[int | None]]:
        """Deal episodes out to batches: by row, the number of the episode, or None where a row is to spare."""
        if not self._options.batch_invariant:
            return [[*numbers]]
        batches: list[list[int | None]] = []
        for number in numbers:
            row = self._starts[number].seed % _N_ROWS
            batch = next((batch for batch in batches if batch[row] is None), None)
            if batch is None:
                batch = [None] * _N_ROWS
                batches.append(batch)
            batch[row] = number
        return batches

    def _generator(self, number: int | None) -> torch.Generator:
        """Return the generator of an episode, made when it is first needed; for a spare row, that of spare rows."""
        if number is None:
            return self._filler
        if number not in self._generators:
            seed = noise_seed(self._options.seed, self._starts[number])
            self._generators[number] = torch.Generator(self._policy.device).manual_seed(seed)
        return self._generators[number]

    def _ask(self, windows: list[Window], generators: list[torch.Generator]) -> NDArray[np.float32]:
        """Predict for a batch of windows, (B, Ta, Da)."""
        device = self._policy.device
        stacked = {key: np.stack([window[key] for window in windows]) for key in windows[0]}
        # Text is no tensor, and stays where it is.
        obs: dict[str, Any] = {
            key: value if value.dtype.kind == "O" else torch.from_numpy(value).to(device)
            for key, value in stacked.items()
        }
        try:
            actions = self._policy.predict_action(obs, generators)["action"]
        except (TypeError, AttributeError) as error:
            if "generator" not in str(error) and "'list' object has no attribute" not in str(error):
                raise
            raise InputError(
                f"the {self._title} runner hands predict_action a generator for each row, and the policy, or its "
                "scheduler, takes a single one; draw with dp_core.interfaces.draw_noise, which takes either"
            ) from error
        n_steps, n_windows, size = self._options.n_action_steps, len(windows), self._action_dim
        shape = tuple(actions.shape)
        if len(shape) != 3 or shape[0] != n_windows or shape[1] < n_steps or shape[2] != size:
            raise InputError(
                f"the policy returned actions of shape {shape}; the {self._title} runner executes "
                f"{n_steps} of each prediction and needs ({n_windows}, {n_steps} or more, {size})"
            )
        if not torch.isfinite(actions).all():
            raise InputError("the policy returned actions that are not finite; did its training diverge?")
        return actions[:, :n_steps].float().cpu().numpy()
