"""`RolloutRunner`: evaluates a policy in many episodes at a time."""

from __future__ import annotations

import itertools
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dp_core.atomic import new_folder
from dp_core.errors import InputError
from dp_core.interfaces import BasePolicy, BaseRunner
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.kit.rollout.environment import Environment, Split, Start
from dp_core.kit.rollout.episode import EpisodeGroup, EpisodeOptions, Outcome, Report, Window
from dp_core.kit.rollout.intervals import mean_interval, wilson_interval
from dp_core.kit.rollout.workers import WorkerGroup

_NUMBERED = re.compile("rollout_[0-9]+").fullmatch


class RolloutRunner(BaseRunner):
    """A runner inherits from this, hands over its environment, and says how its episodes start.

    The policy acts on all running episodes at once and is not asked about those that are over. What it draws comes from
    a generator seeded anew at every `run`: the same weights get the same score, and training is not disturbed.
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
    ) -> None:
        """Cheap: environments are made at the first `run`.

        Args:
            title: of the task, for messages and the progress bar.
            make_environment: see `EpisodeOptions`.
            action_dim: Da, what `Environment.step` takes.
            steps_per_frame: control steps from one frame of a video to the next.
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
        )
        self._group: EpisodeGroup | WorkerGroup | None = None

    @abstractmethod
    def starts(self, split: Split, n_episodes: int) -> Sequence[Start]:
        """The first ``n_episodes`` of a split, the same in every run. Called at each `run`, unless there are none."""

    def run(self, policy: BasePolicy) -> dict[str, Any]:
        """See `BaseRunner.run`; adds ``test/mean_score_low`` and ``_high``, the 95 % interval of the mean score.

        Raises:
            InputError: the policy's actions do not have the shape expected, or are not finite.
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
        """Of both splits; the first of each film into a folder that no other run has used."""
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
        """Outcomes of all episodes, in the order of ``starts``."""
        generator = torch.Generator(policy.device).manual_seed(self._rollout.seed)
        n_envs = self._rollout.n_envs or len(starts)
        was_training = policy.training
        policy.eval()
        outcomes: list[Outcome] = []
        try:
            with torch.no_grad(), _Progress(self._title, len(starts), self._rollout.max_steps) as progress:
                for first in range(0, len(starts), n_envs):
                    outcomes += self._collect_batch(policy, starts[first : first + n_envs], generator, progress)
        except BaseException:
            self.close()  # workers may be in the middle of an answer
            raise
        finally:
            policy.train(was_training)
        return outcomes

    def _collect_batch(
        self, policy: BasePolicy, starts: Sequence[Start], generator: torch.Generator, progress: _Progress
    ) -> list[Outcome]:
        if self._group is None:
            self._group = self._make_group()
        policy.reset()
        progress.start(len(starts))
        windows = _running(dict(enumerate(self._group.start(starts))))
        while windows:
            actions = self._act(policy, list(windows.values()), generator)
            reports = self._group.execute(dict(zip(windows, actions, strict=True)))
            progress.show(reports)
            windows = _running(reports)
        return self._group.outcomes()

    def _make_group(self) -> EpisodeGroup | WorkerGroup:
        if self._rollout.num_workers == 0:
            return EpisodeGroup(self._episode_options)
        return WorkerGroup(self._episode_options, self._rollout.num_workers, self._title)

    def _act(self, policy: BasePolicy, windows: list[Window], generator: torch.Generator) -> NDArray[np.float32]:
        """What to execute in each episode, (B, Ta, Da)."""
        obs = {
            key: torch.from_numpy(np.stack([window[key] for window in windows])).to(policy.device) for key in windows[0]
        }
        actions = policy.predict_action(obs, generator)["action"]
        n_steps, n_windows, size = self._rollout.n_action_steps, len(windows), self._action_dim
        shape = tuple(actions.shape)
        if len(shape) != 3 or shape[0] != n_windows or shape[1] < n_steps or shape[2] != size:
            raise InputError(
                f"the policy returned actions of shape {shape}; the {self._title} runner executes "
                f"{n_steps} of each prediction and needs ({n_windows}, {n_steps} or more, {size})"
            )
        if not torch.isfinite(actions).all():
            raise InputError("the policy returned actions that are not finite; did its training diverge?")
        return actions[:, :n_steps].float().cpu().numpy()


def _new_media_folder(media: Path) -> Path:
    """Make the folder that is next in number; two evaluations at once get one each."""
    taken = [int(path.name.removeprefix("rollout_")) for path in media.glob("rollout_*") if _NUMBERED(path.name)]
    return new_folder(media / f"rollout_{number:04d}" for number in itertools.count(1 + max(taken, default=-1)))


class _Progress:
    """A bar that counts the steps of all episodes and shows the mean score of those started so far."""

    def __init__(self, title: str, n_episodes: int, max_steps: int) -> None:
        self._bar = tqdm(total=n_episodes * max_steps, desc=title, unit="step", leave=False, disable=None)
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
        self._finished_scores += [report.score for report in self._reports.values()]
        self._finished_steps += self._n_batch * self._max_steps
        self._reports, self._n_batch = {}, n_episodes

    def show(self, reports: Mapping[int, Report]) -> None:
        """Take note of the episodes that went on. One that is over counts as all its steps."""
        self._reports |= reports
        steps = sum(self._max_steps if r.window is None else r.n_steps for r in self._reports.values())
        scores = self._finished_scores + [report.score for report in self._reports.values()]
        self._bar.set_postfix(score=f"{np.mean(scores):.3f}", refresh=False)
        self._bar.update(self._finished_steps + steps - self._bar.n)


def _scores(split: Split, starts: Sequence[Start], outcomes: Sequence[Outcome]) -> dict[str, float]:
    pairs = [(start, outcome) for start, outcome in zip(starts, outcomes, strict=True) if start.split == split]
    if not pairs:
        return {}
    n_episodes = len(pairs)
    scores = [outcome.score for _, outcome in pairs]
    n_successes = sum(outcome.is_success for _, outcome in pairs)
    metrics = {f"{split}/sim_max_reward_{start.seed}": outcome.score for start, outcome in pairs}
    metrics |= _with_interval(f"{split}/mean_score", float(np.mean(scores)), mean_interval(scores))
    metrics |= _with_interval(
        f"{split}/success_rate", n_successes / n_episodes, wilson_interval(n_successes, n_episodes)
    )
    for name in pairs[0][1].measures:
        metrics[f"{split}/{name}"] = float(np.mean([outcome.measures[name] for _, outcome in pairs]))
    return metrics


def _running(reports: Mapping[int, Report]) -> dict[int, Window]:
    return {index: report.window for index, report in reports.items() if report.window is not None}


def _with_interval(name: str, value: float, interval: tuple[float, float]) -> dict[str, float]:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}
