"""The end of an epoch: a last batch that is smaller, down to one window, on which batch normalisation cannot train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from dp_core.checkpoint import read_payload
from dp_core.cli.run import main
from dp_core.errors import DataError
from dp_core.registry import Registry
from dp_core.run_config import load_config

IMAGES = [
    "n_obs_steps=1",
    "policy.n_obs_steps=1",
    "dataset.n_obs_steps=1",
    "dataset.val_ratio=0",
    "policy.encoder={name: multi_image, rgb_model: resnet18, use_group_norm: false}",
    "callbacks.topk=null",
]
TWO_STEPS = ["n_obs_steps=2", "policy.n_obs_steps=2", "dataset.n_obs_steps=2"]


@pytest.fixture
def image_config(tiny_config: Path) -> Path:
    """A task with images: 2 episodes of 17 steps, 26 windows; 28 with two observation steps."""
    generator = np.random.default_rng(0)
    path = tiny_config.with_name("image.zarr")
    root = zarr.open_group(path, mode="w")
    data, meta = root.create_group("data"), root.create_group("meta")
    data["image"] = generator.integers(0, 256, (34, 32, 32, 3), dtype=np.uint8)
    data["action"] = generator.normal(size=(34, 2)).astype(np.float32)
    meta["episode_ends"] = np.array([17, 34])
    text = tiny_config.read_text().replace(
        "state: {shape: [3], type: low_dim}", "image: {shape: [3, 32, 32], type: rgb}"
    )
    tiny_config.write_text(text.replace("tiny.zarr", "image.zarr"))
    return tiny_config


def workspace_for(config: Path, *overrides: str) -> Any:
    cfg = load_config(Registry.discover(), config, [f"output_dir={config.parent / 'run'}", *overrides])
    return cfg.workspace.load()(cfg)


def states_of(folder: Path) -> dict[str, Any]:
    return read_payload(folder / "checkpoints" / "latest.ckpt")["state_dicts"]


def test_one_window_that_a_policy_cannot_be_trained_on_is_noticed_before_it_is_trained(image_config: Path) -> None:
    workspace = workspace_for(image_config, *IMAGES, "dataloader.batch_size=5")

    with pytest.raises(DataError) as error:
        workspace.run()

    assert str(error.value) == (
        "dataloader.batch_size: 26 windows in batches of 5 leave a batch of one window, on which this policy cannot be "
        "trained (Expected more than 1 value per channel when training, got input size torch.Size([1, 512, 1, 1])); "
        "set dataloader.drop_last=true or dataloader.batch_size=4"
    )
    assert workspace.progress.global_step == 0


@pytest.mark.parametrize(
    "changes",
    [
        ["dataloader.batch_size=5", "dataloader.drop_last=true"],
        ["dataloader.batch_size=4"],
        ["dataloader.batch_size=5", "training.max_train_steps=5"],
        ["dataloader.batch_size=5", "policy.encoder.use_group_norm=true"],
        # Two images have statistics, also those of one window.
        ["dataloader.batch_size=9", *TWO_STEPS],
        ["dataloader.batch_size=9", *TWO_STEPS, "ema=null"],
    ],
)
def test_what_can_be_trained_is_not_refused(changes: list[str], image_config: Path) -> None:
    workspace = workspace_for(image_config, *IMAGES, *changes)
    before = {name: value.clone() for name, value in workspace.model.state_dict().items() if "normalizer" not in name}

    workspace.setup()

    after = workspace.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in workspace.model.parameters())


@pytest.mark.parametrize(
    ("batch_size", "remedy"),
    [
        (1, "set dataloader.batch_size=2"),
        (25, "set dataloader.drop_last=true or dataloader.batch_size=24"),
    ],
)
def test_the_advice_is_what_helps(batch_size: int, remedy: str, image_config: Path) -> None:
    workspace = workspace_for(image_config, *IMAGES, f"dataloader.batch_size={batch_size}")

    with pytest.raises(DataError) as error:
        workspace.setup()

    assert str(error.value).endswith(f"; {remedy}")


def test_a_smaller_last_batch_can_be_left_out(tiny_config: Path, tmp_path: Path) -> None:
    common = ["dataset.val_ratio=0", "callbacks.topk=null", "training.num_epochs=2"]
    for name, option in (("all", "false"), ("full", "true")):
        arguments = [f"output_dir={tmp_path / name}", f"dataloader.drop_last={option}", *common]
        assert main([str(tiny_config), *arguments]) == 0

    steps = [states_of(tmp_path / name)["progress"]["global_step"] for name in ("all", "full")]
    assert steps == [2 * 11, 2 * 10]  # 85 windows in batches of 8


def test_data_that_are_less_than_a_batch_cannot_all_be_left_out(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["dataloader.drop_last=true", "dataloader.batch_size=86", "dataset.val_ratio=0", "callbacks.topk=null"]

    assert main([str(tiny_config), f"output_dir={tmp_path / 'run'}", *options]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "dp-run: error: dataloader.drop_last: the 85 windows are less than a batch of 86, so that nothing is left to "
        "train on; set dataloader.batch_size=85 or less, or leave drop_last out"
    )


def test_validation_leaves_nothing_out(tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_config), "--check", "val_dataloader.drop_last=true"]) == 2
    assert "val_dataloader.drop_last" in capsys.readouterr().err


def test_the_average_follows_the_statistics_of_batch_normalisation(image_config: Path, tmp_path: Path) -> None:
    options = ["dataloader.batch_size=13", "training.num_epochs=2"]
    assert main([str(image_config), f"output_dir={tmp_path / 'run'}", *IMAGES, *options]) == 0

    states = states_of(tmp_path / "run")
    moved = [name for name, value in states["model"].items() if "running_mean" in name and value.any()]
    assert len(moved) == 20
    assert all(torch.equal(states["ema_model"][name], states["model"][name]) for name in moved)


def test_an_average_that_keeps_its_first_statistics_is_mentioned(
    image_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace_for(image_config, *IMAGES, "dataloader.batch_size=13", "ema.buffers=keep").setup()

    assert (
        "ema.buffers: with 'keep', the average, which is the policy that acts, never gets the statistics of 20 layers "
        "of batch normalisation; set ema.buffers=copy unless you want the original's numbers"
    ) in caplog.messages


def test_an_average_that_an_earlier_version_left_with_its_first_statistics_is_mentioned(
    image_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = workspace_for(image_config, *IMAGES, "dataloader.batch_size=13")
    path = workspace.save_checkpoint(use_thread=False)
    payload = dict(read_payload(path))
    del payload["cfg"]["ema"]["buffers"]

    workspace.load_payload(payload)

    assert caplog.messages == [
        "this checkpoint's average, which is the policy that acts, has the first statistics of 20 layers of batch "
        "normalisation: its version never copied them; act with it after one more epoch, see ema.buffers"
    ]
