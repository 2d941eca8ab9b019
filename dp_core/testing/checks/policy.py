"""The rules of policies, see `BasePolicy`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dp_core.errors import InputError, quoted
from dp_core.interfaces import Generators
from dp_core.shape_meta import action_dim, keys_of_type
from dp_core.testing import networks
from dp_core.testing.case import Case
from dp_core.testing.checks import modules
from dp_core.testing.checks.description import it_is_built_as_its_kind_is, options_survive_a_config_file
from dp_core.testing.checks.modules import DRAW_ROWS
from dp_core.testing.samples import clone, differences, generator, normalizer_for, seeded

_N_ROWS = 3


def the_loss_is_a_finite_number(case: Case) -> None:
    """Check that `compute_loss` returns one finite float32 number that gradients flow from."""
    loss = _loss(case, networks.built(case))
    if loss.shape != () or loss.dtype != torch.float32 or not loss.isfinite().all() or not loss.requires_grad:
        case.fail(
            f"the loss has shape {tuple(loss.shape)}, {loss.dtype}, finite: {bool(loss.isfinite().all())}, "
            f"with gradient: {loss.requires_grad}; expected (), torch.float32, finite, with gradient",
            "return the mean over the batch, and compute it without torch.no_grad",
        )


def the_loss_draws_from_the_generator_alone(case: Case) -> None:
    """Check that, with a generator, `compute_loss` leaves the global state alone, so that validation losses compare."""
    policy = networks.built(case).eval()
    with torch.no_grad():
        losses = [_loss(case, policy, seed) for seed in (0, 1)]
    if not torch.equal(*losses):
        case.fail(
            f"with the same generator, the loss was {losses[0]:.3g} and then {losses[1]:.3g}; expected the same",
            "pass the generator to everything that draws: torch.randn(..., generator=generator)",
        )


def a_batch_is_left_as_it_is(case: Case) -> None:
    """Check that `compute_loss` does not change the batch."""
    policy, batch = networks.built(case), networks.training_batch(case)
    given = clone(batch)
    with torch.no_grad(), seeded():
        policy.compute_loss(batch, generator())
    if changed := list(differences(given, batch)):
        case.fail(
            f"the batch was changed: {quoted(changed)}; expected it to be left as it is",
            "work on new tensors and dictionaries: x = x * 2 instead of x.mul_(2) or x *= 2",
        )


def actions_have_the_shapes_of_the_contract(case: Case) -> None:
    """Check that `predict_action` returns ``action`` (B, Ta, Da) and ``action_pred`` (B, Tp, Da), finite, float32."""
    policy, window = networks.built(case).eval(), networks.window_of(case)
    size = action_dim(case.shape_meta)
    steps = getattr(case.slot().config, "n_action_steps", None)
    for batch_size in (1, 3):
        found = _act(policy, networks.case_obs(case, batch_size, window["n_obs_steps"]))
        if missing := sorted({"action", "action_pred"} - found.keys()):
            case.fail(
                f"predict_action returned no {quoted(missing)}; expected 'action' and 'action_pred'",
                "return what is executed and the whole prediction",
            )
        for key, expected_steps in (("action", steps), ("action_pred", None)):
            shape = tuple(found[key].shape)
            if len(shape) != 3 or shape != (batch_size, expected_steps or shape[1], size):
                case.fail(
                    f"'{key}' has shape {shape}; expected ({batch_size}, {expected_steps or 'steps'}, {size}), "
                    "which is batch, steps and the size of an action in shape_meta",
                    "predict for every member of the batch, and cut out what is executed",
                )
            if found[key].dtype != torch.float32 or not found[key].isfinite().all():
                case.fail(
                    f"'{key}' is {found[key].dtype}, finite: {bool(found[key].isfinite().all())}; "
                    "expected finite torch.float32",
                    "compute in the type of the policy, and keep clear of divisions by zero",
                )


def the_first_action_is_for_now(case: Case) -> None:
    """Check that ``action`` is the part of ``action_pred`` that begins now: at step To - 1 of the window."""
    policy = networks.built(case).eval()
    found = _act(policy, networks.inputs_of(case, 2))
    action, predicted = found["action"], found["action_pred"]
    now = networks.window_of(case)["n_obs_steps"] - 1 - policy.first_predicted_step
    if torch.allclose(action, predicted[:, now : now + action.shape[1]], rtol=1e-4, atol=1e-4):
        return
    starts = [
        start
        for start in range(predicted.shape[1] - action.shape[1] + 1)
        if torch.equal(action, predicted[:, start : start + action.shape[1]])
    ]
    what = f"begins at step {starts[0]} of 'action_pred'" if starts else "is no part of 'action_pred'"
    case.fail(
        f"'action' {what}; expected it to begin at step {now}, which is now: the last of the observed steps",
        "return action_pred[:, now : now + n_action_steps], with now = n_obs_steps - 1 - first_predicted_step",
    )


def actions_are_in_raw_units(case: Case) -> None:
    """Check that actions come back in the units of the data: another range of the data shifts them as much."""
    policy, offset = networks.built(case).eval(), 1000.0
    obs = networks.inputs_of(case, 2)
    answers = []
    for shift in (0.0, offset):
        policy.set_normalizer(normalizer_for(case.shape_meta, shift, case.setting.samples))
        policy.reset()
        answers.append(_act(policy, obs)["action"])
    if not torch.allclose(answers[0] + offset, answers[1], rtol=1e-3, atol=0.1):
        moved = float((answers[1] - answers[0]).mean())
        case.fail(
            f"with data {offset:g} higher, actions are {moved:g} higher; expected {offset:g}",
            "end predict_action with self.normalizer['action'].unnormalize(...)",
        )


def a_longer_history_ends_now(case: Case) -> None:
    """Check that, of more than To steps, `predict_action` acts on the last: the last is now."""
    policy, steps = networks.built(case).eval(), networks.window_of(case)["n_obs_steps"]
    history = networks.case_obs(case, 2, steps + 2)
    found = _act(policy, history)["action"]
    policy.reset()
    expected = _act(policy, {key: value[:, -steps:] for key, value in history.items()})["action"]
    if not torch.equal(found, expected):
        case.fail(
            f"given {steps + 2} steps, it acted otherwise than given the last {steps} of them; expected the same",
            "cut what predict_action is given to its last steps: value[:, -n_obs_steps:]",
        )


def observations_mean_what_their_key_says(case: Case) -> None:
    """Check that a number is the same as float, integer or bool, and an image as uint8 and as float in [0, 1]."""
    policy, shape_meta = networks.built(case).eval(), case.shape_meta
    images = keys_of_type(shape_meta, "rgb")
    obs = networks.case_obs(case, 2, networks.window_of(case)["n_obs_steps"])
    as_floats = {key: value / 255 if key in images else (value > 50).float() for key, value in obs.items()}
    expected = _act(policy, as_floats)["action"]
    for dtype in (torch.uint8, torch.int64, torch.bool):
        policy.reset()
        given = {key: obs[key] if key in images else value.to(dtype) for key, value in as_floats.items()}
        if not torch.allclose(_act(policy, given)["action"], expected, rtol=1e-4, atol=1e-4):
            case.fail(
                f"numbers as {dtype}, with images as uint8, made it act otherwise than as floats; expected the same",
                "leave it to LinearNormalizer(shape_meta), which goes by the type of the key",
            )


def nan_never_becomes_an_action(case: Case) -> None:
    """Check that `predict_action` raises InputError if it is to look at NaN or infinite values."""
    policy, shape_meta = networks.built(case).eval(), case.shape_meta
    obs = networks.case_obs(case, 2, networks.window_of(case)["n_obs_steps"])
    expected = _act(policy, obs)["action"]
    for key in keys_of_type(shape_meta, "low_dim"):
        for value in (torch.nan, torch.inf):
            policy.reset()
            bad = clone(obs)
            bad[key][1, -1] = value
            try:
                actions = _act(policy, bad)["action"]
            except InputError:
                continue
            if not torch.equal(actions, expected):
                case.fail(
                    f"with {value} in '{key}', it acted, and otherwise than without; expected an InputError",
                    "check = ObservationCheck(obs, shape_meta) first, and check.finish() before returning",
                )


def what_is_not_in_shape_meta_changes_nothing(case: Case) -> None:
    """Check that an observation that ``shape_meta`` does not name is ignored: robots hand over all that they have."""
    policy = networks.built(case).eval()
    obs = networks.case_obs(case, 2, networks.window_of(case)["n_obs_steps"])
    expected = _act(policy, obs)["action"]
    policy.reset()
    found = _act(policy, {**obs, "not_in_shape_meta": torch.ones(2, 2)})["action"]
    if not torch.equal(found, expected):
        case.fail(
            "with an observation that shape_meta does not name, it acted otherwise; expected the same",
            "look at the keys of shape_meta alone",
        )


def reset_forgets(case: Case) -> None:
    """Check that, after `reset`, a policy acts as one that has seen nothing."""
    fresh, used = (networks.built(case).eval() for _ in range(2))
    steps = networks.window_of(case)["n_obs_steps"]
    _act(used, networks.case_obs(case, 2, steps, seed=1))
    used.reset()
    obs = networks.case_obs(case, 2, steps, seed=2)
    if not torch.equal(_act(used, obs)["action"], _act(fresh, obs)["action"]):
        case.fail(
            "after reset, it acted otherwise than one that has seen nothing; expected the same",
            "clear in reset() whatever predict_action keeps between calls",
        )


def rows_draw_from_generators_of_their_own(case: Case) -> None:
    """Check that a row with a generator of its own gets the actions that it gets alone, as evaluations need."""
    policy, obs = networks.built(case).eval(), networks.inputs_of(case, _N_ROWS)
    try:
        together = _act(policy, obs, [generator(row) for row in range(_N_ROWS)])["action"]
    except TypeError:
        case.fail("given a generator for each row, predict_action raised a TypeError; expected actions", DRAW_ROWS)
    for row in range(_N_ROWS):
        policy.reset()
        alone = _act(policy, {key: value[row : row + 1] for key, value in obs.items()}, generator(row))["action"]
        if not torch.allclose(together[row : row + 1], alone, rtol=1e-3, atol=0.1):
            case.fail(
                f"given a generator for each row, row {row} got other actions than alone; expected the same", DRAW_ROWS
            )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    the_loss_is_a_finite_number,
    the_loss_draws_from_the_generator_alone,
    a_batch_is_left_as_it_is,
    actions_have_the_shapes_of_the_contract,
    the_first_action_is_for_now,
    actions_are_in_raw_units,
    a_longer_history_ends_now,
    observations_mean_what_their_key_says,
    nan_never_becomes_an_action,
    what_is_not_in_shape_meta_changes_nothing,
    reset_forgets,
    rows_draw_from_generators_of_their_own,
    *modules.CHECKS,
)


def _loss(case: Case, policy: Any, seed: int = 0) -> Tensor:
    with seeded(seed):
        loss: Tensor = policy.compute_loss(networks.training_batch(case), generator())
    return loss


def _act(policy: Any, obs: dict[str, Tensor], generators: Generators = None) -> dict[str, Tensor]:
    with seeded():
        actions: dict[str, Tensor] = policy.predict_action(obs, generators or generator())
    return actions
