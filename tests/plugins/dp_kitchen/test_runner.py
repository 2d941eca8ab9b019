"""Evaluation in the Franka kitchen, where MuJoCo and gymnasium-robotics are installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

if missing := [name for name in ("gymnasium_robotics", "mujoco") if find_spec(name) is None]:
    pytest.skip(f"{missing} not installed", allow_module_level=True)

from dp_core.errors import DataError
from dp_core.interfaces import BasePolicy
from dp_core.kit.rollout.environment import Start
from dp_kitchen.config import KitchenRunnerConfig
from dp_kitchen.environment import KitchenEnvironment
from dp_kitchen.runner import KitchenRunner
from dp_kitchen.simulation import mujoco
from dp_kitchen.state import TASKS

SHAPE_META = {"obs": {"obs": {"shape": [60], "type": "low_dim"}}, "action": {"shape": [9]}}


class StillPolicy(BasePolicy):
    """Stays where it is observed, in absolute positions."""

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.zeros(())

    def predict_action(
        self, obs: dict[str, torch.Tensor], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        action = obs["obs"][:, -1:, :9].repeat(1, 4, 1)
        return {"action": action, "action_pred": action}


def make_environment(**options: Any) -> KitchenEnvironment:
    return KitchenEnvironment(**{"abs_action": False, "robot_noise_ratio": 0.0, "render_hw": (120, 180)} | options)


def started(environment: KitchenEnvironment, seed: int = 0, state: Any = None) -> KitchenEnvironment:
    environment.reset(Start("test", seed, state))
    return environment


def positions(environment: KitchenEnvironment) -> np.ndarray:
    return environment.observe()["obs"][:30]


def test_an_observation_is_positions_and_an_empty_goal():
    obs = started(make_environment()).observe()["obs"]

    assert obs.shape == (60,)
    assert obs.dtype == np.float32
    assert obs[:2] == pytest.approx([0.148388, -1.768486], abs=1e-6)
    assert obs[23:26] == pytest.approx([-0.269397, 0.350383, 1.619447], abs=1e-6)  # the kettle
    assert not obs[30:].any()


@pytest.mark.parametrize("kind", ["velocity", "position"])
def test_an_episode_is_that_of_the_original(kind, golden):
    """Observations and rewards from the same state under the same actions; contacts are those of a MuJoCo's version."""
    n_steps = 60 if mujoco.__version__ == "4.0.0" else 5
    recorded = np.load(golden("o_kitchen.npz"))
    environment = make_environment(abs_action=kind == "position")
    started(environment, state=(recorded[f"{kind}_qpos"], recorded[f"{kind}_qvel"]))
    rewards, observed = [], [positions(environment)]
    for action in recorded[f"{kind}_action"][:n_steps]:
        rewards.append(environment.step(action).reward)
        observed.append(positions(environment))

    np.testing.assert_allclose(observed, recorded[f"{kind}_obs"][: n_steps + 1], atol=1e-6)
    assert rewards == recorded[f"{kind}_reward"][:n_steps].tolist()


def test_the_seed_draws_the_noise():
    environment = make_environment(robot_noise_ratio=0.1)
    first, other = (positions(started(environment, seed)).copy() for seed in (3, 4))
    exact = positions(started(make_environment()))

    np.testing.assert_array_equal(positions(started(environment, 3)), first)
    assert (first != other).any()
    assert np.abs(first - exact)[:9].max() <= 0.0100001


def test_velocities_are_shares_of_two_radians_per_second():
    """The position that the robot is sent to is two steps of 0.08 s at 1 rad/s away; it is held back by its damping."""
    environment = started(make_environment())
    before = positions(environment).copy()
    for _ in range(2):
        environment.step(np.array([0.5, 0, 0, 0, 0, 0, 0, 0, 0]))
    moved = positions(environment) - before

    assert 0.02 < moved[0] < 0.16
    assert np.abs(moved[1:7]).max() < 0.05


