"""How encoders, denoisers and policies are fed and asked, so that checks can treat them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dp_core.config.declared import WINDOW as SEES_WINDOW
from dp_core.config.declared import sees
from dp_core.shape_meta import obs_type
from dp_core.testing.case import Case
from dp_core.testing.examples import WINDOW
from dp_core.testing.samples import (
    clone,
    extremes,
    generator,
    normalized_obs,
    normalizer_for,
    raw_batch,
    raw_obs,
    seeded,
)

BATCH_SIZE = 3
"""Members of the batches that are made for checks."""


class Network(NamedTuple):
    """The way to use the networks of one kind."""

    inputs: Callable[[Case, int, int], dict[str, Tensor]]
    """``inputs(case, batch_size, seed)`` makes the tensors that `output` takes, always the same."""
    extremes: Callable[[Case, dict[str, Tensor]], Iterator[tuple[str, dict[str, Tensor]]]]
    """``extremes(case, inputs)`` yields other inputs, legal and seldom seen, with what they are."""
    output: Callable[[nn.Module, Any], Tensor]
    """Computes what the network gives when it acts."""
    loss: Callable[[Case, nn.Module, Any], Tensor]
    """Computes a scalar that the network learns from."""
    prepare: Callable[[Case, Any], Any]
    """Does what is needed between construction and use, and returns the network."""


def _encoder_inputs(case: Case, batch_size: int, seed: int) -> dict[str, Any]:
    """Make normalised observations, of a step or of a window, as the encoder of ``case`` sees them."""
    if sees(case.slot()) != SEES_WINDOW:
        return normalized_obs(case.shape_meta, batch_size, seed, case.setting.samples)
    n_steps = case.setting.context["n_obs_steps"]
    steps = normalized_obs(case.shape_meta, batch_size * n_steps, seed, case.setting.samples)
    return {key: value.unflatten(0, (batch_size, n_steps)) for key, value in steps.items()}


def _extreme_obs(case: Case, inputs: dict[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """One key after the other, normalised for encoders and raw for policies."""
    for key in case.shape_meta["obs"]:
        if key in case.setting.samples:
            continue
        type_ = obs_type(case.shape_meta, key)
        for name, values in extremes(type_, inputs[key], is_normalized=case.component.kind == "encoder"):
            yield f"{name} in '{key}'", inputs | {key: values}


def _output_of_encoder(module: nn.Module, inputs: Any) -> Tensor:
    features: Tensor = module(inputs)
    return features


def _denoiser_inputs(case: Case, batch_size: int, seed: int) -> dict[str, Tensor]:
    sizes, draw = case.setting.runtime, generator(seed)
    inputs = {
        "sample": torch.randn(batch_size, sizes["horizon"], sizes["input_dim"], generator=draw),
        "timestep": torch.arange(7, 7 + batch_size) + 30 * seed,
    }
    if sizes.get("token_dim"):
        inputs["tokens"] = torch.randn(batch_size, sizes["n_tokens"], sizes["token_dim"], generator=draw)
    if sizes.get("local_cond_dim"):
        inputs["local_cond"] = torch.randn(batch_size, sizes["horizon"], sizes["local_cond_dim"], generator=draw)
    if sizes.get("global_cond_dim"):
        inputs["global_cond"] = torch.randn(batch_size, sizes["global_cond_dim"], generator=draw)
    return inputs


def is_time(name: str) -> bool:
    """Tell whether an input of a denoiser is a time."""
    return name.endswith("timestep")


def _extreme_denoiser_inputs(case: Case, inputs: dict[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Times are from about 0, the data, to about 100, the noise, see `BaseScheduler.sample_timesteps`."""
    for key, values in inputs.items():
        if is_time(key):
            yield from ((f"the {key} {time}", inputs | {key: torch.full_like(values, time)}) for time in (0, 100))
        else:
            yield f"zeros in '{key}'", inputs | {key: torch.zeros_like(values)}
            yield f"values 1000 times as large as usual in '{key}'", inputs | {key: 1000 * values}


def _output_of_denoiser(module: nn.Module, inputs: Any) -> Tensor:
    prediction: Tensor = module(**inputs)
    return prediction


