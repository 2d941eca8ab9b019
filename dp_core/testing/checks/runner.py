"""The rules of runners, see `BaseRunner`. They receive a policy that moves at random, but always the same way."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from numbers import Real
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from dp_core.config.metrics import is_measured, measured_by
from dp_core.errors import quoted
from dp_core.interfaces import BasePolicy, Generators
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.testing.case import Case, NotChecked, cases_of
from dp_core.testing.checks.description import options_survive_a_config_file
from dp_core.testing.examples import TINY
from dp_core.testing.networks import window_of
from dp_core.testing.samples import UNUSUAL_SEED, clone, differences, normalizer_for, random_states, seeded

_SEED = "seed environments and the generators passed to predict_action again in every run"
_SCORES = ("test/mean_score", "train/mean_score")
_OTHER_ACTIONS = (0.0, -100.0, 100.0, 0.1)
"""Raw values to act otherwise with; tasks have actions of very different sizes, and cut off what is too large."""
_CALLS = 4
"""How often the policy is asked where an evaluation need not go to its end."""


def it_is_built_as_its_kind_is(case: Case) -> None:
    """Check that the target is called as ``target(config, shape_meta=..., output_dir=...)``, and observes its task."""
    witness = _Witness(case, n_calls=1)
    witness.watch()
    if not witness.seen:
        return
    if (found := set(witness.seen[0])) != set(case.shape_meta["obs"]):
        case.require_its_task(found)
        case.fail(
            f"the policy is given the observations {quoted(sorted(found))}; expected {quoted(case.shape_meta['obs'])}",
            "give it all keys of shape_meta, and no others",
        )


def it_returns_numbers_and_videos(case: Case) -> None:
    """Check that `run` returns finite numbers, a mean score among them, and paths of videos that exist."""
    with _runner(case) as runner:
        metrics = runner.run(_policy(case))
        if not set(_SCORES) & metrics.keys():
            case.fail(
                f"run returned {quoted(metrics) or 'nothing'}; expected 'test/mean_score' among them",
                "return the mean score of the episodes by that name, which callbacks and tables look for",
            )
        for name, value in metrics.items():
            is_number = isinstance(value, Real) and math.isfinite(value)
            if not is_number and not (isinstance(value, str) and Path(value).is_file()):
                case.fail(
                    f"'{name}' is {value!r}; expected a finite number, or the path of a video as a string",
                    "convert tensors with .item(), and return paths of files that are written",
                )


def it_measures_what_its_options_say(case: Case) -> None:
    """Check that `run` returns the numbers that ``measures`` of its options names, if they have that."""
    with _runner(case) as runner:
        metrics = runner.run(_policy(case))
    measures = measured_by(case.slot(output_dir=Path()))
    numbers = [name for name, value in metrics.items() if isinstance(value, Real)]
    unknown = [name for name in numbers if not is_measured(name, measures)]
    absent = [name for name in measures if not any(is_measured(number, [name]) for number in numbers)]
    if unknown or absent:
        found = f"run returned {quoted(unknown)}" if unknown else f"run did not return {quoted(absent)}"
        case.fail(
            f"{found}; expected what 'measures' of {case.component.config.__name__} has: {', '.join(measures)}",
            "correct it there: callbacks can be told in a config to look for what is measured, and for nothing else",
        )


def equal_policies_get_equal_scores(case: Case) -> None:
    """Check that the same weights see and score the same in every run, also after `close`."""
    with _runner(case) as runner:
        witness = _Witness(case)
        runs = []
        for number in range(3):
            witness.seen = []
            with seeded(number):
                runs.append((runner.run(witness), witness.seen))
            if number:
                runner.close()
    metrics, seen = runs[0]
    for other, other_seen in runs[1:]:
        for name in set(_SCORES) & metrics.keys():
            if other.get(name) != metrics[name]:
                case.fail(
                    f"'{name}' was {metrics[name]} and then {other.get(name)} for the same policy; expected the same",
                    _SEED,
                )
        if different := list(differences(seen, other_seen)):
            key = different[0].partition(".")[2] or "other episodes"
            case.fail(
                f"with equal scores, the same policy saw other values of '{key}' in another run; expected the same",
                _SEED,
            )


def scores_do_not_depend_on_company(case: Case) -> None:
    """Built on `dp_core.kit.rollout`, it scores an episode the same whatever ran before or runs beside it."""
    if not isinstance(case.slot().config, RolloutOptions):
        return
    scores = []
    for n_envs in (1, None):
        options = {**case.options, "n_envs": n_envs, "batch_invariant": True}
        with _runner(attrs.evolve(case, options=options)) as runner:
            scores.append({name: value for name, value in runner.run(_policy(case)).items() if "sim_max" in name})
    for name, alone in scores[0].items():
        if scores[1][name] != alone:
            case.fail(
                f"'{name}' was {alone} with n_envs 1 and {scores[1][name]} with all episodes at once; expected no "
                "difference",
                "let Environment.reset depend on the start alone, and seed there whatever an episode draws",
            )


def actions_take_effect_at_once(case: Case) -> None:
    """Check that what the policy sees next depends on the last action that it gave before, as on all others."""
    first = _Witness(case, n_calls=_CALLS)
    first.watch()
    last = next((call for call in range(len(first.seen) - 1) if not first.was_reset[call + 1]), None)
    if last is None:
        raise NotChecked("the policy is asked once in an episode; choose longer ones")
    for value in _OTHER_ACTIONS:
        other = _Witness(case, n_calls=last + 2, change=(last, value))
        other.watch()
        if list(differences(first.seen[last + 1], other.seen[last + 1])):
            return
    case.fail(
        "what the policy sees next is the same whatever the last of its actions was; expected it to depend on it",
        "execute all steps of 'action' as they come, the first of them in the step that was observed last, and observe "
        "after the last",
    )


def the_policy_is_left_as_it_was(case: Case) -> None:
    """Check that `run` changes neither the weights of the policy nor its mode, which may be either."""
    with _runner(case) as runner:
        policy = _policy(case)
        before = clone(policy.state_dict())
        for mode in (True, False):
            runner.run(policy.train(mode))
            if different := list(differences(before, policy.state_dict())):
                case.fail(f"run changed {quoted(different)} of the policy", "act under torch.no_grad")
            if policy.training != mode:
                modes = ("training", "eval") if mode else ("eval", "training")
                case.fail(
                    f"a policy in {modes[0]} mode was left in {modes[1]} mode; expected it to be as it was",
                    "call policy.train(was_training) at the end, in a finally",
                )


def it_acts_in_eval_mode_without_gradients(case: Case) -> None:
    """Check that the policy is asked in eval mode, without dropout and augmentation, and under torch.no_grad."""
    witness = _Witness(case, n_calls=1)
    witness.train().watch()
    if witness.was_training:
        case.fail(
            "the policy was asked in training mode; expected eval mode",
            "call policy.eval() before the first episode, and policy.train(was_training) at the end, in a finally",
        )
    if witness.had_gradients:
        case.fail("the policy was asked with gradients; expected none", "act under torch.no_grad")


def global_random_numbers_are_left_alone(case: Case) -> None:
    """Check that `run` neither draws from the global generators nor seeds them: training draws from them, too."""
    with _runner(case) as runner, seeded(UNUSUAL_SEED):
        policy, before = _policy(case), random_states()
        runner.run(policy)
        touched = dict.fromkeys(name.partition("[")[0] for name in differences(before, random_states()))
    if touched:
        case.fail(
            f"run drew from the global random numbers of {', '.join(touched)}, or seeded them; expected them left "
            "alone, since training draws from them",
            "draw from numpy.random.default_rng(seed) in Environment.reset; where a simulator draws from them itself, "
            "put their state back afterwards",
        )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    it_returns_numbers_and_videos,
    it_measures_what_its_options_say,
    equal_policies_get_equal_scores,
    scores_do_not_depend_on_company,
    actions_take_effect_at_once,
    the_policy_is_left_as_it_was,
    it_acts_in_eval_mode_without_gradients,
    global_random_numbers_are_left_alone,
)


class _EnoughSeen(Exception):  # noqa: N818 -- nothing is wrong
    """Ends an evaluation whose rest does not matter."""


class _Witness(BasePolicy):
    """Acts like the policy of `_policy`, and takes note of how it is asked."""

    def __init__(self, case: Case, n_calls: int | None = None, change: tuple[int, float] | None = None) -> None:
        """Prepare to be asked.

        Args:
            n_calls: how often it answers before it ends the evaluation; None: always.
            change: the number of a call, and what the last of the actions of it is instead.
        """
        super().__init__()
        self._case, self._n_calls, self._change = case, n_calls, change
        self._acting = _policy(case)
        self._is_reset = False
        self.seen: list[dict[str, Tensor]] = []
        """The observations of each call."""
        self.was_reset: list[bool] = []
        """Whether `reset` was called before each of them."""
        self.was_training = False
        self.had_gradients = False

    def watch(self) -> None:
        """Let a new runner evaluate this policy, until it has seen enough."""
        with _runner(self._case) as runner, seeded(), suppress(_EnoughSeen):
            runner.run(self)

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        raise NotImplementedError

    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        number = len(self.seen)
        self.seen.append({key: value.detach().cpu().clone() for key, value in obs.items()})
        self.was_reset.append(self._is_reset)
        self._is_reset = False
        self.was_training |= self.training
        self.had_gradients |= torch.is_grad_enabled()
        if len(self.seen) == self._n_calls:
            raise _EnoughSeen
        found: dict[str, Tensor] = self._acting.predict_action(obs, generator)
        if self._change is not None and self._change[0] == number:
            found["action"] = found["action"].clone()
            found["action"][:, -1] = self._change[1]
        return found

    def reset(self) -> None:
        self._is_reset = True
        self._acting.reset()


@contextmanager
def _runner(case: Case) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        runner = case.build(output_dir=Path(folder))
        try:
            yield runner
        finally:
            runner.close()


def _policy(case: Case) -> Any:
    """For the task and the window of the runner."""
    component = case.registry.resolve("policy", TINY)
    options = {**window_of(case), "horizon": sum(window_of(case).values())}
    policy = cases_of(case.registry, component, [options], {"": case.setting})[0].build()
    policy.set_normalizer(normalizer_for(case.shape_meta, samples=case.setting.samples))
    return policy
