"""Evaluation in Push-T, with small policies."""

from __future__ import annotations

import multiprocessing
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np
import pytest
import torch

from dp_core.errors import InputError
from dp_core.interfaces import BasePolicy, Generators, draw_noise
from dp_core.kit.rollout.acting import noise_seed
from dp_core.kit.rollout.environment import Start
from dp_core.kit.rollout.episode import Episode, EpisodeOptions
from dp_pusht.config import PushTRunnerConfig
from dp_pusht.environment import PushTEnvironment
from dp_pusht.geometry import coverage
from dp_pusht.gym_env import PushTEnv
from dp_pusht.runner import PushTRunner

SHAPE_META = {"obs": {"agent_pos": {"shape": [2], "type": "low_dim"}}, "action": {"shape": [2]}}
IMAGE_META = {"obs": {"image": {"shape": [3, 96, 96], "type": "rgb"}, **SHAPE_META["obs"]}, "action": {"shape": [2]}}
SMALL = PushTRunnerConfig(
    n_obs_steps=2, n_action_steps=4, n_train=1, n_train_vis=0, n_test=3, n_test_vis=1, max_steps=10
)


class StillPolicy(BasePolicy):
    """Stays where it is, and remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, torch.Tensor]] = []
        self.modes: list[bool] = []
        self.n_resets = 0

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.zeros(())

    def reset(self) -> None:
        self.n_resets += 1

    def predict_action(self, obs: dict[str, torch.Tensor], generator: Generators = None) -> dict[str, torch.Tensor]:
        self.seen.append(obs)
        self.modes.append(self.training)
        action = self.choose(obs["agent_pos"][:, -1:], generator)
        return {"action": action, "action_pred": action}

    def choose(self, position: torch.Tensor, generator: Generators) -> torch.Tensor:
        return position.repeat(1, 4, 1)


class RandomPolicy(StillPolicy):
    def choose(self, position: torch.Tensor, generator: Generators) -> torch.Tensor:
        return 256 + 128 * draw_noise((len(position), 4, 2), generator)


class OldPolicy(StillPolicy):
    """Knows of one generator only."""

    def choose(self, position: torch.Tensor, generator: Generators) -> torch.Tensor:
        return 256 + 128 * torch.randn((len(position), 4, 2), generator=generator)


class OldPolicyOnDevice(StillPolicy):
    """Asks its one generator where it lives."""

    def choose(self, position: torch.Tensor, generator: Generators) -> torch.Tensor:
        return torch.zeros(len(position), 4, 2, device=generator.device)  # type: ignore[union-attr]


class WrongPolicy(StillPolicy):
    def choose(self, position: torch.Tensor, generator: Generators) -> torch.Tensor:
        return position.repeat(1, 3, 1)


class DivergedPolicy(StillPolicy):
    def choose(self, position: torch.Tensor, generator: Generators) -> torch.Tensor:
        return torch.full((len(position), 4, 2), torch.nan)


def run(policy: BasePolicy, output_dir: Path, shape_meta: dict[str, Any] = SHAPE_META, **options: Any) -> dict:
    runner = PushTRunner(attrs.evolve(SMALL, **options), shape_meta=shape_meta, output_dir=output_dir)
    try:
        return runner.run(policy)
    finally:
        runner.close()


def episode(start: Start, *, legacy: bool) -> Episode:
    options = EpisodeOptions(
        partial(PushTEnvironment, ("agent_pos",), legacy=legacy), n_obs_steps=2, max_steps=10, fps=10
    )
    return Episode(options.make_environment(), start, options)


def read_video(path: str) -> list[np.ndarray]:
    """Frames as RGB."""
    capture = cv2.VideoCapture(path)
    frames = []
    while (frame := capture.read()[1]) is not None:
        frames.append(frame[..., ::-1])
    capture.release()
    return frames


def without_time_and_videos(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if "video" not in name and name != "seconds_per_episode"}


def test_metrics_have_the_names_of_the_contract(tmp_path: Path) -> None:
    metrics = run(StillPolicy(), tmp_path)

    assert list(metrics) == [
        "train/sim_max_reward_0",
        "train/mean_score",
        "train/mean_score_low",
        "train/mean_score_high",
        "train/success_rate",
        "train/success_rate_low",
        "train/success_rate_high",
        "test/sim_max_reward_100000",
        "test/sim_max_reward_100001",
        "test/sim_max_reward_100002",
        "test/mean_score",
        "test/mean_score_low",
        "test/mean_score_high",
        "test/success_rate",
        "test/success_rate_low",
        "test/success_rate_high",
        "test/sim_video_100000",
        "seconds_per_episode",
    ]


def test_score_is_the_best_reward_of_the_episode(tmp_path: Path) -> None:
    metrics = run(RandomPolicy(), tmp_path, n_test_vis=0)
    starts = [Start("train", 0), *(Start("test", seed) for seed in (100000, 100001, 100002))]
    episodes = [episode(start, legacy=True) for start in starts]
    for start, one in zip(starts, episodes, strict=True):
        generator = torch.Generator().manual_seed(noise_seed(0, start))
        for _ in range(3):
            one.execute((256 + 128 * torch.randn((4, 2), generator=generator)).numpy())
    best = [one.outcome().rewards.max() for one in episodes]

    assert [len(one.outcome().rewards) for one in episodes] == [10] * 4
    assert metrics["train/sim_max_reward_0"] == best[0]
    assert [metrics[f"test/sim_max_reward_{seed}"] for seed in (100000, 100001, 100002)] == best[1:]
    assert metrics["test/mean_score"] == pytest.approx(np.mean(best[1:]))


def test_doing_nothing_scores_what_the_starts_cover(tmp_path: Path) -> None:
    """The floor of the benchmark's 50 test starts; within 300 steps it rises to 0.076, as walls push blocks away."""
    metrics = run(StillPolicy(), tmp_path, n_train=0, n_test=50, n_test_vis=0, max_steps=2)

    assert metrics["test/mean_score"] == pytest.approx(0.07505, abs=1e-5)
    assert metrics["test/success_rate"] == 0.0
    assert metrics["test/mean_score_low"] < metrics["test/mean_score"] < metrics["test/mean_score_high"]
    assert "train/mean_score" not in metrics


