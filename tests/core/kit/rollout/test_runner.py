"""Episodes, worker processes and metrics of runners, with an environment that counts."""

from __future__ import annotations

import multiprocessing
import sys
import time
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import attrs
import numpy as np
import pytest
import torch
from torch import nn

from dp_core.border.carried import UnportableError
from dp_core.config.metrics import is_measured
from dp_core.errors import DpError, InputError
from dp_core.interfaces import BasePolicy, Generators, draw_noise
from dp_core.kit.rollout.acting import noise_seed
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.kit.rollout.environment import Split, Start, Step
from dp_core.kit.rollout.episode import EpisodeGroup, EpisodeOptions
from dp_core.kit.rollout.runner import RolloutRunner

sys.path.append(str(Path(__file__).parents[3] / "data"))  # worker processes look there, too

from counting import Counter, Mortal, RobotError, TableError

OPTIONS: dict[str, Any] = {
    "n_obs_steps": 2, "n_action_steps": 4, "max_steps": 10, "n_train": 1, "n_train_vis": 0, "n_test": 2, "n_test_vis": 0
}  # fmt: skip


MANY: dict[str, Any] = {"n_train": 3, "n_test": 20, "max_steps": 16}
COMPANIES = (1, 4, 16, None)
"""Episodes at a time."""


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "seconds_per_episode"}


class CounterRunner(RolloutRunner):
    def starts(self, split: Split, n_episodes: int) -> Sequence[Start]:
        return [Start(split, seed, state=seed) for seed in range(n_episodes)]


class Adder(BasePolicy):
    """Adds one at every step. Remembers what it was asked: a string of totals per call, ``|`` where it was reset."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.zeros(())

    def reset(self) -> None:
        self.asked.append("|")

    def predict_action(self, obs: dict[str, torch.Tensor], generator: Generators = None) -> dict[str, torch.Tensor]:
        self.asked.append(" ".join(f"{total:g}" for total in obs["total"][:, -1, 0].tolist()))
        action = self.choose(obs["total"][:, -1], generator)
        return {"action": action, "action_pred": action}

    def choose(self, total: torch.Tensor, generator: Generators) -> torch.Tensor:
        return torch.ones(len(total), 4, 1)


class Drawing(Adder):
    """Adds noise to what a network says, whose last digits depend on how many rows it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(5, 300), nn.Mish(), nn.Linear(300, 300), nn.Mish(), nn.Linear(300, 4))
        self.drawn: dict[int, list[torch.Tensor]] = {}

    def choose(self, total: torch.Tensor, generator: Generators) -> torch.Tensor:
        assert isinstance(generator, list)
        noise = draw_noise((len(total), 4), generator)
        for own, row in zip(generator, noise, strict=True):
            self.drawn.setdefault(own.initial_seed(), []).append(row)
        return (0.5 + self.network(torch.cat([total, noise], dim=1)) + noise).unsqueeze(-1)


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


class Silent(Counter):
    """Has a score, and no notion of success."""

    def step(self, action: Any) -> Step:
        return attrs.evolve(super().step(action), is_success=None)


@attrs.frozen(kw_only=True)
class SilentOptions(RolloutOptions):
    environment_measures = ("n_steps",)
    has_success = False


def test_where_nothing_is_a_success_no_rate_of_it_is_reported(tmp_path: Path) -> None:
    """Neither a metric nor, from that, a line of a command; its options say so before a run."""
    metrics = runner(tmp_path, Silent).run(Adder())
    measures = SilentOptions(**OPTIONS).measures

    assert "test/mean_score" in metrics
    assert [name for name in (*metrics, *measures) if "success" in name] == []
    assert [name for name in metrics if not is_measured(name, measures)] == []


def test_who_speaks_of_success_only_where_there_is_one_is_understood(tmp_path: Path) -> None:
    class Terse(Counter):
        def step(self, action: Any) -> Step:
            step = super().step(action)
            return attrs.evolve(step, is_success=True if step.is_success and self.n_steps > 5 else None)

    metrics = runner(tmp_path, Terse).run(Adder())

    assert metrics["test/success_rate"] == 0.5  # of six steps, and of five


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_where_an_episode_is_over_the_next_begins(tmp_path: Path, num_workers: int) -> None:
    """Test episode i starts at i; four are added at a time, and six is the goal."""
    policy, evaluation = Adder(), runner(tmp_path, n_test=5, n_envs=2, num_workers=num_workers)
    metrics = evaluation.run(policy)
    evaluation.close()

    assert policy.asked == ["|", "0 0", "4 4", "|", "1 2", "|", "5 3", "|", "4"]
    assert [metrics[f"test/sim_max_reward_{seed}"] for seed in range(5)] == [0.3, 0.25, 0.2, 0.15, 0.1]


