"""Components of the right shape that mean something else are found, each by the rule that it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from dp_core import Component
from dp_core.cli.run import main as dp_run
from dp_core.discovery.loading import PluginRecord
from dp_core.interfaces import BaseEncoder
from dp_core.registry import Registry
from dp_core.testing import EncoderConformance
from dp_core.testing.case import Case, ConformanceError, NotChecked
from dp_core.testing.checks import EACH
from dp_core.testing.fakes import installed, registry_of, write_distribution
from dp_core.testing.report import check_component

ASTRAY = Path(__file__).parents[2] / "data" / "dp_astray"
SOUND = (("dataset", "walks"), ("runner", "drift"))
"""Components of that package that are right."""


@pytest.fixture(scope="module")
def astray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The components of tests/data/dp_astray."""
    folder = tmp_path_factory.mktemp("site-packages")
    sources = {path.name: path.read_text() for path in ASTRAY.glob("*.py")}
    write_distribution(folder, "dp-astray", "1.0", {"astray": sources})
    with installed(folder):
        yield registry_of(folder)


FOUND: dict[tuple[str, str], tuple[str, str]] = {
    ("encoder", "blinkered"): (
        "every_observation_matters",
        "encoder 'blinkered' for an image and states: features are the same whatever 'grip' is; expected them"
        " to depend on every key of shape_meta; encode every key of shape_meta['obs'], or refuse in the check"
        " method of the options what is not encoded",
    ),
    ("encoder", "dropping"): (
        "equal_inputs_give_equal_outputs_in_eval_mode",
        "encoder 'dropping' for an image and states: in eval mode, equal inputs gave different outputs; "
        "expected equal ones; draw only while self.training is true or from the generator that is passed, and"
        " use dropout as a module",
    ),
    ("encoder", "learning"): (
        "train_and_eval_reach_everything_and_stay",
        "encoder 'learning' for an image and states: in eval mode, computing changed 'n_calls'; expected "
        "nothing to change; update running statistics only while self.training is true",
    ),
    ("encoder", "reseeding"): (
        "equal_inputs_give_equal_outputs_in_eval_mode",
        "encoder 'reseeding' for an image and states: in eval mode, it drew from the global random numbers of"
        " python, or seeded them; expected them left alone; draw from the generator that is passed, or from "
        "one of its own, and seed no global one",
    ),
    ("encoder", "shaky"): (
        "equal_inputs_give_equal_outputs_in_eval_mode",
        "encoder 'shaky' for an image and states: in eval mode, equal inputs gave different outputs; expected"
        " equal ones; draw only while self.training is true or from the generator that is passed, and use "
        "dropout as a module",
    ),
    ("encoder", "sleepless"): (
        "train_and_eval_reach_everything_and_stay",
        "encoder 'sleepless' for an image and states: after eval(), 'layer', 'dropout' stayed in training "
        "mode; expected every part in eval mode; let train(mode) call super().train(mode) and return self, "
        "and leave the mode to it",
    ),
    ("encoder", "standardised"): (
        "extreme_inputs_give_finite_outputs",
        "encoder 'standardised' for an image and states: with an image that is all black in 'image', its "
        "output is not finite; expected numbers for whatever is legal; keep clear of divisions by a deviation"
        " or a norm of zero, of logarithms, and of powers that overflow",
    ),
    ("encoder", "unsaved"): (
        "the_state_dict_holds_everything",
        "encoder 'unsaved' for an image and states: with the state dict of another, it gave other outputs "
        "than that one; expected the same; keep all that outputs depend on in parameters or in buffers "
        "(self.register_buffer)",
    ),
    ("denoiser", "impatient"): (
        "inputs_are_left_as_they_are",
        "denoiser 'impatient' for conditioned globally: its inputs were changed: 'sample'; expected them to "
        "be left as they are; work on new tensors and dictionaries: x = x * 2 instead of x.mul_(2) or x *= 2",
    ),
    ("denoiser", "logarithmic"): (
        "extreme_inputs_give_finite_outputs",
        "denoiser 'logarithmic' for conditioned globally: with the timestep 0, its output is not finite; "
        "expected numbers for whatever is legal; keep clear of divisions by a deviation or a norm of zero, of"
        " logarithms, and of powers that overflow",
    ),
    ("denoiser", "timeless"): (
        "the_time_matters",
        "denoiser 'timeless' for conditioned globally: predictions are the same whatever the timestep is; "
        "expected them to depend on it; embed it, and add or concatenate the embedding where the sample comes"
        " in",
    ),
    ("denoiser", "unconditional"): (
        "the_sample_and_every_condition_matter",
        "denoiser 'unconditional' for conditioned globally: predictions are the same whatever 'global_cond' "
        "is; expected them to depend on it; use all that forward is given, or refuse in the check method of "
        "the options what is not used",
    ),
    ("scheduler", "overwriting"): (
        "known_entries_are_kept",
        "scheduler 'overwriting': sample changed the known values that it was given; expected them left as "
        "they are; make new tensors",
    ),
    ("scheduler", "spaced"): (
        "samples_have_the_shape_asked_for",
        "scheduler 'spaced': with 1 steps, sample returned shape (3, 8, 2), torch.float32, finite: False; "
        "expected (3, 8, 2), torch.float32, finite; keep shape and type of the noise that sampling starts "
        "from",
    ),
    ("scheduler", "uneven"): (
        "times_are_one_for_each_member",
        "scheduler 'uneven': with the same generator, times differed; expected the same; pass it: "
        "torch.rand(..., generator=generator)",
    ),
    ("policy", "dividing"): (
        "extreme_inputs_give_finite_outputs",
        "policy 'dividing' for an image and states: with an image that is all black in 'image', its output is"
        " not finite; expected numbers for whatever is legal; keep clear of divisions by a deviation or a "
        "norm of zero, of logarithms, and of powers that overflow",
    ),
    ("policy", "early"): (
        "the_first_action_is_for_now",
        "policy 'early' for an image and states: 'action' begins at step 0 of 'action_pred'; expected it to "
        "begin at step 1, which is now: the last of the observed steps; return action_pred[:, now : now + "
        "n_action_steps], with now = n_obs_steps - 1 - first_predicted_step",
    ),
    ("policy", "rolling"): (
        "the_loss_draws_from_the_generator_alone",
        "policy 'rolling' for an image and states: with the same generator, the loss was 85.3 and then 74.5; "
        "expected the same; pass the generator to everything that draws: torch.randn(..., "
        "generator=generator)",
    ),
    ("policy", "settling"): (
        "train_and_eval_reach_everything_and_stay",
        "policy 'settling' for an image and states: in training mode, computing changed the mode of 'itself',"
        " 'layer', 'normalizer'; expected it to be left; call neither train() nor eval() in forward, "
        "compute_loss or predict_action",
    ),
    ("dataset", "blank"): (
        "borders_repeat_the_first_or_last_step",
        "dataset 'blank' for a walk: 'position' of window 0 has at position 0 what was never recorded; "
        "expected the steps of an episode one by one, and its first or last step repeated where a window "
        "reaches over its border; clip the numbers of the steps to those of the episode",
    ),
    ("dataset", "dividing"): (
        "constant_entries_stay_finite",
        "dataset 'dividing' for a walk: cannot make a normalizer where an entry is the same in all steps "
        "(normalizer: a scale is zero or not finite, or an offset is not finite; check the statistics); "
        "expected one; leave such entries unscaled, as SingleFieldLinearNormalizer.create_fit does",
    ),
    ("dataset", "drawing"): (
        "reading_is_repeatable",
        "dataset 'drawing' for a walk: reading a window drew from the global random state; expected no draw; "
        "augment in the encoder; for noise of the data, draw once in the constructor, from a generator of its"
        " own",
    ),
    ("dataset", "keeping"): (
        "it_can_be_pickled",
        "dataset 'keeping' for a walk: what was pickled has other windows, in 'obs.position', 'obs.eye', "
        "'action'; expected the same; leave nothing out in __getstate__",
    ),
    ("dataset", "late"): (
        "actions_belong_to_their_observations",
        "dataset 'late' for a walk: position 2 of window 0 has 'position' of step 1 of episode 0 and the "
        "action of step 0 of episode 0; expected both of the same step; let row t of every array be what was "
        "seen in step t, and what was then done",
    ),
    ("dataset", "leaky"): (
        "validation_is_held_out",
        "dataset 'leaky' for a walk: validation has windows of episodes 0, 1, 2, 3, 4, and so has training; "
        "expected whole episodes in one of the two; choose the episodes that are held out first, and cut "
        "windows from the others for training",
    ),
    ("dataset", "overlapping"): (
        "validation_is_held_out",
        "dataset 'overlapping' for an image and states: 60 of the 120 steps that were looked at in validation"
        " are in training, too; expected none; choose the episodes that are held out first, and cut windows "
        "from the others for training; where equal steps are no accident, let record write episodes that are "
        "known",
    ),
    ("dataset", "overrunning"): (
        "windows_stay_in_one_episode",
        "dataset 'overrunning' for a walk: 'position' of window 5 has steps of the episodes 0, 1; expected "
        "those of one; start and end windows at the borders of episodes, and repeat their first or last step "
        "there",
    ),
    ("dataset", "selfsame"): (
        "validation_is_held_out",
        "dataset 'selfsame' for a walk: validation has windows of episodes 0, 1, 2, 3, and so has training; "
        "expected whole episodes in one of the two; choose the episodes that are held out first, and cut "
        "windows from the others for training",
    ),
    ("dataset", "shuffling"): (
        "it_is_the_same_every_time",
        "dataset 'shuffling' for a walk: built twice, it has 22 and 31 windows for training; expected as "
        "many; draw with numpy.random.default_rng(config.seed), not from a global generator",
    ),
    ("runner", "lagging"): (
        "actions_take_effect_at_once",
        "runner 'lagging' for a drift: what the policy sees next is the same whatever the last of its actions"
        " was; expected it to depend on it; execute all steps of 'action' as they come, the first of them in "
        "the step that was observed last, and observe after the last",
    ),
    ("runner", "practising"): (
        "it_acts_in_eval_mode_without_gradients",
        "runner 'practising' for an image and states: the policy was asked in training mode; expected eval "
        "mode; call policy.eval() before the first episode, and policy.train(was_training) at the end, in a "
        "finally",
    ),
    ("runner", "seeding"): (
        "global_random_numbers_are_left_alone",
        "runner 'seeding' for a drift: run drew from the global random numbers of numpy, or seeded them; "
        "expected them left alone, since training draws from them; draw from numpy.random.default_rng(seed) "
        "in Environment.reset; where a simulator draws from them itself, put their state back afterwards",
    ),
    ("runner", "unseeded"): (
        "equal_policies_get_equal_scores",
        "runner 'unseeded' for a drift: with equal scores, the same policy saw other values of 'position' in "
        "another run; expected the same; seed environments and the generators passed to predict_action again "
        "in every run",
    ),
    ("runner", "waking"): (
        "the_policy_is_left_as_it_was",
        "runner 'waking' for an image and states: a policy in eval mode was left in training mode; expected "
        "it to be as it was; call policy.train(was_training) at the end, in a finally",
    ),
    ("callback", "oblivious"): (
        "a_resumed_run_leaves_it_as_a_whole_one_does",
        "callback 'oblivious': after a resumed run, its 'n_epochs' is 1, and after a whole one 2; expected "
        "the same; return it in state_dict, and take it up in load_state_dict",
    ),
}
"""For each fault, the rule that finds it and what that says."""

