"""A run from Python: started, ended early, resumed, evaluated, without the command line."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.checkpoint import read_payload
from dp_core.errors import DpError
from dp_core.runs import evaluate, resume, start
from dp_core.testing.fakes import installed, write_distribution
from dp_core.workspace import BaseWorkspace

SHORT = ("training.num_epochs=3", "training.device=cpu")
PLUGIN = """
import attrs
from dp_core import Component, hookimpl, option

DP_API = 1

@attrs.frozen(kw_only=True)
class Options:
    epoch: int = option(help="the last one")
    signal: int | None = option(None, help="to raise instead of asking politely")

@hookimpl
def dp_components():
    yield Component(kind="callback", name="end", target="dp_end.callback:End", config=Options, summary="ends a run")
"""
CALLBACK = """
import signal
from dp_core import hookimpl
from dp_core.interfaces import BaseCallback

class End(BaseCallback):
    def __init__(self, config):
        self.config = config

    @hookimpl
    def dp_before_epoch(self, workspace):
        if workspace.progress.epoch == self.config.epoch:
            if self.config.signal is None:
                workspace.request_stop("enough")
            else:
                signal.raise_signal(self.config.signal)
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path) -> Iterator[None]:
    """A callback ``end`` ends runs early."""
    write_distribution(tmp_path / "site", "dp-end", "1.0", {"end": {"plugin.py": PLUGIN, "callback.py": CALLBACK}})
    with installed(tmp_path / "site"):
        yield


def states(workspace: BaseWorkspace) -> dict[str, Any]:
    return read_payload(workspace.get_checkpoint_path())["state_dicts"]


def assert_ends_as_a_straight_run(workspace: BaseWorkspace, folder: Path) -> None:
    expected = states(start("smoke", [f"output_dir={folder}", *SHORT]))
    found = states(workspace)
    assert found["progress"]["global_step"] == expected["progress"]["global_step"] == 9
    assert all(torch.equal(found["ema_model"][name], value) for name, value in expected["ema_model"].items())


def test_a_run_is_started_stopped_early_resumed_and_evaluated(tmp_path: Path) -> None:
    run = tmp_path / "run"
    stopped = start("smoke", [f"output_dir={run}", *SHORT, "callbacks.end={name: end, epoch: 0}"])
    assert states(stopped)["progress"]["epoch"] == 1

    workspace = resume(run, ["callbacks.end=null"])
    assert states(workspace)["progress"]["epoch"] == 3
    assert_ends_as_a_straight_run(workspace, tmp_path / "straight")

    evaluation = evaluate(workspace.get_checkpoint_path(), n_episodes=3, device="cpu")
    assert evaluation.output_dir == run / "eval_latest"
    assert [key for key in evaluation.metrics if key.startswith("test/sim_max_reward_")] == [
        f"test/sim_max_reward_{seed}" for seed in (100000, 100001, 100002)
    ]
    assert json.loads(evaluation.log.read_text())["test/mean_score"] == evaluation.metrics["test/mean_score"]


def test_an_interruption_is_raised_and_costs_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    interrupting = f"callbacks.end={{name: end, epoch: 1, signal: {signal.SIGTERM.value}}}"

    with pytest.raises(KeyboardInterrupt):
        start("smoke", [f"output_dir={run}", *SHORT, interrupting])
    workspace = resume(run, ["callbacks.end=null"])

    assert_ends_as_a_straight_run(workspace, tmp_path / "straight")


def test_results_go_where_they_are_wanted(tmp_path: Path) -> None:
    workspace = start("smoke", [f"output_dir={tmp_path / 'run'}", *SHORT, "training.num_epochs=1"])
    changed = ["policy.scheduler.num_inference_steps=4", "runner.n_test_vis=0"]

    evaluation = evaluate(workspace.get_checkpoint_path(), changed, n_episodes=1, output_dir=tmp_path / "here")

    assert [path.name for path in (tmp_path / "here").iterdir()] == ["eval_log.json"]
    assert evaluation.log == tmp_path / "here" / "eval_log.json"


def test_the_number_of_episodes_is_that_of_the_runner_that_evaluates(tmp_path: Path) -> None:
    """Also of one that takes the place of another, or of none."""
    options = [f"output_dir={tmp_path / 'run'}", *SHORT, "training.num_epochs=1", "runner=null", "callbacks.topk=null"]
    checkpoint = start("smoke", options).get_checkpoint_path()
    runner = "runner={name: pusht, n_obs_steps: 2, n_action_steps: 8, max_steps: 8, n_test_vis: 0}"

    with pytest.raises(DpError, match="its config names no runner"):
        evaluate(checkpoint, n_episodes=2)
    metrics = evaluate(checkpoint, [runner], n_episodes=2).metrics

    assert sorted(key for key in metrics if "sim_max_reward" in key) == [
        f"test/sim_max_reward_{seed}" for seed in (100000, 100001)
    ]
