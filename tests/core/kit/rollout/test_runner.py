"""Episodes, worker processes and metrics of runners, with an environment that counts."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_core.errors import DpError, InputError
from dp_core.interfaces import BasePolicy
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.kit.rollout.environment import Split, Start
from dp_core.kit.rollout.episode import EpisodeGroup, EpisodeOptions
from dp_core.kit.rollout.runner import RolloutRunner

sys.path.append(str(Path(__file__).parents[3] / "data"))  # worker processes look there, too

from counting import Counter, Mortal

OPTIONS: dict[str, Any] = {
    "n_obs_steps": 2, "n_action_steps": 4, "max_steps": 10, "n_train": 1, "n_train_vis": 0, "n_test": 2, "n_test_vis": 0
}  # fmt: skip


class CounterRunner(RolloutRunner):
    def starts(self, split: Split, n_episodes: int) -> Sequence[Start]:
        return [Start(split, seed, state=seed) for seed in range(n_episodes)]


class Adder(BasePolicy):
    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.zeros(())

    def predict_action(
        self, obs: dict[str, torch.Tensor], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        action = torch.ones(len(obs["total"]), 4, 1)
        return {"action": action, "action_pred": action}


def runner(output_dir: Path, environment: Any = Counter, **options: Any) -> CounterRunner:
    return CounterRunner(
        RolloutOptions(**OPTIONS | options), title="counting", make_environment=environment, action_dim=1,
        output_dir=output_dir, steps_per_frame=2,
    )  # fmt: skip


def test_a_runner_reports_scores_successes_and_the_means_of_measures(tmp_path: Path) -> None:
    metrics = runner(tmp_path).run(Adder())

    assert metrics["train/sim_max_reward_0"] == 0.3
    assert metrics["test/sim_max_reward_0"] == 0.3  # six steps to the goal
    assert metrics["test/sim_max_reward_1"] == 0.25
    assert metrics["test/mean_score"] == pytest.approx(0.275)
    assert metrics["test/success_rate"] == 1.0
    assert metrics["test/n_steps"] == 5.5
    assert metrics["seconds_per_episode"] > 0


@pytest.mark.slow
def test_worker_processes_change_nothing_and_end(tmp_path: Path) -> None:
    alone, shared = runner(tmp_path), runner(tmp_path, num_workers=2)
    expected, found = alone.run(Adder()), shared.run(Adder())
    shared.close()

    assert {**found, "seconds_per_episode": 0} == {**expected, "seconds_per_episode": 0}
    assert multiprocessing.active_children() == []


def test_the_environment_is_looked_at_only_where_a_policy_sees_it() -> None:
    group = EpisodeGroup(EpisodeOptions(Counter, n_obs_steps=2, max_steps=10, fps=10))
    [report] = group.start([Start("test", 0)])
    [environment] = group._environments
    assert report.window is not None
    assert report.window["total"].tolist() == [[0], [0]]  # the first is repeated
    report = group.execute({0: np.ones((4, 1))})[0]

    assert isinstance(environment, Counter)
    assert environment.looks == [0, 3, 4]
    assert report.window is not None
    assert report.window["total"].tolist() == [[3], [4]]
    report = group.execute({0: np.ones((4, 1))})[0]
    assert report.window is None
    assert environment.looks == [0, 3, 4]
    group.close()
    assert environment.is_closed


def test_chunks_shorter_than_the_window_keep_earlier_observations() -> None:
    group = EpisodeGroup(EpisodeOptions(Counter, n_obs_steps=3, max_steps=10, fps=10))
    group.start([Start("test", 0)])
    group.execute({0: np.ones((2, 1))})
    report = group.execute({0: np.ones((1, 1))})[0]

    assert report.window is not None
    assert report.window["total"].tolist() == [[1], [2], [3]]


def test_environments_are_used_again(tmp_path: Path) -> None:
    made = []

    def make() -> Counter:
        made.append(Counter())
        return made[-1]

    evaluation = runner(tmp_path, make, n_envs=2)
    evaluation.run(Adder())
    evaluation.run(Adder())

    assert len(made) == 2


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_fails_in_an_episode_is_reported_and_leaves_no_film(tmp_path: Path, num_workers: int) -> None:
    pytest.importorskip("imageio")
    evaluation = runner(tmp_path, partial(Counter, breaks_at=2), num_workers=num_workers, n_test_vis=1)

    with pytest.raises(InputError) as caught:
        evaluation.run(Adder())

    assert str(caught.value) == "it broke"
    for _ in range(50):  # the process tidies up while it ends
        if not (left := [path for path in (tmp_path / "media").rglob("*") if path.is_file()]):
            break
        time.sleep(0.1)
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exit_code", "end"),
    [
        (-9, "was killed, which happens where memory runs out; choose fewer 'num_workers', or fewer 'n_envs'"),
        (3, "ended unexpectedly, with exit code 3"),
    ],
)
def test_a_worker_that_ends_is_reported_in_words(tmp_path: Path, exit_code: int, end: str) -> None:
    evaluation = runner(tmp_path, partial(Mortal, exit_code=exit_code), num_workers=1)

    with pytest.raises(DpError) as caught:
        evaluation.run(Adder())

    assert str(caught.value) == f"the process 'counting 0' of the counting runner {end}"
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_worker_that_has_ended_meanwhile_is_reported_in_words(tmp_path: Path) -> None:
    evaluation = runner(tmp_path, num_workers=1)
    evaluation.run(Adder())
    (process,) = multiprocessing.active_children()
    process.kill()
    process.join()

    with pytest.raises(DpError) as caught:
        evaluation.run(Adder())

    assert str(caught.value).startswith("the process 'counting 0' of the counting runner was killed, ")


def test_evaluations_at_once_have_folders_of_their_own_and_other_names_are_left_alone(tmp_path: Path) -> None:
    for name in ("rollout_x", "rollout_0007", "rollout_", "rollout_2_best"):
        (tmp_path / "media" / name).mkdir(parents=True)
    both = [runner(tmp_path, n_test_vis=1) for _ in range(2)]

    starts = [each._all_starts() for each in both]

    videos = [start.video for each in starts for start in each if start.video]
    assert videos == [tmp_path / "media" / f"rollout_000{number}" / "test_0.mp4" for number in (8, 9)]


def test_evaluations_without_films_leave_no_folder(tmp_path: Path) -> None:
    runner(tmp_path, n_train=0, n_train_vis=3)._all_starts()

    assert list(tmp_path.iterdir()) == []


def test_films_have_a_frame_every_so_many_steps(tmp_path: Path) -> None:
    pytest.importorskip("imageio")
    cv2 = pytest.importorskip("cv2")
    metrics = runner(tmp_path, n_test_vis=1).run(Adder())
    capture = cv2.VideoCapture(metrics["test/sim_video_0"])
    levels = []
    while (frame := capture.read()[1]) is not None:
        levels.append(frame.mean())

    assert "test/sim_video_1" not in metrics
    assert levels == pytest.approx([0, 20, 40, 60], abs=4)