ALSO = {
    ("dataset", "dividing"): ["the_normalizer_covers_the_task"],
    ("dataset", "late"): ["borders_repeat_the_first_or_last_step"],
    ("dataset", "overrunning"): ["validation_is_held_out"],
    ("scheduler", "uneven"): ["the_loss_is_a_scalar"],
    ("encoder", "sleepless"): ["equal_inputs_give_equal_outputs_in_eval_mode"],
}
"""Rules that a fault breaks besides: dropout that does not sleep draws, what runs into the next episode reaches the one
that is held out, actions that come a step late end early, the loss draws times for batches of every size."""


@pytest.mark.parametrize(("kind", "name"), FOUND, ids=lambda value: value)
def test_a_fault_is_found_by_the_rule_that_it_breaks(kind: str, name: str, astray: Registry) -> None:
    broken = check_component(astray, astray.resolve(kind, name)).broken

    rule, message = FOUND[kind, name]
    assert broken[0] == f"{rule}: {message}"
    assert {line.partition(":")[0] for line in broken} == {rule, *ALSO.get((kind, name), ())}


def test_every_fault_is_expected(astray: Registry) -> None:
    assert {(component.kind, component.name) for component in astray.components()} == {*FOUND, *SOUND}


@pytest.mark.parametrize(("kind", "name"), SOUND, ids=lambda value: value)
def test_what_is_right_passes_all_rules(kind: str, name: str, astray: Registry) -> None:
    """With what its package says that it is made for, and nothing else."""
    found = check_component(astray, astray.resolve(kind, name))

    assert found.broken == []
    assert found.not_checked == []
    assert len(found.settings) == 1


