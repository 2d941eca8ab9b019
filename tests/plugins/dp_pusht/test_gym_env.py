"""The environment of Push-T against the numbers of the original code."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dp_core.errors import InputError
from dp_pusht.geometry import GOAL_POSE, coverage, sample_start_state
from dp_pusht.gym_env import PushTEnv
from dp_pusht.keypoints import keypoints
from dp_pusht.render import render_observation
from dp_pusht.shapes import OBSERVATIONS, unknown_to_pusht

ALL_KEYS = tuple(OBSERVATIONS)


@pytest.fixture(scope="module")
def recorded(golden) -> dict[str, np.ndarray]:
    with np.load(golden("l_pusht_env.npz")) as file:
        return dict(file)


def full_state(env: PushTEnv, info: dict) -> np.ndarray:
    return np.concatenate([env.state, info["agent_velocity"]])


@pytest.mark.parametrize("convention", ["default", "legacy"])
def test_seeds_and_actions_lead_to_the_original_states_and_rewards(recorded: dict, convention: str) -> None:
    """The suggested tolerance is 0: the same physics, bit for bit."""
    env = PushTEnv(("state",), legacy=convention == "legacy")
    for episode, seed in enumerate(recorded["seeds"].tolist()):
        _, info = env.reset(seed=seed)
        np.testing.assert_array_equal(full_state(env, info), recorded[f"{convention}/state_after_reset"][episode])
        for step, action in enumerate(recorded["actions"][episode]):
            _, reward, terminated, truncated, info = env.step(action)

            expected = {name: recorded[f"{convention}/{name}"][episode, step] for name in ("state", "reward", "done")}
            np.testing.assert_allclose(full_state(env, info), expected["state"], rtol=0, atol=1e-9)
            assert reward == pytest.approx(expected["reward"], abs=1e-12)
            assert terminated == expected["done"]
            assert info["n_contacts"] == recorded[f"{convention}/n_contacts"][episode, step]
            assert not truncated


@pytest.mark.parametrize("convention", ["default", "legacy"])
def test_published_demonstrations_replay_as_in_the_original(golden, pusht_archive: Path, convention: str) -> None:
    """Needs the archive: the recorded results are here, the actions are there."""
    from dp_replay.buffer import ReplayBuffer

    buffer = ReplayBuffer.load(pusht_archive, ["state", "action"])
    ends = [0, *buffer.episode_ends.tolist()]
    with np.load(golden("l_pusht_demo_replay.npz")) as replayed:
        for episode in range(3):
            steps = slice(ends[episode], ends[episode + 1])
            actions, first = np.asarray(buffer["action"][steps]), np.asarray(buffer["state"][steps])[0]
            env = PushTEnv(("state",), legacy=convention == "legacy")
            env.reset(options={"state": first})
            for action, state, reward in zip(
                actions,
                replayed[f"{convention}/ep{episode}/state"],
                replayed[f"{convention}/ep{episode}/reward"],
                strict=True,
            ):
                _, got, _, _, info = env.step(action)
                np.testing.assert_allclose(full_state(env, info), state, rtol=0, atol=1e-9)
                assert got == pytest.approx(reward, abs=1e-12)


def test_start_states_are_the_published_ones(recorded: dict) -> None:
    for seed, state in zip(recorded["seeds"].tolist(), recorded["sampled_initial_state"], strict=True):
        np.testing.assert_array_equal(sample_start_state(seed), state)


def test_observations_are_those_of_the_state() -> None:
    env = PushTEnv(ALL_KEYS)

    observation, _ = env.reset(seed=3)

    assert list(observation) == list(ALL_KEYS)
    np.testing.assert_array_equal(observation["image"], render_observation(env.state).transpose(2, 0, 1))
    np.testing.assert_array_equal(observation["keypoint"], keypoints(env.state))
    np.testing.assert_array_equal(observation["obs"][:18], keypoints(env.state).ravel())
    np.testing.assert_array_equal(observation["obs"][18:], observation["agent_pos"])
    np.testing.assert_array_equal(observation["state"], env.state.astype(np.float32))
    for key, value in observation.items():
        assert list(value.shape) == OBSERVATIONS[key]["shape"]
        assert value.dtype == (np.uint8 if key == "image" else np.float32)


@pytest.mark.filterwarnings("ignore::UserWarning")  # recommends normalised spaces; these are in pixels on purpose
def test_environment_follows_the_rules_of_gymnasium() -> None:
    """Spaces, seeds, what reset and step return, every way of drawing, and closing twice."""
    check_env(gymnasium.make("dp_pusht/PushT-v0", obs_keys=ALL_KEYS).unwrapped)


def test_gymnasium_finds_it_by_name_and_loads_no_torch() -> None:
    program = (
        "import sys, gymnasium; env = gymnasium.make('dp_pusht.gym_env:dp_pusht/PushT-v0', obs_keys=['state']); "
        "observation, _ = env.reset(seed=3); print(env.spec.id, env.render_mode, observation['state'].shape); "
        "assert not {'torch', 'zarr', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "dp_pusht/PushT-v0 rgb_array (5,)"


def test_made_by_name_an_episode_is_the_same_and_ends_after_300_steps() -> None:
    env, bare = gymnasium.make("dp_pusht/PushT-v0", obs_keys=["state"], legacy=True), PushTEnv(("state",), legacy=True)
    for one in (env, bare):
        one.reset(seed=100_000)
    corner = np.zeros(2, np.float32)
    steps = [(env.step(corner), bare.step(corner)) for _ in range(300)]

    assert [made[3] for made, _ in steps] == [False] * 299 + [True]
    assert [made[0]["state"].tolist() for made, _ in steps] == [plain[0]["state"].tolist() for _, plain in steps]


def test_reset_without_a_seed_starts_anywhere() -> None:
    env = PushTEnv(("state",))
    env.reset(seed=1)
    first, second = env.reset()[0]["state"], env.reset()[0]["state"]

    assert not np.array_equal(first, second)


def test_unknown_observation_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        PushTEnv(("agent_pos", "depth"))

    assert str(caught.value) == (
        "Push-T does not give the observation 'depth'; choose from 'image', 'agent_pos', 'keypoint', 'state', 'obs'"
    )


def test_coverage_is_one_at_the_goal_and_zero_far_away() -> None:
    assert coverage(GOAL_POSE) == pytest.approx(1.0)
    assert coverage((60.0, 60.0, 0.0)) == 0.0
    assert coverage((256.0, 256.0, math.pi / 4 + 2 * math.pi)) == pytest.approx(1.0)


def test_shape_meta_that_push_t_cannot_serve_is_explained() -> None:
    shape_meta = {
        "obs": {
            "image": {"shape": [3, 128, 128], "type": "rgb"},
            "agent_pos": {"shape": [2], "type": "low_dim"},
            "depth": {"shape": [1, 96, 96], "type": "rgb"},
        },
        "action": {"shape": [3]},
    }

    assert list(unknown_to_pusht(shape_meta)) == [
        "shape_meta.obs.image is rgb [3, 128, 128]; Push-T gives rgb [3, 96, 96]",
        "shape_meta.obs has 'depth', which Push-T does not give; "
        "choose from 'image', 'agent_pos', 'keypoint', 'state', 'obs'",
        "shape_meta.action is [3]; actions of Push-T are [2]: x, y",
    ]
