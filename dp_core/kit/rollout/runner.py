"""`RolloutRunner`: evaluates a policy in many episodes at a time."""

from __future__ import annotations

import itertools
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import attrs
import numpy as np
import torch
from tqdm import tqdm

from dp_core.atomic import new_folder
from dp_core.interfaces import BasePolicy, BaseRunner
from dp_core.kit.rollout.acting import Actor
from dp_core.kit.rollout.confidence import mean_interval, wilson_interval
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.kit.rollout.environment import Environment, Split, Start
from dp_core.kit.rollout.episode import EpisodeGroup, EpisodeOptions, Outcome, Report, Window
from dp_core.kit.rollout.workers import WorkerGroup

_NUMBERED = re.compile("rollout_[0-9]+").fullmatch


class RolloutRunner(BaseRunner):
    """Evaluate a policy in many episodes at a time. A runner hands over its environment and says how episodes start::

        class TableRunner(RolloutRunner):
            def __init__(self, config, *, shape_meta, output_dir):  # config: a class that inherits RolloutOptions
                super().__init__(
                    config,
                    title="table",
                    make_environment=TableEnvironment,
                    action_dim=2,
                    output_dir=output_dir,
                    once=keys_once_per_episode(shape_meta),
                )

            def starts(self, split, n_episodes):
                first = 0 if split == "train" else 100_000
                return [Start(split, first + index) for index in range(n_episodes)]

        runner = TableRunner(config, shape_meta=shape_meta, output_dir="runs/table")
        metrics = runner.run(load_policy("latest.ckpt"))  # {"test/mean_score": 0.9, ...}
        runner.close()

    The policy acts on all running episodes at once and is not asked about those that are over; where one is over, the
    next begins. The noise of an episode follows from the runner's seed and the episode's start alone, see `noise_seed`:
    the same weights get the same score, whatever runs beside, and training is not disturbed. What remains is how
    batched arithmetic rounds, which depends on how many episodes are asked about at once, and which a chaotic task can
    make visible. With ``batch_invariant`` scores are identical, on one kind of machine and with as many threads,
    whatever ``n_envs``, ``num_workers`` and the number of episodes are, during training and in ``dp-eval``.
    """

    def __init__(
        self,
        options: RolloutOptions,
        *,
        title: str,
        make_environment: Callable[[], Environment],
        action_dim: int,
        output_dir: str | Path,
        steps_per_frame: int = 1,
        once: Collection[str] = (),
    ) -> None:
        """Take note of the task, which is cheap: environments are made at the first `run`.

        Args:
            title: of the task, for messages and the progress bar.
            make_environment: see `EpisodeOptions`.
            action_dim: Da, what `Environment.step` takes.
            steps_per_frame: control steps from one frame of a video to the next.
            once: observations with ``when: episode``: `dp_core.shape_meta.keys_once_per_episode`.
        """
        super().__init__(output_dir)
        self._rollout = options
        self._title = title
        self._action_dim = action_dim
        self._episode_options = EpisodeOptions(
            make_environment=make_environment,
            n_obs_steps=options.n_obs_steps,
            max_steps=options.max_steps,
            fps=options.fps,
            steps_per_frame=steps_per_frame,
            once=tuple(once),
        )
        self._group: EpisodeGroup | WorkerGroup | None = None

    @abstractmethod
    def starts(self, split: Split, n_episodes: int) -> Sequence[Start]:
        """Return the first ``n_episodes`` of a split, the same in every run, with different seeds.

        Called at each `run`, unless there are none.
        """

    def run(self, policy: BasePolicy) -> dict[str, Any]:
        """Evaluate; see `BaseRunner.run`. Adds ``test/mean_score_low`` and ``_high``, the mean's 95 % interval.

        Raises:
            InputError: the policy's actions do not have the shape expected, or are not finite, or it cannot draw from
                a generator for each row.
        """
        begin = time.perf_counter()
        starts = self._all_starts()
        outcomes = self._collect(policy, starts)
        seconds = time.perf_counter() - begin
        return {
            **_scores("train", starts, outcomes),
            **_scores("test", starts, outcomes),
            **{f"{start.split}/sim_video_{start.seed}": str(start.video) for start in starts if start.video},
            "seconds_per_episode": seconds / len(starts),
        }

    def close(self) -> None:
        """Release environments, and end the worker processes if there are any."""
        if self._group is not None:
            self._group.close()
            self._group = None

    # -- episodes -------------------------------------------------------------------------------------------------

    def _all_starts(self) -> list[Start]:
        """List those of both splits; the first of each film into a folder that no other run has used."""
        options = self._rollout
        wanted = {"train": (options.n_train, options.n_train_vis), "test": (options.n_test, options.n_test_vis)}
        films = any(n_episodes and n_videos for n_episodes, n_videos in wanted.values())  # or there is no folder
        media = self.output_dir / "media"
        folder = _new_media_folder(media) if films else media
        starts: list[Start] = []
        for split in get_args(Split):
            n_episodes, n_videos = wanted[split]
            if not n_episodes:
                continue
            for index, start in enumerate(self.starts(split, n_episodes)):
                video = folder / f"{split}_{start.seed}.mp4" if index < n_videos else None
                starts.append(attrs.evolve(start, video=video))
        return starts

    def _collect(self, policy: BasePolicy, starts: list[Start]) -> list[Outcome]:
        """Run all episodes and return their outcomes, in the order of ``starts``."""
        was_training = policy.training
        policy.eval()
        try:
            with torch.no_grad(), _Progress(self._title, len(starts), self._rollout.max_steps) as progress:
                outcomes = self._run_episodes(policy, starts, progress)
        except BaseException:
            self.close()  # workers may be in the middle of an answer
            raise
        finally:
            policy.train(was_training)
        return [outcomes[number] for number in range(len(starts))]

    def _run_episodes(self, policy: BasePolicy, starts: list[Start], progress: _Progress) -> dict[int, Outcome]:
        """Run episodes, numbered as in ``starts``, ``n_envs`` at a time: where one is over, the next begins."""
        if self._group is None:
            self._group = self._make_group()
        actor = Actor(policy, starts, self._rollout, action_dim=self._action_dim, title=self._title)
        n_envs = self._rollout.n_envs or len(starts)
        waiting = dict(enumerate(starts))
        windows: dict[int, Window] = {}
        outcomes: dict[int, Outcome] = {}
        while windows or waiting:
            next_ones = list(waiting)[: n_envs - len(windows)]
            windows |= _running(self._group.start({number: waiting.pop(number) for number in next_ones}))
            reports = self._group.execute(actor.act(windows))
            progress.show(reports)
            windows = _running(reports)
            outcomes |= {number: report.outcome for number, report in reports.items() if report.outcome is not None}
        return outcomes

    def _make_group(self) -> EpisodeGroup | WorkerGroup:
        if self._rollout.num_workers == 0:
            return EpisodeGroup(self._episode_options)
        return WorkerGroup(self._episode_options, self._rollout.num_workers, self._title)


