"""Evaluation in block pushing, where PyBullet is installed, against the original's environment."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import pytest
import torch

if find_spec("pybullet") is None:
    pytest.skip("pybullet not installed", allow_module_level=True)

from dp_blockpush import simulation
from dp_blockpush.config import BlockPushRunnerConfig
from dp_blockpush.environment import BlockPushEnvironment
from dp_blockpush.runner import BlockPushRunner
from dp_core.interfaces import BasePolicy
from dp_core.kit.rollout.environment import Start

SHAPE_META = {"obs": {"obs": {"shape": [16], "type": "low_dim"}}, "action": {"shape": [2]}}
EVENTS = ("REACH_0", "REACH_1", "TARGET_0_0", "TARGET_0_1", "TARGET_1_0", "TARGET_1_1")


class Pusher:
    """Brings block 0 to target 0, then block 1 to target 1: goes around the block and pushes from behind."""

    def __init__(self) -> None:
        self.block = 0
        self.n_steps_back = 0

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        block, target = (obs[first + 3 * self.block : first + 3 * self.block + 2] for first in (0, 10))
        if self.block == 0 and np.linalg.norm(block - target) < 0.035:
            self.block, self.n_steps_back = 1, 12
        if self.n_steps_back:
            self.n_steps_back -= 1
            return np.array([0, -0.015])
        ahead = (target - block) / np.linalg.norm(target - block)
        here = obs[6:8] - block
        distance = np.linalg.norm(here)
        aside = here - (here @ ahead) * ahead
        behind = -(here @ ahead) / distance
        if behind > 0.9 and np.linalg.norm(aside) < 0.012:
            return ahead * 0.01 - aside / 2
        if distance > 0.12:
            return limited(-0.08 * ahead - here, 0.02)
        if behind > 0.8 and distance > 0.05:
            return limited(-aside, 0.01)
        around = np.array([-here[1], here[0]]) / distance
        return np.copysign(0.015, -around @ ahead) * around + here / distance * (0.08 - distance) / 2


class PushingPolicy(BasePolicy):
    """A `Pusher` for every episode, one action at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        self.pushers: dict[int, Pusher] = {}

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.zeros(())

    def predict_action(
        self, obs: dict[str, torch.Tensor], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        latest = obs["obs"][:, -1].numpy().astype(np.float64)
        actions = [self.pushers.setdefault(i, Pusher())(values) for i, values in enumerate(latest)]
        action = torch.from_numpy(np.array(actions))[:, None]
        return {"action": action, "action_pred": action}


def limited(step: np.ndarray, length: float) -> np.ndarray:
    return step * min(1.0, length / np.linalg.norm(step))


@pytest.fixture
def environment():
    made = BlockPushEnvironment(abs_action=False, obs_eef_target=True)
    yield made
    made.close()


@pytest.fixture(scope="module")
def recorded(golden):
    """Starts and two episodes of the original's environment."""
    return np.load(golden("n_blockpush.npz"))


def test_a_seed_means_the_start_of_the_original(environment, recorded):
    for seed, expected in zip(recorded["seeds"], recorded["starts"], strict=True):
        environment.reset(Start("test", int(seed)))
        np.testing.assert_allclose(environment.observe()["obs"], expected, atol=1e-6)


def test_the_arm_moves_as_the_original_s(environment, recorded):
    """Up to where the original's effector touches a block: there, micrometres begin to grow."""
    seed = 100000
    environment.reset(Start("test", seed))
    actions, expected = recorded[f"episode_{seed}_action"][:10], recorded[f"episode_{seed}_obs"][1:11]
    for action, observed in zip(actions, expected, strict=True):
        environment.step(action)
        np.testing.assert_allclose(environment.observe()["obs"], observed, atol=1e-5)


@pytest.mark.parametrize("seed", [100000, 100001])
def test_with_its_own_mesh_whole_episodes_are_those_of_the_original(recorded, seed, tmp_path, monkeypatch):
    """The mesh is ``head.obj`` of the original's block_pushing/assets/suction; it does not come with this project."""
    mesh = os.environ.get("DP_BLOCKPUSH_MESH")
    if not mesh:
        pytest.skip("DP_BLOCKPUSH_MESH does not name the original's mesh of the suction head")
    shutil.copytree(simulation.SCENE, tmp_path / "scene")
    shutil.copy(mesh, tmp_path / "scene" / "holder.obj")
    monkeypatch.setattr(simulation, "SCENE", tmp_path / "scene")
    environment = BlockPushEnvironment(abs_action=False, obs_eef_target=True)
    environment.reset(Start("test", seed))
    steps, observations = [], [environment.observe()["obs"]]
    for action in recorded[f"episode_{seed}_action"]:
        steps.append(environment.step(action))
        observations.append(environment.observe()["obs"])

    np.testing.assert_allclose(observations, recorded[f"episode_{seed}_obs"], atol=1e-6)
    assert [step.reward for step in steps] == recorded[f"episode_{seed}_reward"].tolist()
    assert [step.is_over for step in steps] == [False] * (len(steps) - 1) + [True]
    assert [environment.measure()[name] for name in EVENTS] == recorded[f"episode_{seed}_events"].tolist()
    environment.close()


def test_episodes_do_not_depend_on_those_before(environment, recorded):
    def play(seed: int) -> np.ndarray:
        environment.reset(Start("test", seed))
        observations = []
        for action in recorded["episode_100000_action"][:40]:
            environment.step(action)
            observations.append(environment.observe()["obs"])
        return np.array(observations)

    first = play(3)
    play(4)

    np.testing.assert_array_equal(play(3), first)


def test_absolute_and_relative_actions_lead_to_the_same_place(environment):
    absolute = BlockPushEnvironment(abs_action=True, obs_eef_target=False)
    start = Start("test", 5)
    environment.reset(start)
    absolute.reset(start)
    for index in range(1, 11):
        environment.step(np.array([0.01, 0.0]))
        absolute.step(np.array([0.3 + 0.01 * index, -0.4]))
    relative_obs, absolute_obs = environment.observe()["obs"], absolute.observe()["obs"]

    np.testing.assert_allclose(relative_obs[:8], absolute_obs[:8], atol=1e-6)
    np.testing.assert_allclose(relative_obs[8:10], [0.4, -0.4], atol=1e-6)
    assert not absolute_obs[8:10].any()
    absolute.close()


def test_the_effector_is_kept_in_the_workspace(environment):
    environment.reset(Start("test", 0))
    for _ in range(3):
        environment.step(np.array([1.0, -1.0]))

    np.testing.assert_allclose(environment.observe()["obs"][8:10], [0.7, -0.5])


def test_the_score_is_the_sum_of_the_different_rewards(environment):
    scores = [environment.score(np.array(r)) for r in ([], [0.0], [0, 0.49, 0, 0.49], [0.49, 0.51], [0.98, 0.51])]

    assert scores == pytest.approx([0, 0, 0.49, 1, 1])


@pytest.mark.slow
def test_a_run_brings_both_blocks_to_their_targets_and_films_it(tmp_path):
    config = BlockPushRunnerConfig(
        n_obs_steps=2, n_action_steps=1, n_train=1, n_train_vis=0, n_test=1, n_test_vis=1, fps=1, n_envs=1
    )
    runner = BlockPushRunner(config, shape_meta=SHAPE_META, output_dir=tmp_path)
    metrics = runner.run(PushingPolicy())
    runner.close()

    assert metrics["test/mean_score"] == metrics["test/sim_max_reward_100000"] == pytest.approx(1)
    assert (metrics["test/p1"], metrics["test/p2"], metrics["test/success_rate"]) == (1, 1, 1)
    assert [metrics[f"test/{name}"] for name in EVENTS] == [1, 1, 1, 0, 0, 1]
    capture = cv2.VideoCapture(metrics["test/sim_video_100000"])
    frame = capture.read()[1]
    n_frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    capture.release()
    assert 10 < n_frames < 20
    assert frame.shape == (240, 320, 3)
    assert frame.std() > 10
