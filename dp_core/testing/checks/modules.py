"""The rules of every network, be it an encoder, a denoiser or a policy."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import torch
from torch import nn

from dp_core.errors import quoted
from dp_core.interfaces import BasePolicy
from dp_core.testing.case import Case, NotChecked
from dp_core.testing.networks import built, inputs_of, joined, network_of, on_device, output, output_here
from dp_core.testing.samples import UNUSUAL_SEED, clone, differences, random_states, seeded

DRAW_ROWS = "draw with dp_core.interfaces.draw_noise, which takes one generator or one for each row"
"""What to do where rows of a batch cannot have generators of their own."""


def equal_inputs_give_equal_outputs_in_eval_mode(case: Case) -> None:
    """Check that, in eval mode, nothing is random but what a generator was passed for."""
    module, inputs = built(case), inputs_of(case)
    if not torch.equal(output(case, module, inputs), output(case, module, inputs, seed=1)):
        case.fail(
            "in eval mode, equal inputs gave different outputs; expected equal ones",
            "draw only while self.training is true or from the generator that is passed, and use dropout as a module",
        )
    with seeded(UNUSUAL_SEED):
        before = random_states()
        output_here(case, module, inputs)
        if touched := list(differences(before, random_states())):
            case.fail(
                f"in eval mode, it drew from the global random numbers of {_sources(touched)}, or seeded them; "
                "expected them left alone",
                "draw from the generator that is passed, or from one of its own, and seed no global one",
            )


def members_of_a_batch_do_not_mix(case: Case) -> None:
    """Check that, in eval mode, what a member of a batch gives does not depend on the others."""
    module, inputs = built(case), inputs_of(case)
    together = output(case, module, inputs)
    if not torch.equal(output(case, module, inputs, seed=1), together):
        raise NotChecked("equal inputs give different outputs")
    alone = output(case, module, {key: value[1:2] for key, value in inputs.items()})
    if together[1:2].shape != alone.shape or not torch.allclose(together[1:2], alone, rtol=1e-3, atol=1e-4):
        case.fail(
            "in eval mode, a member of a batch gave another output than it gave alone; expected the same",
            "compute statistics over the dimensions behind the first only",
        )


def every_parameter_learns(case: Case) -> None:
    """Check that the gradient of the loss reaches every parameter that requires one."""
    module = built(case)
    _train_step(case, module, inputs_of(case))
    idle = [name for name, parameter in module.named_parameters() if parameter.requires_grad and parameter.grad is None]
    if idle:
        case.fail(
            f"no gradient reached {quoted(idle)}; expected one for every parameter",
            "use them in what the loss depends on, or call requires_grad_(False) on what is not to learn",
        )


def the_state_dict_holds_everything(case: Case) -> None:
    """Check that a network that loads the state dict of a trained one gives the same outputs."""
    trained, other = built(case), case.build(seed=1)
    inputs = inputs_of(case)
    _train_step(case, trained, inputs)
    try:
        other.load_state_dict(clone(trained.state_dict()))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        case.fail(
            f"the state dict of one does not load into another: {' '.join(lines).rstrip('.')}; "
            "expected the same names and shapes",
            "make all parameters and buffers in the constructor, by the options and what it is built with alone",
        )
    if not torch.equal(output(case, trained, inputs), output(case, other, inputs)):
        case.fail(
            "with the state dict of another, it gave other outputs than that one; expected the same",
            "keep all that outputs depend on in parameters or in buffers (self.register_buffer)",
        )


def it_can_be_copied(case: Case) -> None:
    """Check that a deep copy, from which the average of weights starts, is independent and gives the same outputs."""
    module, inputs = built(case), inputs_of(case)
    before = output(case, module, inputs)
    try:
        copied = copy.deepcopy(module)
    except Exception as error:
        case.fail(
            f"cannot be copied: {type(error).__name__}: {error}; expected what copy.deepcopy can copy",
            "keep no generators, locks or open files as attributes",
        )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    if not torch.equal(output(case, copied, inputs), before):
        case.fail(
            "a deep copy gave other outputs than what it was copied from, which was changed since; expected the same",
            "let nothing in it refer to the modules of another",
        )


def it_can_be_pickled(case: Case) -> None:
    """Check that what is unpickled, by worker processes and from snapshots, gives the same outputs."""
    module, inputs = built(case), inputs_of(case)
    if not torch.equal(output(case, pickled(case, module), inputs), output(case, module, inputs)):
        case.fail(
            "what was pickled and read again gave other outputs; expected the same",
            "leave nothing out in __getstate__ that outputs depend on",
        )


def inputs_are_left_as_they_are(case: Case) -> None:
    """Check that what a network is given is not changed, neither in training nor in eval mode."""
    module = built(case)
    for mode in (True, False):
        inputs = inputs_of(case)
        given = clone(inputs)
        with torch.no_grad(), seeded():
            network_of(case).output(module.train(mode), inputs)
        if changed := list(differences(given, inputs)):
            case.fail(
                f"its inputs were changed: {quoted(changed)}; expected them to be left as they are",
                "work on new tensors and dictionaries: x = x * 2 instead of x.mul_(2) or x *= 2",
            )


def extreme_inputs_give_finite_outputs(case: Case) -> None:
    """Check that what is legal and seldom seen, such as zeros and images all of one colour, gives finite outputs."""
    found = list(network_of(case).extremes(case, inputs_of(case, 1)))
    if not found:
        raise NotChecked("nobody says what is seldom seen in this task")
    # As rows of one batch, in which members do not mix.
    rows = {key: joined([inputs[key] for _, inputs in found]) for key in found[0][1]}
    outputs = output(case, built(case), rows)
    for (name, _), row in zip(found, outputs, strict=True):
        if not row.isfinite().all():
            case.fail(
                f"with {name}, its output is not finite; expected numbers for whatever is legal",
                "keep clear of divisions by a deviation or a norm of zero, of logarithms, and of powers that overflow",
            )


def train_and_eval_reach_everything_and_stay(case: Case) -> None:
    """Check that ``eval()`` reaches every part, that computing leaves modes as they are, and in eval mode all state."""
    module, inputs = built(case), inputs_of(case, 2)
    for mode in (True, False):
        module.train(mode)
        if awake := [name for name, part in module.named_modules() if part.training and not mode]:
            case.fail(
                f"after eval(), {_named(awake)} stayed in training mode; expected every part in eval mode",
                "let train(mode) call super().train(mode) and return self, and leave the mode to it",
            )
        before = {name: part.training for name, part in module.named_modules()}
        state = clone(module.state_dict())
        with torch.no_grad(), seeded():
            network_of(case).output(module, clone(inputs))
            if isinstance(module, BasePolicy):
                network_of(case).loss(case, module, inputs)
        if changed := [name for name, part in module.named_modules() if part.training != before.get(name)]:
            case.fail(
                f"in {'training' if mode else 'eval'} mode, computing changed the mode of {_named(changed)}; "
                "expected it to be left",
                "call neither train() nor eval() in forward, compute_loss or predict_action",
            )
        if not mode and (different := list(differences(state, module.state_dict()))):
            case.fail(
                f"in eval mode, computing changed {quoted(different)}; expected nothing to change",
                "update running statistics only while self.training is true",
            )


def it_works_on_a_gpu(case: Case) -> None:
    """Check that, after ``.to(device)``, everything that a network computes with is on that device."""
    if not torch.cuda.is_available():
        raise NotChecked("there is no GPU")
    module = built(case).to("cuda")
    inputs = on_device(inputs_of(case), torch.device("cuda"))
    try:
        result = output(case, module, inputs)
        network_of(case).loss(case, module.train(), inputs)
    except RuntimeError as error:
        case.fail(
            f"fails on a GPU: {str(error).splitlines()[0]}; expected it to run wherever it is moved",
            "keep tensors in parameters or buffers, and make new ones on the device of the inputs",
        )
    if result.device.type != "cuda":
        case.fail(f"on a GPU, its output is on {result.device}", "compute it on the device of the inputs")


CHECKS = (
    train_and_eval_reach_everything_and_stay,
    equal_inputs_give_equal_outputs_in_eval_mode,
    every_parameter_learns,
    the_state_dict_holds_everything,
    it_can_be_copied,
    it_can_be_pickled,
    inputs_are_left_as_they_are,
    extreme_inputs_give_finite_outputs,
    it_works_on_a_gpu,
)


def pickled(case: Case, value: Any) -> Any:
    """Return ``value`` after it went through pickle once."""
    try:
        return pickle.loads(pickle.dumps(value))
    except Exception as error:
        case.fail(
            f"cannot be pickled: {type(error).__name__}: {error}; expected it to survive the way to another process",
            "use functions of modules instead of lambdas, and open files and devices on first use",
        )


def _train_step(case: Case, module: nn.Module, inputs: Any) -> None:
    module.train()
    with seeded():
        loss = network_of(case).loss(case, module, inputs)
    if not loss.requires_grad:
        return
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.01 * parameter.grad.sign())


def _sources(names: list[str]) -> str:
    """Name generators by the beginning of the dotted names of what changed."""
    return ", ".join(dict.fromkeys(re.split(r"[.\[]", name)[0] for name in names))


def _named(names: list[str]) -> str:
    """Name the first parts of a network by their path in it, the whole by 'itself'."""
    return quoted(name or "itself" for name in names[:3])
