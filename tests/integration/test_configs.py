"""The configs that come with the project are valid, and say what they are said to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.config import load_config, structure_run, unstructure
from dp_core.config.compose import compose
from dp_core.registry import Registry

CONFIGS = Path(__file__).parents[2] / "configs"
RUNNABLE = sorted(CONFIGS.glob("*.yaml"))


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.stem)
def test_every_config_is_valid_and_survives_being_resolved(path: Path, registry: Registry) -> None:
    config = load_config(registry, path)

    resolved = unstructure(config)
    assert unstructure(structure_run(registry, resolved, "resolved")) == resolved


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("task/*.yaml")), ids=lambda path: path.stem)
def test_a_task_never_mentions_a_policy(path: Path) -> None:
    assert "policy" not in compose(path, ["horizon=16", "n_obs_steps=2", "n_action_steps=8"])


def test_the_paper_s_image_config_has_the_paper_s_settings(registry: Registry) -> None:
    config = unstructure(load_config(registry, CONFIGS / "pusht_image_unet_hybrid.yaml"))

    policy, training = config["policy"], config["training"]
    assert (policy["horizon"], policy["n_obs_steps"], policy["n_action_steps"]) == (16, 2, 8)
    assert policy["encoder"]["name"] == "dp-core/robomimic"
    assert policy["encoder"]["crop_shape"] == [84, 84]
    assert policy["denoiser"]["down_dims"] == [512, 1024, 2048]
    assert policy["scheduler"]["name"] == "dp-core/ddpm"
    assert policy["scheduler"]["num_inference_steps"] == 100
    assert config["dataloader"]["batch_size"] == 64
    assert (training["num_epochs"], training["rollout_every"], training["checkpoint_every"]) == (3050, 50, 50)
    assert config["optimizer"]["betas"] == [0.95, 0.999]
    assert config["dataset"]["max_train_episodes"] == 90
    assert (config["runner"]["n_train"], config["runner"]["n_test"]) == (6, 50)


def test_the_paper_s_low_dim_config_has_the_original_s_settings(registry: Registry) -> None:
    config = unstructure(load_config(registry, CONFIGS / "pusht_lowdim_unet.yaml"))

    assert config["policy"]["denoiser"]["down_dims"] == [256, 512, 1024]
    assert config["policy"]["denoiser"]["diffusion_step_embed_dim"] == 256
    assert config["dataloader"]["batch_size"] == 256
    assert config["training"]["num_epochs"] == 5000
