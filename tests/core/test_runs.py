"""From a checkpoint file to a policy, with no more than the policy needs; from a config to a run, and on with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core import load_policy
from dp_core.checkpoint import read_payload, write_payload
from dp_core.errors import CheckpointError, ConfigError, DpError, InputError
from dp_core.registry import Registry
from dp_core.runs import build, evaluate, restore, resume, start


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


def test_an_option_that_no_version_here_knows_can_be_dropped(payload: dict[str, Any], tmp_path: Path) -> None:
    payload["cfg"]["policy"]["width"] = 3

    with pytest.raises(ConfigError, match=r"policy\.width: unknown option"):
        load(payload, tmp_path)
    assert load(payload, tmp_path, "~policy.width").layer.in_features == 4
    with pytest.raises(ConfigError) as caught:
        load(payload, tmp_path, "~run_name")
    assert str(caught.value) == (
        "the command line has 1 problem\n  run_name: changes nothing, since only 'policy' is built; leave it out"
    )


def test_weights_that_do_not_fit_are_told_in_one_line(payload: dict[str, Any], tmp_path: Path) -> None:
    payload["state_dicts"]["model"] |= {f"layer{i}.weight": torch.zeros(1) for i in range(200)}

    with pytest.raises(CheckpointError) as caught:
        load(payload, tmp_path)

    assert str(caught.value) == (
        f"{tmp_path / 'x.ckpt'}: the weights do not fit the policy that its config describes: "
        "there is no 'layer0.weight' here (and 199 more)"
    )


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


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(toys: Registry, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(f"workspace: toy\npolicy: {{name: net, size: 3}}\noutput_dir: {tmp_path}/run\n")
    return path


def states(folder: Path) -> dict[str, Any]:
    return read_payload(folder / "checkpoints" / "latest.ckpt")["state_dicts"]


def test_a_run_starts_and_continues(config: Path, tmp_path: Path) -> None:
    started = start(config, ["run_name=mine"])
    resumed = resume(tmp_path / "run", ["run_name=again"])

    assert started.output_dir == resumed.output_dir == tmp_path / "run"
    assert (started.counter.count, resumed.counter.count) == (1, 2)
    assert (started.cfg.run_name, resumed.cfg.run_name) == ("mine", "again")
    assert states(tmp_path / "run")["counter"] == {"count": 2}


def test_a_run_that_is_built_has_its_directory_and_has_done_nothing(config: Path, tmp_path: Path) -> None:
    workspace = build(config)

    assert workspace.counter.count == 0
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.resolved.yaml"]
    with pytest.raises(DpError) as caught:
        build(config)
    assert str(caught.value) == (
        f"{tmp_path}/run holds a run already; continue it with `dp-run --resume {tmp_path}/run`, or choose another "
        "output_dir"
    )


def test_a_run_that_is_restored_is_where_it_was(config: Path, tmp_path: Path) -> None:
    start(config)
    workspace = restore(tmp_path / "run")

    assert workspace.counter.count == 1
    assert torch.equal(workspace.model.layer.weight, states(tmp_path / "run")["model"]["layer.weight"])


def test_a_run_without_a_checkpoint_is_restored_to_its_beginning(config: Path, tmp_path: Path) -> None:
    build(config)

    assert restore(tmp_path / "run").counter.count == 0


def test_what_is_removed_on_resume_need_not_be_installed_any_more(config: Path, tmp_path: Path) -> None:
    start(config, ["callbacks={first: note}"])
    resolved = tmp_path / "run" / "config.resolved.yaml"
    resolved.write_text(resolved.read_text().replace("dp-toys/note", "dp-gone/note"))

    assert restore(tmp_path / "run", ["callbacks.first=null"]).callbacks == {}
    # Nor is it an error to resume with the same command again.
    assert restore(tmp_path / "run", ["callbacks.first=null"]).callbacks == {}


def test_values_that_are_pickled_are_loaded_by_who_trusts_them(config: Path, tmp_path: Path) -> None:
    workspace = build(config)
    workspace.best = [0.25]
    workspace.save_checkpoint(use_thread=False)

    with pytest.raises(CheckpointError, match="the values 'best' are pickled"):
        restore(tmp_path / "run")
    assert restore(tmp_path / "run", trust_pickles=True).best == [0.25]


def test_episodes_are_counted_from_one(payload: dict[str, Any], tmp_path: Path) -> None:
    write_payload(tmp_path / "x.ckpt", payload)

    with pytest.raises(InputError) as caught:
        evaluate(tmp_path / "x.ckpt", n_episodes=0)
    assert str(caught.value) == "n_episodes: 0 is less than 1"


def test_what_changes_nothing_is_no_override(payload: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(payload, tmp_path, "size=4", "training.seed=1")
    assert str(caught.value) == (
        "the command line has 2 problems\n"
        "  size: changes nothing, since only 'policy' is built; did you mean 'policy.size'?\n"
        "  training.seed: changes nothing, since only 'policy' is built; leave it out"
    )


def test_one_string_is_no_list_of_overrides(config: Path) -> None:
    with pytest.raises(InputError) as caught:
        start(config, "policy.size=4")
    assert str(caught.value) == "overrides: expected a list, got a string; write ['policy.size=4']"


def test_a_run_continues_where_it_is(config: Path, tmp_path: Path) -> None:
    build(config, [f"output_dir={tmp_path / 'run'}"])

    with pytest.raises(ConfigError) as caught:
        restore(tmp_path / "run", [f"output_dir={tmp_path / 'elsewhere'}"])
    assert str(caught.value) == (
        "the command line has 1 problem\n"
        "  output_dir: a run continues where it is; leave it out, and move the folder if it shall be elsewhere"
    )


def test_a_mistake_is_reported_before_torch_is_imported(tmp_path: Path) -> None:
    program = """
import sys
from dp_core.errors import DpError
from dp_core.runs import resume, start
for function, source in ((start, "quickstart"), (resume, "gone")):
    try:
        function(source, ["training.num_epochs=many"])
    except DpError as error:
        print(error, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "quickstart has 1 problem\n"
        "  training.num_epochs: expected a whole number, got 'many' (from the command line) False\n"
        "gone has 1 problem\n"
        "  not a run directory: there is no config.resolved.yaml in it False\n"
    )
