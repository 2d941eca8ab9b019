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


def test_a_sampler_of_diffusers_takes_over_the_process_too(checkpoint: Path) -> None:
    sampler = "{name: diffusers, scheduler: UniPCMultistepScheduler, num_inference_steps: 4}"
    policy = load_policy(checkpoint, overrides=[f"policy.scheduler={sampler}"])

    ours = load_policy(checkpoint).scheduler
    times = torch.arange(3)
    given = torch.ones(3, 2, 2), torch.full((3, 2, 2), 0.5), times
    assert torch.equal(policy.scheduler.add_noise(*given), ours.add_noise(*given))
    assert torch.equal(policy.scheduler.target(*given), ours.target(*given))
    assert policy.predict_action({"state": torch.zeros(1, 2, 3)})["action"].isfinite().all()


@pytest.mark.parametrize(
    ("trained", "sampler", "option", "value"),
    [
        (
            "{name: diffusers, scheduler: DDPMScheduler, options: {num_train_timesteps: 30, prediction_type: sample}}",
            "{name: ddim, num_inference_steps: 3}",
            "beta_schedule",
            "linear",  # as diffusers has it where nobody says
        ),
        (
            "{name: flow_matching, timestep_scale: 30.0}",
            "{name: diffusers, scheduler: FlowMatchHeunDiscreteScheduler, num_inference_steps: 3}",
            "options",
            {"num_train_timesteps": 30.0},
        ),
    ],
)
def test_processes_of_diffusers_are_those_of_our_own(
    tiny_config: Path, tmp_path: Path, trained: str, sampler: str, option: str, value: object
) -> None:
    overrides = [f"output_dir={tmp_path / 'run'}", f"policy.scheduler={trained}", "training.num_epochs=1"]
    assert main([str(tiny_config), *overrides]) == 0

    checkpoint = tmp_path / "run" / "checkpoints" / "latest.ckpt"
    policy = load_policy(checkpoint, overrides=[f"policy.scheduler={sampler}"])

    assert getattr(policy.scheduler.config, option) == value
    assert policy.predict_action({"state": torch.zeros(1, 2, 3)})["action"].isfinite().all()


@pytest.mark.parametrize(("name", "process"), [("mean_flow", "mean flow"), ("mip", "two-step regression")])
def test_what_learns_whole_steps_is_sampled_by_itself_alone(
    checkpoint: Path, tiny_config: Path, tmp_path: Path, name: str, process: str
) -> None:
    """Nor can it sample for others: of `mean_flow`, the network would lack the second time, besides."""
    overrides = [f"output_dir={tmp_path / 'other'}", f"policy.scheduler={name}", "training.num_epochs=1"]
    assert main([str(tiny_config), *overrides]) == 0
    other = tmp_path / "other" / "checkpoints" / "latest.ckpt"

    faster = load_policy(other, overrides=["policy.scheduler.num_inference_steps=3"])

    assert faster.predict_action({"state": torch.zeros(1, 2, 3)})["action"].isfinite().all()
    with pytest.raises(ConfigError) as caught:
        load_policy(other, overrides=["policy.scheduler=ddim"])
    assert str(caught.value) == (
        f"{other} has 1 problem\n"
        "  policy.scheduler: 'ddim' reverses the noise process 'variance preserving', but the weights were trained "
        f"with '{name}' for '{process}'; choose '{name}', or train again"
    )
    with pytest.raises(ConfigError, match=f"'{name}' reverses the noise process '{process}', but the weights were"):
        load_policy(checkpoint, overrides=[f"policy.scheduler={name}"])


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
