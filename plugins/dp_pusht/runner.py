"""`PushTRunner`: evaluates a policy in Push-T, many episodes at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dp_core.errors import InputError
from dp_core.interfaces import BasePolicy, BaseRunner
from dp_pusht.config import PushTRunnerConfig
from dp_pusht.intervals import mean_interval, wilson_interval
from dp_pusht.rollout import EpisodeGroup, EpisodeOptions, Report, Trajectory, Window
from dp_pusht.shapes import unknown_to_pusht
from dp_pusht.video import write_video
from dp_pusht.workers import WorkerGroup


@attrs.frozen
class _Start:
    split: str
    seed: int
    has_video: bool


class PushTRunner(BaseRunner):
    """Scores an episode by its best reward, as the paper does: 1 is a goal covered by 95 %.

    Episodes of both splits start as demonstrations do, from a seed; ``test`` seeds are far from those of the training
    data. The policy acts on all running episodes at once and is not asked about those that are over. What it draws
    comes from a generator seeded anew at every `run`: the same weights get the same score, and training is not
    disturbed.
    """

    def __init__(self, config: PushTRunnerConfig, *, shape_meta: Mapping[str, Any], output_dir: str | Path) -> None:
        super().__init__(output_dir)
        if problems := list(unknown_to_pusht(shape_meta)):
            raise InputError("; ".join(problems))
        self.config = config
        self._options = EpisodeOptions(
            obs_keys=tuple(shape_meta["obs"]),
            n_obs_steps=config.n_obs_steps,
            max_steps=config.max_steps,
            legacy=config.legacy_test,
        )
        self._starts = [*_starts("train", config), *_starts("test", config)]
        self._group: EpisodeGroup | WorkerGroup | None = None

    def run(self, policy: BasePolicy) -> dict[str, Any]:
        """See `BaseRunner.run`; adds ``test/mean_score_low`` and ``_high``, the 95 % interval of the mean score.

        Raises:
            InputError: the policy's actions do not have the shape expected, or are not finite.
        """
        begin = time.perf_counter()
        trajectories = self._collect(policy)
        seconds = time.perf_counter() - begin
        return {
            **self._scores("train", trajectories),
            **self._scores("test", trajectories),
            **self._videos(trajectories),
            "seconds_per_episode": seconds / len(trajectories),
        }

    def close(self) -> None:
        """End the worker processes, if there are any."""
        if self._group is not None:
            self._group.close()
            self._group = None

    # -- episodes -------------------------------------------------------------------------------------------------

    def _collect(self, policy: BasePolicy) -> list[Trajectory]:
        """Trajectories of all episodes, in the order of ``self._starts``."""
        generator = torch.Generator(policy.device).manual_seed(self.config.seed)
        seeds = [start.seed for start in self._starts]
        n_envs = self.config.n_envs or len(seeds)
        was_training = policy.training
        policy.eval()
        trajectories: list[Trajectory] = []
        try:
            with torch.no_grad(), _Progress(len(seeds), self.config.max_steps) as progress:
                for first in range(0, len(seeds), n_envs):
                    trajectories += self._collect_batch(policy, seeds[first : first + n_envs], generator, progress)
        except BaseException:
            self.close()  # workers may be in the middle of an answer
            raise
        finally:
            policy.train(was_training)
        return trajectories

    def _collect_batch(
        self, policy: BasePolicy, seeds: Sequence[int], generator: torch.Generator, progress: _Progress
    ) -> list[Trajectory]:
        if self._group is None:
            self._group = self._make_group()
        policy.reset()
        progress.start(len(seeds))
        windows = _running(dict(enumerate(self._group.start(seeds))))
        while windows:
            actions = self._act(policy, list(windows.values()), generator)
            reports = self._group.execute(dict(zip(windows, actions, strict=True)))
            progress.show(reports)
            windows = _running(reports)
        return self._group.trajectories()

    def _make_group(self) -> EpisodeGroup | WorkerGroup:
        if self.config.num_workers == 0:
            return EpisodeGroup(self._options)
        return WorkerGroup(self._options, self.config.num_workers)

    def _act(self, policy: BasePolicy, windows: list[Window], generator: torch.Generator) -> NDArray[np.float32]:
        """What to execute in each episode, (B, Ta, 2)."""
        obs = {
            key: torch.from_numpy(np.stack([window[key] for window in windows])).to(policy.device)
            for key in self._options.obs_keys
        }
        actions = policy.predict_action(obs, generator)["action"]
        n_steps = self.config.n_action_steps
        if actions.ndim != 3 or actions.shape[0] != len(windows) or actions.shape[1] < n_steps or actions.shape[2] != 2:
            raise InputError(
                f"the policy returned actions of shape {tuple(actions.shape)}; the Push-T runner executes "
                f"{n_steps} of each prediction and needs ({len(windows)}, {n_steps} or more, 2)"
            )
        if not torch.isfinite(actions).all():
            raise InputError("the policy returned actions that are not finite; did its training diverge?")
        return actions[:, :n_steps].float().cpu().numpy()

    # -- metrics --------------------------------------------------------------------------------------------------

    def _scores(self, split: str, trajectories: list[Trajectory]) -> dict[str, float]:
        pairs = [(s, t) for s, t in zip(self._starts, trajectories, strict=True) if s.split == split]
        if not pairs:
            return {}
        scores = [float(trajectory.rewards.max()) for _, trajectory in pairs]
        n_successes = sum(trajectory.is_success for _, trajectory in pairs)
        metrics = {
            f"{split}/sim_max_reward_{start.seed}": score for (start, _), score in zip(pairs, scores, strict=True)
        }
        metrics |= _with_interval(f"{split}/mean_score", float(np.mean(scores)), mean_interval(scores))
        metrics |= _with_interval(
            f"{split}/success_rate", n_successes / len(pairs), wilson_interval(n_successes, len(pairs))
        )
        return metrics

    def _videos(self, trajectories: list[Trajectory]) -> dict[str, str]:
        """Write the videos of this run into a folder of their own; returns their paths by metric name."""
        media = self.output_dir / "media"
        number = 1 + max((int(path.name.split("_")[1]) for path in media.glob("rollout_*")), default=-1)
        videos = {}
        for start, trajectory in zip(self._starts, trajectories, strict=True):
            if start.has_video:
                path = media / f"rollout_{number:04d}" / f"{start.split}_{start.seed}.mp4"
                write_video(path, trajectory, self.config.fps)
                videos[f"{start.split}/sim_video_{start.seed}"] = str(path)
        return videos


class _Progress:
    """A bar that counts the steps of all episodes and shows the mean score of those started so far."""

    def __init__(self, n_episodes: int, max_steps: int) -> None:
        self._bar = tqdm(total=n_episodes * max_steps, desc="Push-T", unit="step", leave=False, disable=None)
        self._max_steps = max_steps
        self._finished_steps = 0
        self._finished_scores: list[float] = []
        self._reports: dict[int, Report] = {}
        self._n_batch = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def start(self, n_episodes: int) -> None:
        """The episodes shown so far are over, and new ones start."""
        self._finished_scores += [report.max_reward for report in self._reports.values()]
        self._finished_steps += self._n_batch * self._max_steps
        self._reports, self._n_batch = {}, n_episodes

    def show(self, reports: Mapping[int, Report]) -> None:
        """Take note of the episodes that went on. One that is over counts as all its steps."""
        self._reports |= reports
        steps = sum(self._max_steps if r.window is None else r.n_steps for r in self._reports.values())
        scores = self._finished_scores + [report.max_reward for report in self._reports.values()]
        self._bar.set_postfix(score=f"{np.mean(scores):.3f}", refresh=False)
        self._bar.update(self._finished_steps + steps - self._bar.n)


def _starts(split: str, config: PushTRunnerConfig) -> Iterator[_Start]:
    first, number, n_videos = (
        (config.train_start_seed, config.n_train, config.n_train_vis)
        if split == "train"
        else (config.test_start_seed, config.n_test, config.n_test_vis)
    )
    for index in range(number):
        yield _Start(split, first + index, has_video=index < n_videos)


def _running(reports: Mapping[int, Report]) -> dict[int, Window]:
    return {index: report.window for index, report in reports.items() if report.window is not None}


def _with_interval(name: str, value: float, interval: tuple[float, float]) -> dict[str, float]:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}
