"""The rules of runners, see `BaseRunner`. They receive a policy that moves at random, but always the same way."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

import attrs

from dp_core.config.metrics import is_measured, measured_by
from dp_core.errors import quoted
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.testing.case import Case, cases_of
from dp_core.testing.checks.description import options_survive_a_config_file
from dp_core.testing.checks.modules import window_of
from dp_core.testing.examples import TINY
from dp_core.testing.samples import clone, differences, normalizer_for

_SCORES = ("test/mean_score", "train/mean_score")


def it_is_built_as_its_kind_is(case: Case) -> None:
    """Check that the target is called as ``target(config, shape_meta=..., output_dir=...)``."""
    with _runner(case):
        pass


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
    """Check that the same weights get the same score in every run, also after `close`."""
    with _runner(case) as runner:
        policy = _policy(case)
        first = runner.run(policy)
        runner.close()
        second = runner.run(policy)
    for name in set(_SCORES) & first.keys():
        if second.get(name) != first[name]:
            case.fail(
                f"'{name}' was {first[name]} and then {second.get(name)} for the same policy; expected the same",
                "seed environments and the generators passed to predict_action again in every run",
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


def the_policy_is_left_as_it_was(case: Case) -> None:
    """Check that `run` changes neither the weights of the policy nor its mode."""
    with _runner(case) as runner:
        policy = _policy(case).train()
        before = clone(policy.state_dict())
        runner.run(policy)
        if different := list(differences(before, policy.state_dict())):
            case.fail(f"run changed {quoted(different)} of the policy", "act under torch.no_grad")
        if not policy.training:
            case.fail(
                "a policy in training mode was left in eval mode; expected it to be as it was",
                "call policy.train(was_training) at the end, in a finally",
            )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    it_returns_numbers_and_videos,
    it_measures_what_its_options_say,
    equal_policies_get_equal_scores,
    scores_do_not_depend_on_company,
    the_policy_is_left_as_it_was,
)


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
    policy.set_normalizer(normalizer_for(case.setting.runtime["shape_meta"]))
    return policy
