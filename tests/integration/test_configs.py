"""The configs that come with the project are valid, and say what they are said to say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dp_core.config import load_config, structure_run, unstructure
from dp_core.config.compose import compose
from dp_core.errors import ConfigError
from dp_core.registry import Registry

CONFIGS = Path(__file__).parents[2] / "configs"
FRAGMENTS = ("base", "policy", "task")
RUNNABLE = sorted(path for path in CONFIGS.rglob("*.yaml") if path.relative_to(CONFIGS).parts[0] not in FRAGMENTS)
TASKS = sorted(path for path in CONFIGS.glob("task/**/*.yaml"))
ROBOMIMIC_TASKS = [path for path in TASKS if re.search(r"robomimic/(lift|can|square|transport|tool_hang)_", str(path))]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.stem)
def test_every_config_is_valid_and_survives_being_resolved(path: Path, registry: Registry) -> None:
    config = load_config(registry, path)

    resolved = unstructure(config)
    assert unstructure(structure_run(registry, resolved, "resolved")) == resolved


def test_a_runner_that_shows_other_observations_than_the_policy_takes_is_refused(registry: Registry) -> None:
    """Or the run would fail at its first rollout, which can be its end."""
    with pytest.raises(ConfigError) as caught:
        load_config(registry, CONFIGS / "quickstart.yaml", ["policy.n_obs_steps=3", "dataset.n_obs_steps=3"])

    assert [str(problem) for problem in caught.value.problems] == [
        "runner.n_obs_steps: 2, but policy.n_obs_steps is 3; set n_obs_steps alone, at the top"
    ]


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_a_task_never_mentions_a_policy(path: Path) -> None:
    assert "policy" not in compose(path, ["horizon=16", "n_obs_steps=2", "n_action_steps=8", "dataset.path=any"])


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


@pytest.mark.parametrize(
    ("name", "batch_size", "num_epochs"),
    [("pusht_lowdim_transformer", 256, 8000), ("pusht_image_transformer_hybrid", 64, 3050)],
)
def test_the_transformer_configs_have_the_paper_s_settings(
    registry: Registry, name: str, batch_size: int, num_epochs: int
) -> None:
    config = unstructure(load_config(registry, CONFIGS / f"{name}.yaml"))

    denoiser, optimizer = config["policy"]["denoiser"], config["optimizer"]
    assert config["policy"]["horizon"] == 16
    assert [denoiser[key] for key in ("n_layer", "n_head", "n_emb", "p_drop_emb", "p_drop_attn")] == [
        8,
        4,
        256,
        0,
        0.01,
    ]
    assert denoiser["causal_attn"]
    assert [optimizer[key] for key in ("lr", "weight_decay", "encoder_weight_decay")] == [1e-4, 0.1, 1e-6]
    assert optimizer["betas"] == [0.9, 0.95]
    assert config["lr_schedule"]["num_warmup_steps"] == 1000
    assert config["dataloader"]["batch_size"] == batch_size
    assert config["training"]["num_epochs"] == num_epochs


@pytest.mark.parametrize("path", ROBOMIMIC_TASKS, ids=lambda path: path.stem)
def test_every_robomimic_task_goes_with_a_policy_that_fits(path: Path, registry: Registry, tmp_path: Path) -> None:
    """With absolute actions and with changes, for which there is no runnable file."""
    encoder = "lowdim" if "lowdim" in path.stem else "robomimic"
    config = tmp_path / "config.yaml"
    extends = [CONFIGS / "base/train.yaml", path, CONFIGS / "policy/diffusion_unet.yaml"]
    config.write_text(
        f"extends: {[str(part) for part in extends]}\npolicy: {{encoder: {encoder}}}\ntraining: {{num_epochs: 1}}\n"
    )

    resolved = unstructure(load_config(registry, config))
    arms = 2 if "transport" in path.stem else 1
    is_absolute = path.stem.endswith("_abs")
    assert resolved["shape_meta"]["action"]["shape"] == [arms * (10 if is_absolute else 7)]
    for part in (resolved["dataset"], resolved["runner"]):
        assert part["abs_action"] == is_absolute
        assert Path(part["path"]).stem.endswith("_abs") == is_absolute


def test_there_is_a_config_for_every_robomimic_number_of_the_paper() -> None:
    rows = [f"{task}_{kind}" for task in ("lift", "can", "square", "transport") for kind in ("ph", "mh")]
    expected = {
        f"{row}_{obs}_{net}.yaml"
        for row in [*rows, "tool_hang_ph"]
        for obs in ("image", "lowdim")
        for net in ("unet", "transformer")
    }

    assert {path.name for path in CONFIGS.glob("robomimic/*.yaml")} == expected


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("robomimic/*.yaml")), ids=lambda path: path.stem)
def test_the_robomimic_configs_have_the_paper_s_settings(path: Path, registry: Registry) -> None:
    config = unstructure(load_config(registry, path))
    policy, runner = config["policy"], config["runner"]
    row = re.fullmatch(r"(\w+)_(ph|mh)_(image|lowdim)_(unet|transformer)", path.stem)
    assert row is not None
    task, kind, obs, net = row.groups()

    assert f"/{task}/{kind}/" in str(config["dataset"]["path"])
    assert runner["path"] == config["dataset"]["path"]
    assert config["dataset"]["abs_action"]
    assert (policy["n_obs_steps"], policy["n_action_steps"]) == (2, 8)
    assert policy["horizon"] == (16 if net == "unet" else 10)
    assert config["dataloader"]["batch_size"] == (64 if obs == "image" else 256)
    assert config["optimizer"]["weight_decay"] == (1e-6 if net == "unet" else 1e-3)
    assert runner["max_steps"] == (700 if task in ("transport", "tool_hang") else 400 if kind == "ph" else 500)
    if obs == "image":
        assert policy["encoder"]["crop_shape"] == ([216, 216] if task == "tool_hang" else [76, 76])
        assert runner["render_obs_key"] in config["shape_meta"]["obs"]
    if net == "unet":
        assert policy["denoiser"]["down_dims"] == [512, 1024, 2048]
    else:
        assert [policy["denoiser"][key] for key in ("n_layer", "n_head", "n_emb", "p_drop_attn")] == [8, 4, 256, 0.3]


def test_a_runner_whose_actions_mean_something_else_than_the_data_set_s_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(registry, CONFIGS / "robomimic/lift_ph_lowdim_unet.yaml", ["runner.abs_action=false"])

    assert [str(problem) for problem in caught.value.problems] == [
        "runner.abs_action: False, but dataset.abs_action is True; choose ${dataset.abs_action} (from the command line)"
    ]
