"""The sampler of a trained policy is exchanged without training again, where the noise process stays the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from dp_core import load_policy
from dp_core.cli.eval import main as evaluate
from dp_core.cli.run import main
from dp_core.errors import ConfigError
from dp_core.runs import restore

TRAINED = "{name: ddpm, num_train_timesteps: 50, prediction_type: sample, clip_sample_range: 2.0}"


@pytest.fixture
def checkpoint(tiny_config: Path, tmp_path: Path) -> Path:
    """Of a policy trained for a process that is not the default."""
    overrides = [f"output_dir={tmp_path / 'run'}", f"policy.scheduler={TRAINED}", "training.num_epochs=1"]
    assert main([str(tiny_config), *overrides]) == 0
    return tmp_path / "run" / "checkpoints" / "latest.ckpt"


@pytest.mark.parametrize("name", ["ddim", "dpm_solver"])
def test_another_sampler_takes_over_the_process_it_was_trained_for(checkpoint: Path, name: str) -> None:
    policy = load_policy(checkpoint, overrides=[f"policy.scheduler={{name: {name}, num_inference_steps: 4}}"])

    options = policy.scheduler.config
    assert (options.num_train_timesteps, options.prediction_type, options.clip_sample_range) == (50, "sample", 2.0)
    assert options.num_inference_steps == 4
    assert policy.predict_action({"state": torch.zeros(1, 2, 3)})["action"].isfinite().all()


def test_the_short_form_and_single_options_do_as_well(checkpoint: Path) -> None:
    named = load_policy(checkpoint, overrides=["policy.scheduler=ddim"]).scheduler
    faster = load_policy(checkpoint, overrides=["policy.scheduler.num_inference_steps=7"]).scheduler

    assert named.config.prediction_type == "sample"
    assert (type(faster).__name__, faster.num_inference_steps) == ("DDPM", 7)


def test_another_process_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_policy(checkpoint, overrides=["policy.scheduler=flow_matching"])

    assert str(caught.value) == (
        f"{checkpoint} has 1 problem\n"
        "  policy.scheduler: 'flow_matching' reverses the noise process 'rectified flow', but the weights were trained "
        "with 'ddpm' for 'variance preserving'; choose 'ddim', 'ddpm' or 'dpm_solver', or train again"
    )


def test_another_process_is_refused_on_resume_whatever_the_file_of_the_run_says(
    tiny_config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main([str(tiny_config), f"output_dir={run}", "training.num_epochs=1"]) == 0
    file = run / "config.resolved.yaml"
    edited = yaml.safe_load(file.read_text())
    edited["policy"]["scheduler"] = {"name": "flow_matching"}
    del edited["manifest"]
    file.write_text(yaml.safe_dump(edited))

    with pytest.raises(ConfigError) as caught:
        restore(run, ["training.num_epochs=2"])

    assert str(caught.value) == (
        f"{file} has 1 problem\n"
        "  policy.scheduler: 'flow_matching' reverses the noise process 'rectified flow', but the weights were trained "
        "with 'ddim' for 'variance preserving'; choose 'ddim', 'ddpm' or 'dpm_solver', or train again"
    )
    assert yaml.safe_load(file.read_text()) == edited


def test_another_prediction_is_refused_on_the_command_line(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    assert evaluate([str(checkpoint), "policy.scheduler={name: ddim, prediction_type: epsilon}"]) == 2
    assert capsys.readouterr().err == (
        f"dp-eval: error: {checkpoint} has 1 problem\n"
        "  policy.scheduler.prediction_type: 'epsilon', but the weights were trained with 'sample'; leave it out, "
        "or train again\n"
    )


def test_a_run_that_goes_on_keeps_its_process_as_well(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = checkpoint.parents[1]
    capsys.readouterr()

    assert main(["--resume", str(run), "training.num_epochs=2", "policy.scheduler=flow_matching"]) == 2
    assert capsys.readouterr().err == (
        f"dp-run: error: {run / 'config.resolved.yaml'} has 1 problem\n"
        "  policy.scheduler: 'flow_matching' reverses the noise process 'rectified flow', but the weights were trained "
        "with 'ddpm' for 'variance preserving'; choose 'ddim', 'ddpm' or 'dpm_solver', or train again\n"
    )
    assert main(["--resume", str(run), "training.num_epochs=2", "policy.scheduler=ddim"]) == 0
    assert load_policy(checkpoint).scheduler.config.prediction_type == "sample"
