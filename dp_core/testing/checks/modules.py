"""The rules of every network, be it an encoder, a denoiser or a policy."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dp_core.config.declared import WINDOW as SEES_WINDOW
from dp_core.config.declared import sees
from dp_core.errors import quoted
from dp_core.testing.case import Case, NotChecked
from dp_core.testing.examples import WINDOW
from dp_core.testing.samples import (
    clone,
    differences,
    generator,
    normalized_obs,
    normalizer_for,
    raw_batch,
    raw_obs,
    seeded,
)

_BATCH_SIZE = 3
DRAW_ROWS = "draw with dp_core.interfaces.draw_noise, which takes one generator or one for each row"
"""What to do where rows of a batch cannot have generators of their own."""


class Network(NamedTuple):
    """The way to use the networks of one kind."""

    inputs: Callable[[Case, int], Any]
    """``inputs(case, batch_size)`` makes the tensors that `output` takes, always the same."""
    output: Callable[[nn.Module, Any], Tensor]
    """Computes what the network gives when it acts."""
    loss: Callable[[Case, nn.Module, Any], Tensor]
    """Computes a scalar that the network learns from."""
    prepare: Callable[[Case, Any], Any]
    """Does what is needed between construction and use, and returns the network."""


def encoder_inputs(case: Case, batch_size: int, seed: int = 0) -> dict[str, Tensor]:
    """Make normalised observations, of a step or of a window, as the encoder of ``case`` sees them."""
    shape_meta = case.setting.runtime["shape_meta"]
    if sees(case.slot()) != SEES_WINDOW:
        return normalized_obs(shape_meta, batch_size, seed)
    n_steps = case.setting.context["n_obs_steps"]
    steps = normalized_obs(shape_meta, batch_size * n_steps, seed)
    return {key: value.unflatten(0, (batch_size, n_steps)) for key, value in steps.items()}  # type: ignore[no-untyped-call]


def _output_of_encoder(module: nn.Module, inputs: Any) -> Tensor:
    features: Tensor = module(inputs)
    return features


def _denoiser_inputs(case: Case, batch_size: int) -> dict[str, Tensor]:
    sizes, draw = case.setting.runtime, generator()
    inputs = {
        "sample": torch.randn(batch_size, sizes["horizon"], sizes["input_dim"], generator=draw),
        "timestep": torch.arange(7, 7 + batch_size),
    }
    if sizes.get("token_dim"):
        inputs["tokens"] = torch.randn(batch_size, sizes["n_tokens"], sizes["token_dim"], generator=draw)
    if sizes.get("local_cond_dim"):
        inputs["local_cond"] = torch.randn(batch_size, sizes["horizon"], sizes["local_cond_dim"], generator=draw)
    if sizes.get("global_cond_dim"):
        inputs["global_cond"] = torch.randn(batch_size, sizes["global_cond_dim"], generator=draw)
    return inputs


def _output_of_denoiser(module: nn.Module, inputs: Any) -> Tensor:
    prediction: Tensor = module(**inputs)
    return prediction


def _mixed_output(case: Case, module: nn.Module, inputs: Any) -> Tensor:
    # A plain sum can be constant: the probabilities of a softmax, or what a normalisation leaves.
    output = network_of(case).output(module, inputs)
    return (output * torch.randn(output.shape, generator=generator(), dtype=output.dtype).to(output.device)).sum()


def _policy_obs(case: Case, batch_size: int) -> dict[str, Tensor]:
    return raw_obs(case.setting.runtime["shape_meta"], batch_size, window_of(case)["n_obs_steps"])


def _output_of_policy(module: nn.Module, inputs: Any) -> Tensor:
    prediction: Tensor = module.predict_action(inputs, generator(0, _device(inputs)))["action_pred"]  # type: ignore[operator]
    return prediction


def _policy_loss(case: Case, module: nn.Module, inputs: Any) -> Tensor:
    batch = _on(training_batch(case), _device(inputs))
    loss: Tensor = module.compute_loss(batch, generator(0, _device(inputs)))  # type: ignore[operator]
    return loss


def _with_normalizer(case: Case, policy: Any) -> Any:
    policy.set_normalizer(normalizer_for(case.setting.runtime["shape_meta"]))
    return policy


NETWORKS = {
    "encoder": Network(
        lambda case, batch_size: encoder_inputs(case, batch_size),
        _output_of_encoder,
        _mixed_output,
        lambda case, module: module,
    ),
    "denoiser": Network(_denoiser_inputs, _output_of_denoiser, _mixed_output, lambda case, module: module),
    "policy": Network(_policy_obs, _output_of_policy, _policy_loss, _with_normalizer),
}


def network_of(case: Case) -> Network:
    """Return how the network of ``case`` is used."""
    return NETWORKS[case.component.kind]


def window_of(case: Case) -> dict[str, int]:
    """Return horizon, observed and executed steps: those of the options, else those that are usual in examples."""
    config = case.slot().config
    return {name: getattr(config, name, usual) for name, usual in WINDOW.items()}


def training_batch(case: Case) -> dict[str, Any]:
    """Make a raw batch of three windows to train the policy of ``case`` on."""
    return raw_batch(case.setting.runtime["shape_meta"], _BATCH_SIZE, window_of(case)["horizon"])


def built(case: Case, seed: int = 0) -> Any:
    """Build the network of ``case``, ready for use, in training mode."""
    module = network_of(case).prepare(case, case.build(seed))
    return module.train()


def output(case: Case, module: nn.Module, inputs: Any, seed: int = 0) -> Tensor:
    """Compute the output of a network in eval mode, while the global state of torch is that of ``seed``."""
    with torch.no_grad(), seeded(seed):
        return network_of(case).output(module.eval(), clone(inputs))


# -- the rules --------------------------------------------------------------------------------------------------------


def equal_inputs_give_equal_outputs_in_eval_mode(case: Case) -> None:
    """Check that, in eval mode, nothing is random but what a generator was passed for."""
    module, inputs = built(case), network_of(case).inputs(case, _BATCH_SIZE)
    if not torch.equal(output(case, module, inputs), output(case, module, inputs, seed=1)):
        case.fail(
            "in eval mode, equal inputs gave different outputs; expected equal ones",
            "draw only while self.training is true or from the generator that is passed, and use dropout as a module",
        )


def members_of_a_batch_do_not_mix(case: Case) -> None:
    """Check that, in eval mode, what a member of a batch gives does not depend on the others."""
    module, inputs = built(case), network_of(case).inputs(case, _BATCH_SIZE)
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
    _train_step(case, module, network_of(case).inputs(case, _BATCH_SIZE))
    idle = [name for name, parameter in module.named_parameters() if parameter.requires_grad and parameter.grad is None]
    if idle:
        case.fail(
            f"no gradient reached {quoted(idle)}; expected one for every parameter",
            "use them in what the loss depends on, or call requires_grad_(False) on what is not to learn",
        )


def the_state_dict_holds_everything(case: Case) -> None:
    """Check that a network that loads the state dict of a trained one gives the same outputs."""
    trained, other = built(case), case.build(seed=1)
    inputs = network_of(case).inputs(case, _BATCH_SIZE)
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
    module, inputs = built(case), network_of(case).inputs(case, _BATCH_SIZE)
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
    module, inputs = built(case), network_of(case).inputs(case, _BATCH_SIZE)
    if not torch.equal(output(case, pickled(case, module), inputs), output(case, module, inputs)):
        case.fail(
            "what was pickled and read again gave other outputs; expected the same",
            "leave nothing out in __getstate__ that outputs depend on",
        )


def inputs_are_left_as_they_are(case: Case) -> None:
    """Check that what a network is given is not changed, neither in training nor in eval mode."""
    module = built(case)
    for mode in (True, False):
        inputs = network_of(case).inputs(case, _BATCH_SIZE)
        given = clone(inputs)
        with torch.no_grad(), seeded():
            network_of(case).output(module.train(mode), inputs)
        if changed := list(differences(given, inputs)):
            case.fail(
                f"its inputs were changed: {quoted(changed)}; expected them to be left as they are",
                "work on new tensors and dictionaries: x = x * 2 instead of x.mul_(2) or x *= 2",
            )


def it_works_on_a_gpu(case: Case) -> None:
    """Check that, after ``.to(device)``, everything that a network computes with is on that device."""
    if not torch.cuda.is_available():
        raise NotChecked("there is no GPU")
    module = built(case).to("cuda")
    inputs = _on(network_of(case).inputs(case, _BATCH_SIZE), torch.device("cuda"))
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
    equal_inputs_give_equal_outputs_in_eval_mode,
    every_parameter_learns,
    the_state_dict_holds_everything,
    it_can_be_copied,
    it_can_be_pickled,
    inputs_are_left_as_they_are,
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


def _device(inputs: Mapping[str, Tensor]) -> torch.device:
    return next(iter(inputs.values())).device


def _on(tree: Any, device: torch.device) -> Any:
    if isinstance(tree, Mapping):
        return {key: _on(value, device) for key, value in tree.items()}
    return tree.to(device)
