"""The random generators of a process, taken and put back."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_core.checkpoint import copy_to_cpu
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.training.options import TrainingOptions
from dp_core.training.random_state import RandomState, seed_everything


def draw() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()]


@pytest.mark.parametrize("seed", [0, 42, 2**40, 2**64])
def test_a_seed_fixes_every_generator(seed: int) -> None:
    seed_everything(seed)
    expected = draw()
    seed_everything(seed)

    assert draw() == expected


def test_a_state_goes_on_exactly_where_it_was_taken(tmp_path: Path) -> None:
    """Through a file, and between the two normal numbers that Python and numpy make at a time."""
    seed_everything(3)
    draw()
    torch.save(copy_to_cpu(RandomState().state_dict()), tmp_path / "state.pt")
    expected = draw()
    seed_everything(4)

    RandomState().load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))

    assert draw() == expected


def test_states_of_devices_that_are_not_here_are_left_out() -> None:
    state = RandomState().state_dict()
    state["cuda"] = [torch.get_rng_state()] * (torch.cuda.device_count() + 1)

    RandomState().load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "name", "first_refused"),
    [
        (lambda **seed: TrainingOptions(num_epochs=1, **seed), "seed", 2**63),
        (lambda **seed: RolloutOptions(n_obs_steps=1, n_action_steps=1, max_steps=1, **seed), "seed", 2**63),
        (lambda **seed: RolloutOptions(n_obs_steps=1, n_action_steps=1, max_steps=1, **seed), "test_start_seed", 2**31),
    ],
)
def test_seeds_that_generators_do_not_take_are_refused(
    options: Callable[..., Any], name: str, first_refused: int
) -> None:
    assert getattr(options(**{name: first_refused - 1}), name) == first_refused - 1
    with pytest.raises(ValueError, match=f": {first_refused}$"):
        options(**{name: first_refused})