def _new_media_folder(media: Path) -> Path:
    """Make the folder that is next in number; two evaluations at once get one each."""
    taken = [int(path.name.removeprefix("rollout_")) for path in media.glob("rollout_*") if _NUMBERED(path.name)]
    return new_folder(media / f"rollout_{number:04d}" for number in itertools.count(1 + max(taken, default=-1)))


class _Progress:
    """Show a bar that counts the steps of all episodes, and the mean score of those started so far."""

    def __init__(self, title: str, n_episodes: int, max_steps: int) -> None:
        self._bar = tqdm(total=n_episodes * max_steps, desc=title, unit="step", leave=False, disable=None)
        self._max_steps = max_steps
        self._steps: dict[int, int] = {}
        self._scores: dict[int, float] = {}

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, reports: Mapping[int, Report]) -> None:
        """Take note of the episodes that advanced. One that is over counts as all its steps."""
        for number, report in reports.items():
            self._steps[number] = self._max_steps if report.window is None else report.n_steps
            self._scores[number] = report.score
        self._bar.set_postfix(score=f"{np.mean(list(self._scores.values())):.3f}", refresh=False)
        self._bar.update(sum(self._steps.values()) - self._bar.n)


def _scores(split: Split, starts: Sequence[Start], outcomes: Sequence[Outcome]) -> dict[str, float]:
    pairs = [(start, outcome) for start, outcome in zip(starts, outcomes, strict=True) if start.split == split]
    if not pairs:
        return {}
    n_episodes = len(pairs)
    scores = [outcome.score for _, outcome in pairs]
    metrics = {f"{split}/sim_max_reward_{start.seed}": outcome.score for start, outcome in pairs}
    metrics |= _with_interval(f"{split}/mean_score", float(np.mean(scores)), mean_interval(scores))
    if any(outcome.is_success is not None for _, outcome in pairs):
        n_successes = sum(bool(outcome.is_success) for _, outcome in pairs)
        interval = wilson_interval(n_successes, n_episodes)
        metrics |= _with_interval(f"{split}/success_rate", n_successes / n_episodes, interval)
    for name in pairs[0][1].measures:
        metrics[f"{split}/{name}"] = float(np.mean([outcome.measures[name] for _, outcome in pairs]))
    return metrics


def _running(reports: Mapping[int, Report]) -> dict[int, Window]:
    return {index: report.window for index, report in reports.items() if report.window is not None}


def _with_interval(name: str, value: float, interval: tuple[float, float]) -> dict[str, float]:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}