def test_what_an_episode_draws_follows_from_its_seed_alone(tmp_path: Path) -> None:
    policies = [Drawing() for _ in COMPANIES]
    metrics = [
        numbers(runner(tmp_path, **MANY, n_envs=n_envs).run(policy))
        for policy, n_envs in zip(policies, COMPANIES, strict=True)
    ]
    own = torch.Generator().manual_seed(noise_seed(0, Start("test", 7)))
    drawn = policies[0].drawn[own.initial_seed()]

    assert len(policies[0].drawn) == 23
    assert torch.equal(torch.stack(drawn), torch.stack([torch.randn(4, generator=own) for _ in drawn]))
    for policy, found in zip(policies, metrics, strict=True):
        assert found == pytest.approx(metrics[0], abs=1e-6)
        for seed, rows in policies[0].drawn.items():
            assert torch.equal(torch.stack(policy.drawn[seed]), torch.stack(rows))


def test_another_seed_of_the_runner_or_of_the_start_and_another_split_draw_something_else() -> None:
    starts = [Start(split, seed) for split in get_args(Split) for seed in (0, 1)]

    assert len({noise_seed(seed, start) for seed in (0, 1) for start in starts}) == 8
    assert noise_seed(0, Start("test", 100_000)) == 0xD76FBF2595402706


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_of_one_size_give_the_same_scores_in_any_company(tmp_path: Path, num_workers: int) -> None:
    policy, options = Drawing(), {**MANY, "batch_invariant": True}
    expected = numbers(runner(tmp_path, **options).run(policy))

    for n_envs in COMPANIES:
        evaluation = runner(tmp_path, **options, n_envs=n_envs, num_workers=num_workers)
        assert numbers(evaluation.run(policy)) == expected
        evaluation.close()
    few = runner(tmp_path, **{**options, "n_train": 0, "n_test": 5}).run(policy)
    assert [few[f"test/sim_max_reward_{seed}"] for seed in range(5)] == [
        expected[f"test/sim_max_reward_{seed}"] for seed in range(5)
    ]
    assert {len(asked.split()) for asked in policy.asked if asked != "|"} == {8}


@pytest.mark.slow
def test_worker_processes_change_nothing_and_end(tmp_path: Path) -> None:
    alone, shared = runner(tmp_path), runner(tmp_path, num_workers=2)
    expected, found = alone.run(Adder()), shared.run(Adder())
    shared.close()

    assert numbers(found) == numbers(expected)
    assert multiprocessing.active_children() == []


def test_the_environment_is_looked_at_only_where_a_policy_sees_it() -> None:
    group = EpisodeGroup(EpisodeOptions(Counter, n_obs_steps=2, max_steps=10, fps=10))
    report = group.start({0: Start("test", 0)})[0]
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
    group.start({0: Start("test", 0)})
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
    ("error", "expected", "text"),
    [
        (InputError, InputError, "it broke"),
        (TableError, DpError, "table has 1 problem\n  legs: it broke"),
        (RobotError, UnportableError, "RobotError: ('it broke', None)"),
    ],
)
def test_whatever_a_worker_raises_arrives_with_its_place_and_leaves_no_film(
    tmp_path: Path, error: type[Exception], expected: type[Exception], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio")
    evaluation = runner(tmp_path, partial(Counter, breaks_at=2, error=error), num_workers=2, n_test_vis=2)

    with pytest.raises(expected) as caught:
        evaluation.run(Adder())

    assert (type(caught.value), str(caught.value)) == (expected, text)
    assert 'raise self.error("it broke")' in "".join(traceback.format_exception(caught.value))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert "Traceback" not in capfd.readouterr().err


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


class Told(Counter):
    """Says what is to be done, differently at every step, and how much there is to count."""

    def observe(self) -> dict[str, Any]:
        total = super().observe()["total"]
        return {"total": total, "told": f"count on from {float(total[0]):g}", "goal": total + 10}


class Listener(Adder):
    def predict_action(self, obs: dict[str, Any], generator: Generators = None) -> dict[str, torch.Tensor]:
        self.heard.append((obs["told"].tolist(), obs["goal"].tolist()))
        return super().predict_action(obs, generator)

    heard: list[Any]


def test_strings_reach_the_policy_and_a_goal_is_that_of_the_first_moment(tmp_path: Path) -> None:
    policy = Listener()
    policy.heard = []
    runner = CounterRunner(
        RolloutOptions(**{**OPTIONS, "n_train": 0, "n_test": 1, "max_steps": 8}),
        title="counting",
        make_environment=Told,
        action_dim=1,
        output_dir=tmp_path,
        once=("goal",),
    )

    runner.run(policy)
    runner.close()

    assert policy.heard == [
        ([["count on from 0", "count on from 0"]], [[[10.0], [10.0]]]),
        ([["count on from 3", "count on from 4"]], [[[10.0], [10.0]]]),
    ]