def test_absolute_positions_are_reached():
    environment = started(make_environment(abs_action=True))
    target = positions(environment)[:9] + np.array([0.2, 0.1, 0, 0, 0, 0, 0, -0.02, -0.02])
    for _ in range(25):
        environment.step(target)

    np.testing.assert_allclose(positions(environment)[[0, 7, 8]], target[[0, 7, 8]], atol=0.02)


def test_a_task_counts_once_and_all_seven_end_the_episode():
    environment = started(make_environment())
    qpos, qvel = environment._simulation.positions(), np.zeros(29)
    still = np.zeros(9)
    assert environment.step(still).reward == 0

    for part, goal in TASKS.values():
        qpos[part] = goal
    started(environment, state=(qpos, qvel))
    first, second = environment.step(still), environment.step(still)

    assert (first.reward, first.is_over, first.is_success) == (7, True, True)
    assert second.reward == 0
    assert environment.measure() == {f"p_{n}": 1.0 for n in range(1, 8)}
    assert environment.score(np.array([0.0, 3.0, 1.0])) == pytest.approx(4 / 7)


def test_an_episode_starts_in_the_state_it_is_given():
    environment = make_environment()
    qpos, qvel = np.linspace(0, 0.3, 30), np.linspace(0, 0.01, 29)
    qpos[26:30] = [1, 0, 0, 0]
    started(environment, state=(qpos, qvel))

    np.testing.assert_allclose(positions(environment), qpos, atol=1e-7)


@pytest.mark.slow
def test_a_run_gives_scores_completions_and_videos(tmp_path: Path):
    started_in = started(make_environment())._simulation.positions()
    np.save(tmp_path / "all_init_qpos.npy", np.tile(started_in, (2, 1)))
    np.save(tmp_path / "all_init_qvel.npy", np.zeros((2, 29)))
    config = KitchenRunnerConfig(
        n_obs_steps=2, n_action_steps=4, n_train=2, n_train_vis=0, n_test=2, n_test_vis=1, max_steps=6,
        dataset_dir=tmp_path, abs_action=True, render_hw=(120, 180),
    )  # fmt: skip
    runner = KitchenRunner(config, shape_meta=SHAPE_META, output_dir=tmp_path / "run")
    first = runner.run(StillPolicy())
    second = runner.run(StillPolicy())
    runner.close()

    names = {name for name in first if name.startswith("test/")}
    assert {"test/mean_score", "test/sim_video_100000", *(f"test/p_{n}" for n in range(1, 8))} <= names
    assert first["train/mean_score"] == first["test/mean_score"] == first["test/p_1"] == 0
    assert {k: v for k, v in first.items() if k.startswith("train/")} == {
        k: v for k, v in second.items() if k.startswith("train/")
    }
    capture = cv2.VideoCapture(first["test/sim_video_100000"])
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    frame = capture.read()[1]
    capture.release()
    assert frame.shape == (120, 180, 3)
    assert frame.std() > 10


def test_more_training_episodes_than_starts_are_refused(tmp_path: Path):
    np.save(tmp_path / "all_init_qpos.npy", np.zeros((2, 30)))
    np.save(tmp_path / "all_init_qvel.npy", np.zeros((2, 29)))
    config = KitchenRunnerConfig(n_obs_steps=2, n_action_steps=4, n_train=3, dataset_dir=tmp_path)
    runner = KitchenRunner(config, shape_meta=SHAPE_META, output_dir=tmp_path / "run")

    with pytest.raises(DataError) as caught:
        runner.run(StillPolicy())
    assert str(caught.value) == f"{tmp_path}: has 2 starts; choose at most that for n_train"

    np.save(tmp_path / "all_init_qvel.npy", np.zeros((3, 29)))
    with pytest.raises(DataError) as caught:
        runner.run(StillPolicy())
    assert str(caught.value) == (
        f"{tmp_path}: all_init_qpos.npy has 2 starts and all_init_qvel.npy has 3; expected as many"
    )

    np.save(tmp_path / "all_init_qvel.npy", np.zeros((2, 30)))
    with pytest.raises(DataError) as caught:
        runner.run(StillPolicy())
    assert str(caught.value) == f"{tmp_path}/all_init_qvel.npy: has shape (2, 30); expected (number of starts, 29)"