def test_evaluation_repeats_and_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    policies = [RandomPolicy() for _ in range(3)]
    results = [
        without_time_and_videos(run(policy, tmp_path, n_test_vis=0, seed=seed))
        for policy, seed in zip(policies, (0, 0, 1), strict=True)
    ]
    first, second, other = (policy.seen[-1]["agent_pos"] for policy in policies)

    assert torch.equal(torch.get_rng_state(), before)
    assert results[0] == results[1]
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.slow
def test_worker_processes_give_the_same_result_and_end(tmp_path: Path) -> None:
    alone = run(RandomPolicy(), tmp_path, IMAGE_META, n_test_vis=0)
    shared = run(RandomPolicy(), tmp_path, IMAGE_META, n_test_vis=0, num_workers=3)

    assert without_time_and_videos(shared) == without_time_and_videos(alone)
    assert multiprocessing.active_children() == []


def test_windows_are_padded_with_the_first_observation_and_move_with_time(tmp_path: Path) -> None:
    policy = RandomPolicy()
    run(policy, tmp_path, IMAGE_META, n_train=0, n_test=1, n_test_vis=0, n_obs_steps=3)
    first, second = policy.seen[0], policy.seen[1]

    assert first["agent_pos"].shape == (1, 3, 2)
    assert first["agent_pos"].dtype == torch.float32
    assert first["image"].shape == (1, 3, 3, 96, 96)
    assert first["image"].dtype == torch.uint8
    assert torch.equal(first["agent_pos"][:, 0], first["agent_pos"][:, 2])
    assert not torch.equal(second["agent_pos"][:, 0], second["agent_pos"][:, 1])
    assert len(policy.seen) == 3


@pytest.mark.parametrize("policy", [OldPolicy, OldPolicyOnDevice])
def test_a_policy_that_knows_of_one_generator_only_is_refused(tmp_path: Path, policy: type[StillPolicy]) -> None:
    with pytest.raises(InputError) as caught:
        run(policy(), tmp_path)

    assert str(caught.value) == (
        "the Push-T runner hands predict_action a generator for each row, and the policy, or its scheduler, takes a "
        "single one; draw with dp_core.interfaces.draw_noise, which takes either"
    )