def _mixed_output(case: Case, module: nn.Module, inputs: Any) -> Tensor:
    # A plain sum can be constant: the probabilities of a softmax, or what a normalisation leaves.
    output = network_of(case).output(module, inputs)
    return (output * torch.randn(output.shape, generator=generator(), dtype=output.dtype).to(output.device)).sum()


def _policy_obs(case: Case, batch_size: int, seed: int) -> dict[str, Tensor]:
    return case_obs(case, batch_size, window_of(case)["n_obs_steps"], seed)


def _output_of_policy(module: nn.Module, inputs: Any) -> Tensor:
    prediction: Tensor = module.predict_action(inputs, generator(0, _device(inputs)))["action_pred"]  # type: ignore[operator]
    return prediction


def _policy_loss(case: Case, module: nn.Module, inputs: Any) -> Tensor:
    batch = on_device(training_batch(case), _device(inputs))
    loss: Tensor = module.compute_loss(batch, generator(0, _device(inputs)))  # type: ignore[operator]
    return loss


def _with_normalizer(case: Case, policy: Any) -> Any:
    policy.set_normalizer(normalizer_for(case.shape_meta, samples=case.setting.samples))
    return policy


NETWORKS = {
    "encoder": Network(_encoder_inputs, _extreme_obs, _output_of_encoder, _mixed_output, lambda case, module: module),
    "denoiser": Network(
        _denoiser_inputs, _extreme_denoiser_inputs, _output_of_denoiser, _mixed_output, lambda case, module: module
    ),
    "policy": Network(_policy_obs, _extreme_obs, _output_of_policy, _policy_loss, _with_normalizer),
}


def network_of(case: Case) -> Network:
    """Return how the network of ``case`` is used."""
    return NETWORKS[case.component.kind]


def window_of(case: Case) -> dict[str, int]:
    """Return horizon, observed and executed steps: those of the options, else those that are usual in examples."""
    config = case.slot().config
    return {name: getattr(config, name, usual) for name, usual in WINDOW.items()}


def inputs_of(case: Case, batch_size: int = BATCH_SIZE, seed: int = 0) -> dict[str, Tensor]:
    """Make inputs for the network of ``case``, always the same for a seed."""
    return network_of(case).inputs(case, batch_size, seed)


def case_obs(case: Case, batch_size: int, n_steps: int, seed: int = 0) -> dict[str, Tensor]:
    """Make raw observations of the task of ``case``, ``{key: (B, n_steps, *shape)}``."""
    return raw_obs(case.shape_meta, batch_size, n_steps, seed, case.setting.samples)


def training_batch(case: Case) -> dict[str, Any]:
    """Make a raw batch of three windows to train the policy of ``case`` on."""
    return raw_batch(case.shape_meta, BATCH_SIZE, window_of(case)["horizon"], samples=case.setting.samples)


def built(case: Case, seed: int = 0) -> Any:
    """Build the network of ``case``, ready for use, in training mode."""
    module = network_of(case).prepare(case, case.build(seed))
    return module.train()


def output(case: Case, module: nn.Module, inputs: Any, seed: int = 0) -> Tensor:
    """Compute the output of a network in eval mode, while the global random states are those of ``seed``."""
    with seeded(seed):
        return output_here(case, module, inputs)


def output_here(case: Case, module: nn.Module, inputs: Any) -> Tensor:
    """Compute the output of a network in eval mode, whatever the global random states are."""
    with torch.no_grad():
        return network_of(case).output(module.eval(), clone(inputs))


def _device(inputs: Mapping[str, Any]) -> torch.device:
    return next((value.device for value in inputs.values() if isinstance(value, Tensor)), torch.device("cpu"))


def on_device(tree: Any, device: torch.device) -> Any:
    """Move the tensors of nested dictionaries."""
    if isinstance(tree, Mapping):
        return {key: on_device(value, device) for key, value in tree.items()}
    return tree.to(device) if isinstance(tree, Tensor) else tree


def joined(batches: Sequence[Any]) -> Any:
    """Put the rows of batches together: tensors, arrays of text, or lists of it."""
    if isinstance(batches[0], Tensor):
        return torch.cat(list(batches))
    if isinstance(batches[0], np.ndarray):
        return np.concatenate(batches)
    return [row for batch in batches for row in batch]
