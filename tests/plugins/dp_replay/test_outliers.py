"""Outliers are found where they are, and nowhere else: robots have rare states, long tails and still parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dp_pusht.demonstrations import load_demonstrations
from dp_replay.buffer import ReplayBuffer
from dp_replay.outliers import outlier_in

N = 20_000
ENDS = np.arange(100, N + 1, 100)
Draw = Callable[[np.random.Generator], np.ndarray]


def gripper(n_steps: int, noise: float) -> Draw:
    """Open, but for ``n_steps``."""

    def draw(random: np.random.Generator) -> np.ndarray:
        width = np.full((N, 1), 0.04) + noise * random.normal(size=(N, 1))
        width[5000 : 5000 + n_steps] = 0
        return width

    return draw


def rests(noise: float) -> Draw:
    """Commands that are zero, but for some steps in a row every now and then."""

    def draw(random: np.random.Generator) -> np.ndarray:
        commands = noise * random.normal(size=(N, 7))
        for start in range(0, N, 4000):
            commands[start : start + 6] += random.normal(size=(6, 7))
        return commands

    return draw


ORDINARY: dict[str, Draw] = {
    "even": lambda random: random.uniform(0, 512, (N, 2)),
    "normal": lambda random: random.normal(size=(N, 7)),
    "changes of a robot arm, mostly small": lambda random: np.clip(0.02 * random.laplace(size=(N, 7)), -1, 1),
    "a long tail": lambda random: random.standard_t(3, size=(N, 7)),
    "a skewed tail": lambda random: np.exp(random.normal(size=(N, 7))),
    "forces of rare contacts": lambda random: (random.random((N, 1)) < 0.002) * random.uniform(0, 50, (N, 1)),
    "a constant": lambda random: np.full((N, 2), 3.3),
    "a constant, measured": lambda random: 3.3 + 1e-6 * random.normal(size=(N, 2)),
    "a gripper that closes once": gripper(10, noise=0),
    "a gripper that closes once, measured": gripper(10, noise=1e-5),
    "a button that is pressed once": gripper(1, noise=0),
    "rests": rests(noise=0),
    "rests, measured": rests(noise=1e-4),
    "few steps": lambda random: random.normal(size=(3, 2)),
    "one number in each step": lambda random: random.normal(size=N),
    "nothing in each step": lambda random: random.normal(size=(N, 0)),
}


@pytest.mark.parametrize("draw", ORDINARY.values(), ids=ORDINARY.keys())
def test_ordinary_data_have_none(draw: Draw) -> None:
    assert outlier_in(draw(np.random.default_rng(0)).astype(np.float32), ENDS) is None


def test_of_a_handful_of_steps_none_is_far() -> None:
    random = np.random.default_rng(0)
    found = [outlier_in(np.exp(random.normal(size=(n, 7))), np.array([n])) for n in range(5, 20) for _ in range(50)]

    assert found == [None] * len(found)


@pytest.mark.parametrize("key", ["state", "action"])
def test_the_shipped_demonstrations_have_none(key: str) -> None:
    demonstrations = load_demonstrations()

    assert outlier_in(demonstrations[key], demonstrations["episode_ends"]) is None


def test_the_published_demonstrations_have_none(pusht_archive: Path) -> None:
    keys = ["state", "action", "keypoint", "n_contacts"]
    buffer = ReplayBuffer.load(pusht_archive, keys=keys)

    assert [outlier_in(buffer[key], buffer.episode_ends) for key in keys] == [None] * 4


@pytest.mark.parametrize("value", [1e6, -1e6, 200.0])
@pytest.mark.parametrize("steps", [[1017], [1017, 1018, 1019], [1017, 3000, 19_999]])
def test_steps_far_away_are_found(steps: list[int], value: float) -> None:
    values = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
    low, high = np.sort(values[:, 1])[[20, -21]]
    values[steps, 1] = value

    found = outlier_in(values, ENDS)

    assert found is not None
    assert found.startswith(
        f"entry 1 is {value:.6g} in step 17 of episode 10, far from all but {len(steps)} of its 20000 values, which "
    )
    assert low * 1.2 < float(found.partition(" lie from ")[2].split(" ")[0]) < high


def test_the_worst_of_several_entries_is_told_with_their_number() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (95, 3)).astype(np.float32)
    values[50] = 1e3, 1e6, 1e4
    ranked = np.sort(values[:, 1])

    assert outlier_in(values, np.array([40, 70, 95])) == (
        "entry 1 is 1e+06 in step 10 of episode 1, far from all but 1 of its 95 values, which lie from "
        f"{ranked[1]:.6g} to {ranked[-2]:.6g}, and 2 other entries have such steps; scaled by its limits, they are "
        f"left {(ranked[-2] - ranked[1]) / (1e6 - ranked[0]):.2g} of the range; correct such steps, or leave out the "
        "episode"
    )