# -- what an author, or who types a command, says that a component is made for ----------------------------------------

DRIFT = """
from dp_core import Component, hookimpl
from dp_astray.config import DriftOptions
DP_API = 1
@hookimpl
def dp_components():
    target = "dp_astray.rollouts:DriftRunner"
    yield Component(kind="runner", name="drift", target=target, config=DriftOptions, summary="of one task")
"""
TASK = "shape_meta={obs: {position: {shape: [2]}}, action: {shape: [2]}}"
FITS = "say what fits in the RunnerConformance that the Component names, or behind the command, as key=value"


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (
            [],
            0,
            "its description is sound; not checked further: an image and states: it observes 'position', whatever the "
            "task is, and this one has 'image', 'state', 'grip'; refuse other tasks in the check method of its "
            f"options; {FITS}",
        ),
        ([TASK], 0, "ok, 15 checks (the task given)"),
        ([TASK, "n_test=1", "max_steps=9"], 0, "ok, 15 checks (the task given)"),
        (
            [TASK, "n_test=0"],
            2,
            "its description is sound; not checked further: the task given: n_test: n_train and n_test are both 0; "
            f"evaluate at least one episode; {FITS}",
        ),
    ],
    ids=["nothing", "a task", "a task and options", "options that cannot be"],
)
def test_a_runner_of_one_task_is_checked_in_the_task_that_it_is_given(
    words: list[str],
    status: int,
    expected: str,
    astray: Registry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_distribution(tmp_path, "dp-drift", "1.0", {"drift": DRIFT})
    with installed(tmp_path):
        assert dp_run(["--check", "drift", *words]) == status

    assert capsys.readouterr().out == f"drift of dp-drift 1.0\n  runner/drift: {expected}\n"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "dp_astray.conformance:WalkConformance",
            "'dp_astray.conformance:WalkConformance' is not a RunnerConformance; expected a class that inherits from "
            "it",
        ),
        (
            "dp_astray.conformance:Gone",
            "its conformance class cannot be imported: runner 'drift' of dp-astray: 'dp_astray.conformance' has no "
            "'Gone'",
        ),
    ],
)
def test_a_conformance_class_that_does_not_fit_is_named(name: str, problem: str, astray: Registry) -> None:
    component = attrs.evolve(astray.resolve("runner", "drift"), conformance=name)

    assert check_component(astray, component).broken == [
        f"its_conformance_class_is_of_its_kind: runner 'drift': {problem}; correct its Component"
    ]