def test_policy_is_reset_for_other_episodes_runs_in_eval_mode_and_gets_its_mode_back(tmp_path: Path) -> None:
    policy = StillPolicy().train()
    run(policy, tmp_path, n_test_vis=0, n_envs=3)

    assert policy.n_resets == 2
    assert [len(obs["agent_pos"]) for obs in policy.seen] == [3, 3, 3, 1, 1, 1]
    assert not any(policy.modes)
    assert policy.training


def test_episode_ends_with_success_and_is_not_shown_again() -> None:
    at_the_goal = Start("test", 0, state={"state": (50.0, 50.0, 256.0, 256.0, np.pi / 4)})
    done = episode(at_the_goal, legacy=False)
    done.execute(np.full((4, 2), 50.0))

    report = done.report()

    assert report.window is None
    assert report.n_steps == 1
    assert report.score == 1.0
    assert done.outcome().is_success


def test_videos_can_be_watched_and_are_kept_from_run_to_run(tmp_path: Path) -> None:
    first = run(StillPolicy(), tmp_path)["test/sim_video_100000"]
    second = run(StillPolicy(), tmp_path)["test/sim_video_100000"]
    frames = read_video(first)

    assert first == str(tmp_path / "media" / "rollout_0000" / "test_100000.mp4")
    assert second == str(tmp_path / "media" / "rollout_0001" / "test_100000.mp4")
    assert len(frames) == 11
    assert frames[0].shape == (256, 256, 3)
    env = PushTEnv(("state",), legacy=True)
    env.reset(seed=100000)
    assert np.abs(frames[0].astype(float) - env.render()).mean() < 5
    assert sorted(path.name for path in Path(first).parent.iterdir()) == ["test_100000.mp4"]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_few_actions_are_reported_and_the_runner_can_be_used_again(tmp_path: Path, num_workers: int) -> None:
    config = attrs.evolve(SMALL, num_workers=num_workers, n_test_vis=0)
    runner = PushTRunner(config, shape_meta=SHAPE_META, output_dir=tmp_path)

    with pytest.raises(InputError) as caught:
        runner.run(WrongPolicy())

    assert str(caught.value) == (
        "the policy returned actions of shape (4, 3, 2); the Push-T runner executes 4 of each prediction and needs "
        "(4, 4 or more, 2)"
    )
    assert runner.run(StillPolicy())["test/success_rate"] == 0.0
    runner.close()


def test_actions_that_are_not_finite_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(DivergedPolicy(), tmp_path)

    assert str(caught.value) == "the policy returned actions that are not finite; did its training diverge?"


def test_shape_meta_is_checked_with_the_config() -> None:
    wrong = {"obs": {"depth": {"shape": [2], "type": "low_dim"}}, "action": {"shape": [2]}}

    assert list(SMALL.check(SHAPE_META)) == []
    assert list(attrs.evolve(SMALL, n_train=0, n_test=0).check(wrong)) == [
        ("n_test", "n_train and n_test are both 0; evaluate at least one episode"),
        (
            "",
            "shape_meta.obs has 'depth', which Push-T does not give; "
            "choose from 'image', 'agent_pos', 'keypoint', 'state', 'obs'",
        ),
    ]


def test_debug_mode_is_small() -> None:
    config = PushTRunnerConfig(n_obs_steps=2, n_action_steps=8).in_debug_mode()

    assert (config.n_train, config.n_test, config.max_steps) == (1, 2, 16)


def test_reward_is_relative_to_the_coverage_that_counts_as_success() -> None:
    env = PushTEnv(("state",))
    env.reset(options={"state": (50.0, 50.0, 266.0, 256.0, np.pi / 4)})
    _, reward, terminated, _, info = env.step((50.0, 50.0))

    assert info["coverage"] == pytest.approx(coverage(env.state[2:]))
    assert reward == pytest.approx(info["coverage"] / 0.95)
    assert not terminated
