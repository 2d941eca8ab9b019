"""`dp-eval`: a policy is rebuilt from its checkpoint alone and evaluated, with another sampler if asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dp_core.cli.eval import main as dp_eval
from dp_core.cli.run import main as dp_run

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.yaml"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a smoke run whose directory is gone."""
    folder = tmp_path_factory.mktemp("smoke")
    assert dp_run([str(SMOKE), f"output_dir={folder / 'run'}", "runner.n_test_vis=0", "training.num_epochs=1"]) == 0
    path = folder / "alone.ckpt"
    shutil.move(folder / "run" / "checkpoints" / "latest.ckpt", path)
    shutil.rmtree(folder / "run")
    return path


def test_evaluation_needs_only_the_file(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_eval([str(checkpoint), "--episodes", "3", "--output", str(tmp_path), "runner.n_test_vis=1"]) == 0

    printed = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    log = json.loads((tmp_path / "eval_log.json").read_text())
    assert printed == ["mean score", "success rate", "time", "log", "videos"]
    assert [key for key in log if key.startswith("test/sim_max_reward_")] == [
        f"test/sim_max_reward_{seed}" for seed in (100000, 100001, 100002)
    ]
    assert not [key for key in log if key.startswith("train/")]
    assert Path(log["test/sim_video_100000"]).stat().st_size > 1000


@pytest.mark.parametrize(("folder", "output"), [("run/checkpoints", "run"), ("copied", "copied")])
def test_results_go_into_the_run_directory_or_beside_a_copy_and_replace_none(
    folder: str, output: str, checkpoint: Path, tmp_path: Path
) -> None:
    copied = tmp_path / folder / "best.ckpt"
    copied.parent.mkdir(parents=True)
    shutil.copy(checkpoint, copied)

    assert dp_eval([str(copied), "--episodes", "1"]) == 0
    assert (tmp_path / output / "eval_best" / "eval_log.json").is_file()

    assert dp_eval([str(copied), "--episodes", "2"]) == 0
    logs = [
        json.loads((tmp_path / output / name / "eval_log.json").read_text()) for name in ("eval_best", "eval_best_2")
    ]
    assert [sum(key.startswith("test/sim_max_reward") for key in log) for log in logs] == [1, 2]


def test_equal_evaluations_give_equal_scores(checkpoint: Path, tmp_path: Path) -> None:
    scores = []
    for name in ("first", "again"):
        arguments = [str(checkpoint), "--episodes", "3", "--output", str(tmp_path / name)]
        assert dp_eval(arguments) == 0
        scores.append(json.loads((tmp_path / name / "eval_log.json").read_text())["test/mean_score"])

    assert len(set(scores)) == 1


@pytest.mark.parametrize(
    "override",
    [
        "policy.scheduler={name: ddpm, num_inference_steps: 3}",
        "policy.scheduler.num_inference_steps=4",
        "runner.n_envs=1",
    ],
)
def test_sampler_steps_and_environments_can_be_changed(checkpoint: Path, tmp_path: Path, override: str) -> None:
    assert dp_eval([str(checkpoint), "--episodes", "2", "--output", str(tmp_path), override]) == 0


def test_a_run_directory_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_eval([str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"dp-eval: error: {tmp_path}: is a folder; give a file, such as {tmp_path}/checkpoints/latest.ckpt\n"
    )


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("policy.n_action_steps=3", "runner.n_action_steps: 8, but policy.n_action_steps is 3"),
        ("runner.n_action_steps=9", "runner.n_action_steps: 9, but policy.n_action_steps is 8"),
        ("runner.n_obs_steps=1", "runner.n_obs_steps: 1, but policy.n_obs_steps is 2"),
    ],
)
def test_a_runner_that_does_not_fit_the_policy_is_refused_before_it_starts(
    override: str, problem: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _, steps = problem.removeprefix("runner.").partition(":")
    expected = f"{problem}; add runner.{name}={steps.split()[-1]}"

    assert dp_eval([str(checkpoint), override]) == 2
    assert capsys.readouterr().err == f"dp-eval: error: {checkpoint} has 1 problem\n  {expected}\n"


def test_fewer_actions_are_executed_as_the_message_says(checkpoint: Path, tmp_path: Path) -> None:
    overrides = ["policy.n_action_steps=3", "runner.n_action_steps=3"]

    assert dp_eval([str(checkpoint), "--episodes", "1", "--output", str(tmp_path), *overrides]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--episodes", "0"], "the command line has 1 problem\n  --episodes: 0 is less than 1"),
        (["--device", "tpu9"], "--device: 'tpu9' is not a device; use 'auto', 'cpu' or 'cuda:0'"),
        (
            ["n_envs=1", "training={num_epochs: 3, seed: 1}", "policy.n_action_steps=8"],
            "the command line has 3 problems\n"
            "  n_envs: changes nothing, since only 'policy' and 'runner' are built; did you mean 'runner.n_envs'?\n"
            "  training.num_epochs: changes nothing, since only 'policy' and 'runner' are built; leave it out\n"
            "  training.seed: changes nothing, since only 'policy' and 'runner' are built; leave it out",
        ),
        (
            ["runner=null", "--episodes", "2"],
            "{checkpoint}: its config names no runner; add one, for example 'runner={{name: pusht, n_obs_steps: 2, "
            "n_action_steps: 8}}'",
        ),
    ],
)
def test_mistake_is_one_message(
    arguments: list[str], message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dp_eval([str(checkpoint), *arguments]) == 2
    assert capsys.readouterr().err == f"dp-eval: error: {message.format(checkpoint=checkpoint)}\n"


def test_a_checkpoint_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_eval([]) == 2
    assert capsys.readouterr().err.endswith(
        "dp-eval: error: which checkpoint? try: dp-eval runs/.../checkpoints/latest.ckpt\n"
    )


@pytest.mark.parametrize(
    "overrides", [["runner={name: pusht, n_obs_steps: 2, n_action_steps: 8, max_steps: 8}"], ["runner.n_test=5"]]
)
def test_as_many_episodes_are_run_as_were_asked_for_in_whatever_runner(
    overrides: list[str], checkpoint: Path, tmp_path: Path
) -> None:
    assert dp_eval([str(checkpoint), "--episodes", "1", "--output", str(tmp_path), *overrides]) == 0

    log = json.loads((tmp_path / "eval_log.json").read_text())
    assert [key for key in log if "sim_max_reward" in key] == ["test/sim_max_reward_100000"]


def scores_of(record: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in record.items() if key.startswith(("test/", "train/")) and "video" not in key}


@pytest.mark.slow
def test_an_episode_scores_the_same_in_the_run_and_in_any_later_evaluation(tmp_path: Path) -> None:
    """Long enough for the agent to push the block about; the policy hardly knows anything, so noise decides."""
    episodes = ["runner.n_train=2", "runner.n_test=18", "runner.n_test_vis=0", "runner.max_steps=60"]
    options = [*episodes, "runner.n_envs=4", "runner.batch_invariant=true", "training.num_epochs=1"]
    assert dp_run([str(SMOKE), f"output_dir={tmp_path / 'run'}", *options]) == 0
    checkpoint = str(tmp_path / "run" / "checkpoints" / "latest.ckpt")
    [epoch] = [
        record
        for line in (tmp_path / "run" / "logs.json.txt").read_text().splitlines()
        if "test/mean_score" in (record := json.loads(line))
    ]
    expected = scores_of(epoch)

    def evaluated(name: str, *arguments: str) -> dict[str, float]:
        assert dp_eval([checkpoint, "--output", str(tmp_path / name), *arguments]) == 0
        return scores_of(json.loads((tmp_path / name / "eval_log.json").read_text()))

    assert len(set(expected.values())) > 15
    assert evaluated("alone", "runner.n_envs=1") == expected
    assert evaluated("many", "runner.n_envs=16", "runner.num_workers=2") == expected
    assert evaluated("all", "runner.n_envs=null") == expected
    few = evaluated("few", "--episodes", "5")
    assert {key: few[key] for key in few if "sim_max_reward" in key}.items() <= expected.items()
    assert evaluated("other noise", "runner.seed=1") != expected
