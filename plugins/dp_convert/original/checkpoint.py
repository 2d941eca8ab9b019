"""Checkpoints that the original's workspaces wrote: a payload ``{cfg, state_dicts, pickles}``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dp_convert.block import Block
from dp_convert.conversion import Conversion, plain_weights
from dp_convert.original.nodes import plain_config
from dp_convert.original.policies import read_policy
from dp_convert.original.tasks import Steps, read_dataset, read_runner
from dp_convert.original.training import read_training
from dp_convert.restricted_pickle import Node, RestrictedUnpickler
from dp_convert.torch_file import read_torch_file
from dp_core.errors import CheckpointError, ConfigError, Problem

_COUNTERS = ("epoch", "global_step")


def read_original(path: Path) -> Conversion:
    """Read a file of the original; nothing in it is run.

    Raises:
        CheckpointError: the file is damaged, not one of the original's, or names what could run code.
        ConfigError: parts of its config that have no counterpart here, all of them.
    """
    payload = read_torch_file(path)
    if not (isinstance(payload, Mapping) and {"cfg", "state_dicts", "pickles"} <= payload.keys()):
        raise CheckpointError(
            f"{path}: not a checkpoint of the original: 'cfg', 'state_dicts' and 'pickles' are expected"
        )
    counters = _counters(path, payload["pickles"])
    states = payload["state_dicts"]
    if not isinstance(states, Mapping) or states.get("model") is None:
        raise CheckpointError(f"{path}: holds no policy: there is no 'model' in its state_dicts")
    config = payload["cfg"]
    try:
        data = plain_config(config) if isinstance(config, Node | Mapping) else None
    # Blocks within themselves, keys or numbers that no text can hold: not written by OmegaConf.
    except (RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its cfg cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: its cfg is not a config, but {type(config).__name__}")
    notes = ["the optimizer's state is not carried over; training continues with a new one"]
    data = convert_config(data, str(path), notes)
    weights = {
        key: plain_weights(states[key], path, key) for key in ("model", "ema_model") if states.get(key) is not None
    }
    if data["ema"] is not None and "ema_model" not in weights:
        notes.append("there are no averaged weights in the file; the average starts from the others")
        weights["ema_model"] = weights["model"]
    if data["ema"] is None:
        weights.pop("ema_model", None)
    return Conversion(data, {**weights, **_progress(counters, has_ema=data["ema"] is not None)}, notes)


def convert_config(data: Mapping[str, Any], source: str, notes: list[str]) -> dict[str, Any]:
    """Convert the resolved config of an original checkpoint to ours.

    Args:
        notes: gets what the user should know.

    Raises:
        ConfigError: everything that has no counterpart here.
    """
    problems: list[Problem] = []
    top = Block(data, "", problems)
    policy, shape_meta = read_policy(top.block("policy"), data, notes)
    training = read_training(top, notes)
    task = top.block("task")
    steps = Steps(
        horizon=policy.get("horizon", 0),
        n_obs_steps=policy.get("n_obs_steps", 0),
        n_action_steps=policy.get("n_action_steps", 0),
        n_latency_steps=data.get("n_latency_steps") or 0,
        full_obs_horizon=not policy.get("obs_as_global_cond", True) and not policy.get("obs_as_local_cond", False),
        shape_meta=shape_meta,
    )
    dataset = read_dataset(task.block("dataset"), steps, notes)
    runner = read_runner(task.block("env_runner"), steps, notes)
    if problems:
        raise ConfigError(f"the config in {source}", problems)
    return {
        "workspace": "train",
        "run_name": str(data.get("name") or "converted"),
        "shape_meta": shape_meta,
        **{name: policy[name] for name in ("horizon", "n_obs_steps", "n_action_steps")},
        "policy": policy,
        "dataset": dataset,
        "runner": runner,
        **training,
        "callbacks": _callbacks(data, runner is not None),
    }


def _counters(path: Path, pickles: Any) -> dict[str, int]:
    """Whole numbers among the pickled values; every one of them is read, so that none can hide something."""
    if not isinstance(pickles, Mapping):
        raise CheckpointError(f"{path}: 'pickles' is not a mapping")
    values = {}
    for name, data in pickles.items():
        where = f"{path}: pickles.{name}"
        if not isinstance(data, bytes | bytearray):
            raise CheckpointError(f"{where}: expected pickled bytes, got {type(data).__name__}")
        values[name] = RestrictedUnpickler(io.BytesIO(data), where).load()
    return {name: values[name] for name in _COUNTERS if type(values.get(name)) is int}


def _progress(counters: Mapping[str, int], *, has_ema: bool) -> dict[str, Any]:
    """States of a run that has come as far as the original's.

    The original saves before it counts: the epoch in the file is complete.
    """
    if not all(name in counters for name in _COUNTERS):
        return {}
    steps = counters["global_step"] + 1
    progress = {
        "epoch": counters["epoch"] + 1,
        "global_step": steps,
        "step_in_epoch": 0,
        "loss_sum": 0.0,
        "last_metrics": {},
    }
    return {"progress": progress, **({"ema": {"optimization_step": steps}} if has_ema else {})}


def _callbacks(data: Mapping[str, Any], is_simulated: bool) -> dict[str, Any]:
    callbacks: dict[str, Any] = {"log": {"name": "json_log"}, "progress": {"name": "progress"}}
    checkpoint = data.get("checkpoint")
    topk = checkpoint.get("topk") if isinstance(checkpoint, Mapping) else None
    if isinstance(topk, Mapping) and (is_simulated or not str(topk.get("monitor_key", "")).startswith("test")):
        callbacks["topk"] = {"name": "topk", **topk}
    return callbacks
