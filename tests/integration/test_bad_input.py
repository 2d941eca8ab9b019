"""What a user can get wrong: each time one clear message, status 2, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.checkpoint import read_payload, write_payload
from dp_core.cli.eval import main as dp_eval
from dp_core.cli.run import main as dp_run


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "dataset.path=nowhere.zarr",
            "dataset.path: 'nowhere.zarr' does not exist; give the path of a zarr replay buffer, a folder or a .zip",
        ),
        (
            "policy.denoiser.down_dims=[8, 16, 16, 16, 16]",
            "policy.denoiser.down_dims: horizon 8 is not divisible by 16, which the 5 levels of down_dims need; "
            "choose 16 (from the command line)",
        ),
        (
            "policy.encoder=lodim",
            "policy.encoder.name: unknown encoder 'lodim'; did you mean 'lowdim'? (from the command line)",
        ),
        (
            "training.num_epoch=3",
            "training.num_epoch: unknown option; did you mean 'num_epochs'? (from the command line)",
        ),
        (
            "training.num_epochs=many",
            "training.num_epochs: expected a whole number, got 'many' (from the command line)",
        ),
    ],
    ids=["missing data path", "horizon", "unknown component", "unknown option", "wrong type"],
)
def test_mistake_in_a_config_is_one_line(
    override: str, message: str, tiny_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dp_run([str(tiny_config), override]) == 2
    assert capsys.readouterr().err == f"dp-run: error: {tiny_config} has 1 problem\n  {message}\n"


def test_crop_larger_than_the_image(tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [
        "shape_meta={obs: {image: {shape: [3, 96, 96], type: rgb}}, action: {shape: [2]}}",
        "policy.encoder={name: robomimic, crop_shape: [128, 128]}",
    ]

    assert dp_run([str(tiny_config), *overrides]) == 2
    assert (
        "policy.encoder.crop_shape: [128, 128] is larger than the image (96, 96) of 'image'; choose at most 96 x 96"
        in capsys.readouterr().err
    )


def test_data_without_a_key_of_shape_meta(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["shape_meta.obs.gripper={shape: [1], type: low_dim}", f"output_dir={tmp_path / 'run'}"]

    assert dp_run([str(tiny_config), *overrides]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"dp-run: error: {tmp_path}/tiny.zarr: has no 'gripper'; choose from 'action', 'state'"
    )


def test_checkpoint_cut_in_half(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_run([str(tiny_config), f"output_dir={tmp_path / 'run'}", "training.num_epochs=1"]) == 0
    path = tmp_path / "run" / "checkpoints" / "latest.ckpt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    capsys.readouterr()

    expected = f"{path}: incomplete or damaged, or not a checkpoint; use another file\n"
    assert dp_eval([str(path)]) == 2
    assert capsys.readouterr().err == f"dp-eval: error: {expected}"
    assert dp_run(["--resume", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == f"dp-run: error: {expected}"


def test_checkpoint_of_a_plugin_that_is_not_here(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dp_run([str(tiny_config), f"output_dir={tmp_path / 'run'}", "training.num_epochs=1"]) == 0
    path = tmp_path / "run" / "checkpoints" / "latest.ckpt"
    payload = read_payload(path)
    payload["cfg"]["policy"]["encoder"]["name"] = "dp-depth/depth"
    payload["manifest"]["components"]["policy.encoder"] = "dp-depth/depth"
    payload["manifest"]["distributions"]["dp-depth"] = "0.3.1"
    write_payload(path, payload)
    capsys.readouterr()

    assert dp_eval([str(path), "runner={name: pusht, n_obs_steps: 2, n_action_steps: 4}"]) == 2
    assert capsys.readouterr().err == (
        f"dp-eval: error: {path}: made with components that are not available here\n"
        "  policy.encoder: dp-depth/depth: dp-depth is not installed; install with: pip install dp-depth==0.3.1\n"
    )


def test_config_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_run([str(tmp_path / "no.yaml")]) == 2
    assert capsys.readouterr().err == f"dp-run: error: {tmp_path}/no.yaml has 1 problem\n  no such file\n"


def test_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_run(["--resume", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"dp-run: error: {tmp_path} has 1 problem\n  not a run directory: there is no config.resolved.yaml in it\n"
    )


def test_evaluation_without_a_runner(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_run([str(tiny_config), f"output_dir={tmp_path / 'run'}", "training.num_epochs=1"]) == 0
    path = tmp_path / "run" / "checkpoints" / "latest.ckpt"
    capsys.readouterr()

    assert dp_eval([str(path)]) == 2
    assert capsys.readouterr().err == (
        f"dp-eval: error: {path}: its config names no runner; add one, for example "
        "'runner={name: pusht, n_obs_steps: 2, n_action_steps: 4}'\n"
    )
