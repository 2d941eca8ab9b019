"""`load_policy`: from a checkpoint file to a policy that acts."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dp_core.checkpoint import payload_parts, read_payload
from dp_core.config.compose import apply_overrides, resolve
from dp_core.config.fields import Slot
from dp_core.errors import CheckpointError, UnsoundStateError
from dp_core.interfaces import BasePolicy
from dp_core.pretrained import skip_pretrained_weights
from dp_core.provenance.noise_process import keep_process
from dp_core.registry import Registry
from dp_core.soundness import unsound


def load_policy(path: str | Path, device: str | torch.device = "cpu", overrides: Sequence[str] = ()) -> BasePolicy:
    """Rebuild the policy of a checkpoint, ready to act.

    Takes the averaged weights if there are any. Runs nothing from the file, needs neither data nor network.

    Args:
        path: a ``.ckpt`` file.
        device: where the policy shall live.
        overrides: changes of its config, e.g. ``["policy.scheduler={name: ddim, num_inference_steps: 10}"]``. What a
            scheduler leaves out of the noise process is that of the checkpoint.

    Raises:
        CheckpointError: the file is damaged, or needs components that are not available here.
        ConfigError: an override is wrong, a scheduler that reverses another noise process included.
    """
    payload = read_payload(path)
    registry = Registry.discover()
    data = checkpoint_config(payload, registry, path, overrides)
    parts = payload_parts(payload, registry, path, data, ("policy",))
    return policy_from(payload, parts["policy"], data, path).to(device)


def checkpoint_config(
    payload: Mapping[str, Any], registry: Registry, path: str | Path, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """The plain config of a payload, with overrides merged as on the command line.

    Raises:
        ConfigError: an override is none, or the weights were trained for another noise process than it asks for.
    """
    data = resolve(apply_overrides(payload["cfg"], overrides), str(path))
    kinds = payload.get("manifest", {}).get("kinds", {})
    return keep_process(registry, payload["cfg"], kinds, data, str(path))


def policy_from(payload: Mapping[str, Any], policy: Slot, data: Mapping[str, Any], path: str | Path) -> BasePolicy:
    """Build a policy with the weights of ``payload``, in eval mode, on the CPU.

    Args:
        policy: the block ``policy`` of ``data``, which is the config of the run.

    Raises:
        CheckpointError: there are no weights, they do not fit the policy, or they are not finite.
    """
    states = payload["state_dicts"]
    key = next((key for key in ("ema_model", "model") if states.get(key) is not None), None)
    if key is None:
        raise CheckpointError(f"{path}: holds no policy; it has the states {', '.join(states) or 'none'}")
    with skip_pretrained_weights():
        built: BasePolicy = policy.build(shape_meta=data["shape_meta"])
    try:
        built.load_state_dict(states[key])
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: the weights do not fit the policy that its config describes: {textwrap.shorten(str(error), 400)}"
        ) from error
    if problems := unsound({key: built}):
        raise UnsoundStateError(
            f"{path}: its weights are not finite: {problems[0]}; its training diverged; take another checkpoint"
        )
    return built.eval()
