"""`load_policy`: from a checkpoint file to a policy that acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dp_core.checkpoint import payload_config, read_payload
from dp_core.config.compose import merge, parse_override, resolve
from dp_core.config.schema import WorkspaceConfig
from dp_core.errors import CheckpointError
from dp_core.interfaces import BasePolicy
from dp_core.registry import Registry
from dp_core.weights import skip_pretrained_weights


def load_policy(path: str | Path, device: str | torch.device = "cpu", overrides: Sequence[str] = ()) -> BasePolicy:
    """Rebuild the policy of a checkpoint, ready to act.

    Takes the averaged weights if there are any. Runs nothing from the file, needs neither data nor network.

    Args:
        path: a ``.ckpt`` file.
        device: where the policy shall live.
        overrides: changes of its config, e.g. ``["policy.scheduler={name: ddim, num_inference_steps: 10}"]``.

    Raises:
        CheckpointError: the file is damaged, or needs components that are not available here.
    """
    payload = read_payload(path)
    cfg = checkpoint_config(payload, path, overrides)
    return policy_from(payload, cfg, path).to(device)


def checkpoint_config(payload: Mapping[str, Any], path: str | Path, overrides: Sequence[str] = ()) -> WorkspaceConfig:
    """The typed config of a payload, with overrides merged as on the command line."""
    data: Any = payload["cfg"]
    for override in overrides:
        data = merge(data, parse_override(override))
    return payload_config(payload, Registry.discover(), path, resolve(data, str(path)))


def policy_from(payload: Mapping[str, Any], cfg: Any, path: str | Path) -> BasePolicy:
    """Build the policy that ``cfg`` describes with the weights of ``payload``, in eval mode, on the CPU."""
    states = payload["state_dicts"]
    key = next((key for key in ("ema_model", "model") if states.get(key) is not None), None)
    if key is None or not hasattr(cfg, "policy"):
        raise CheckpointError(f"{path}: holds no policy; it has the states {', '.join(states)}")
    with skip_pretrained_weights():
        policy: BasePolicy = cfg.policy.build(shape_meta=cfg.shape_meta)
    try:
        policy.load_state_dict(states[key])
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: the weights do not fit the policy that its config describes: {error}"
        ) from error
    return policy.eval()
