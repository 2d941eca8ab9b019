"""From a checkpoint file to a policy: its averaged weights, and nothing but what the policy needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core import load_policy
from dp_core.checkpoint import read_payload, write_payload
from dp_core.errors import CheckpointError, ConfigError


@pytest.fixture
def payload(make_workspace: Callable[..., Any], tmp_path: Path) -> dict[str, Any]:
    workspace = make_workspace(callbacks={"first": "note"}, shape_meta={"action": [2]})
    return read_payload(workspace.save_checkpoint(use_thread=False))


def load(payload: dict[str, Any], tmp_path: Path, *overrides: str) -> Any:
    write_payload(tmp_path / "x.ckpt", payload)
    return load_policy(tmp_path / "x.ckpt", overrides=overrides)


def test_a_policy_is_ready_to_act(payload: dict[str, Any], tmp_path: Path) -> None:
    policy = load(payload, tmp_path)

    assert torch.equal(policy.layer.weight, payload["state_dicts"]["model"]["layer.weight"])
    assert policy.shape_meta == {"action": [2]}
    assert not policy.training


def test_averaged_weights_are_preferred(payload: dict[str, Any], tmp_path: Path) -> None:
    states = payload["state_dicts"]
    states["ema_model"] = {key: value + 1 for key, value in states["model"].items()}

    assert torch.equal(load(payload, tmp_path).layer.weight, states["model"]["layer.weight"] + 1)


def test_a_robot_needs_no_more_than_the_policy(payload: dict[str, Any], tmp_path: Path) -> None:
    for path in ("workspace", "callbacks.first"):
        payload["manifest"]["components"][path] = "dp-gone/x"
    payload["cfg"] |= {"workspace": "dp-gone/x", "callbacks": {"first": {"name": "dp-gone/x"}}}

    assert load(payload, tmp_path).layer.in_features == 4


def test_overrides_change_the_policy_as_on_the_command_line(payload: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(payload, tmp_path, "policy.size=four")
    assert "\n  policy.size: expected a whole number, got 'four'" in str(caught.value)

    with pytest.raises(CheckpointError, match=r"x\.ckpt: the weights do not fit the policy that its config describes"):
        load(payload, tmp_path, "policy={name: net, size: 5}")


def test_weights_that_do_not_fit_are_told_in_one_line(payload: dict[str, Any], tmp_path: Path) -> None:
    payload["state_dicts"]["model"] |= {f"layer{i}.weight": torch.zeros(1) for i in range(200)}

    with pytest.raises(CheckpointError) as caught:
        load(payload, tmp_path)

    assert str(caught.value).startswith(f"{tmp_path / 'x.ckpt'}: the weights do not fit the policy")
    assert '"layer0.weight"' in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 500


def test_weights_that_are_not_finite_never_get_onto_a_robot(payload: dict[str, Any], tmp_path: Path) -> None:
    payload["state_dicts"]["model"]["layer.bias"][:] = float("nan")

    with pytest.raises(CheckpointError) as caught:
        load(payload, tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}/x.ckpt: its weights are not finite: model (1 of 2 tensors, first 'layer.bias'); "
        "its training diverged; take another checkpoint"
    )


def test_a_file_without_a_policy(payload: dict[str, Any], tmp_path: Path) -> None:
    del payload["state_dicts"]["model"]

    with pytest.raises(CheckpointError) as caught:
        load(payload, tmp_path)

    assert str(caught.value) == f"{tmp_path}/x.ckpt: holds no policy; it has the states optimizer, counter"


def test_a_missing_policy_is_reported_before_anything_is_built(payload: dict[str, Any], tmp_path: Path) -> None:
    payload["manifest"]["components"]["policy"] = payload["cfg"]["policy"]["name"] = "dp-gone/net"

    with pytest.raises(CheckpointError) as caught:
        load(payload, tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}/x.ckpt: made with components that are not available here\n"
        "  policy: dp-gone/net: dp-gone is not installed; install with: pip install dp-gone"
    )
