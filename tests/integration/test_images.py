"""Image policies through the command line: each encoder is swapped in by one word, and the published data reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dp_core import load_policy
from dp_core.cli.run import main
from dp_pusht.demonstrations import Demonstration, load_demonstrations, save_demonstrations

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = [
    "policy.denoiser={name: unet1d, down_dims: [16, 32], diffusion_step_embed_dim: 16, kernel_size: 3, n_groups: 4}",
    "policy.scheduler={name: ddim, num_inference_steps: 2}",
    "dataloader.batch_size=4",
    "training.debug=true",
    "training.device=cpu",
]


@pytest.fixture(scope="module")
def two_episodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two demonstrations of the project, whose frames are drawn in a moment."""
    shipped = load_demonstrations()
    first, second = shipped["episode_ends"][:2]
    path = tmp_path_factory.mktemp("data") / "two.npz"
    save_demonstrations(
        path,
        [
            Demonstration(shipped["state"][start:end].astype(float), shipped["action"][start:end].astype(float))
            for start, end in ((0, first), (first, second))
        ],
    )
    return path


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize(
    ("encoder", "feature_dim"),
    [
        ("cnn", 66),
        ("{name: robomimic, crop_shape: [84, 84], obs_encoder_group_norm: true}", 66),
        ("{name: timm, model_name: resnet18}", 514),
        ("{name: timm, model_name: test_vit, crop_shape: [80, 80]}", 66),
    ],
)
def test_an_encoder_is_swapped_by_one_word(encoder: str, feature_dim: int, two_episodes: Path, tmp_path: Path) -> None:
    arguments = [f"policy.encoder={encoder}", f"dataset.path={two_episodes}", "dataset.val_ratio=0.5", *SMALL]

    assert main([str(CONFIGS / "quickstart_image.yaml"), f"output_dir={tmp_path / 'run'}", *arguments]) == 0
    policy = load_policy(tmp_path / "run" / "checkpoints" / "latest.ckpt")
    obs = {
        "image": torch.randint(0, 256, (1, 2, 3, 96, 96), dtype=torch.uint8),
        "agent_pos": torch.full((1, 2, 2), 256.0),
    }
    one, other = (policy.predict_action(obs, torch.Generator().manual_seed(0))["action"] for _ in range(2))
    assert policy.obs_encoder.output_dim == feature_dim
    assert one.shape == (1, 8, 2)
    assert torch.equal(one, other)


@pytest.mark.slow
def test_the_paper_s_config_runs_on_the_published_data(pusht_archive: Path, tmp_path: Path) -> None:
    """With a small U-Net; the full one is a matter of minutes."""
    arguments = [f"dataset.path={pusht_archive}", f"output_dir={tmp_path / 'run'}", *SMALL]

    assert main([str(CONFIGS / "pusht_image_unet_hybrid.yaml"), *arguments]) == 0
    assert (tmp_path / "run" / "checkpoints" / "latest.ckpt").is_file()