def test_a_rule_that_the_class_leaves_out_is_left_out(astray: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    component = astray.resolve("runner", "lagging")
    assert check_component(astray, component).broken != []
    from dp_astray.conformance import DriftConformance

    monkeypatch.setattr(DriftConformance, "test_actions_take_effect_at_once", None)

    assert check_component(astray, component).broken == []


class Reading(BaseEncoder):
    """Looks words up, of which it knows twenty."""

    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self.output_dim = 3
        self.table = nn.Embedding(20, 3)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        vectors: Tensor = self.table(obs["words"]).mean(1)
        return vectors


class ReadingConformance(EncoderConformance):
    shape_metas = {"a sentence": {"obs": {"words": {"shape": [6]}}, "action": {"shape": [2]}}}  # noqa: RUF012
    samples = {"words": lambda count, draw: torch.randint(0, 20, (count, 6), generator=draw)}  # noqa: RUF012


def test_an_encoder_of_words_is_given_the_words_that_its_author_draws() -> None:
    """Every rule holds, but for what is seldom seen, which nobody says."""
    options = attrs.make_class("Options", {}, frozen=True, kw_only=True)
    target = f"{__name__}:Reading"
    reading = Component(kind="encoder", name="reading", target=target, config=options, summary="words")
    registry = Registry([PluginRecord("reading", "local", "", "ok", (reading,))])
    outcomes = {}
    for name, cases in {
        "theirs": ReadingConformance.cases_of(registry, reading),
        "ours": EncoderConformance.cases_of(registry, reading),
    }.items():
        outcomes[name] = [outcome(check, cases[0]) for check in EACH["encoder"]]

    assert {text for text in outcomes["theirs"] if text} == {
        "nobody says what is seldom seen in this task",
        *(["there is no GPU"] if not torch.cuda.is_available() else []),
    }
    assert sum(text is not None for text in outcomes["ours"]) > 5


def outcome(check: Any, case: Case) -> str | None:
    try:
        check(case)
    except NotChecked as reason:
        return str(reason)
    except (ConformanceError, KeyError) as error:
        return repr(error)
    return None


def test_a_record_that_fails_is_named(astray: Registry) -> None:
    def record(folder: Path, episodes: list[dict[str, Any]]) -> Any:
        return None

    from dp_astray.conformance import WalkConformance

    walks = astray.resolve("dataset", "walks")
    (case,) = type("Failing", (WalkConformance,), {"record": staticmethod(record)}).cases_of(astray, walks)
    with pytest.raises(ConformanceError) as caught:
        case.build()

    assert str(caught.value) == (
        "dataset 'walks' for a walk: record failed with TypeError: it returned None, and not options such as "
        "{'path': folder}; expected it to write what it is given, a list of {key: array (steps, *shape)}, and to "
        "return the options that open it; see DatasetConformance"
    )
