"""The presets of the paper's multi-stage tasks (Table 4) have the paper's settings, and their numbers of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dp_core.config import unstructure
from dp_core.registry import Registry
from dp_core.run_config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


def resolved(registry: Registry, name: str) -> dict[str, Any]:
    return unstructure(load_config(registry, CONFIGS / f"{name}.yaml"))


@pytest.mark.parametrize(
    ("name", "n_parameters"), [("kitchen_lowdim_transformer", 80_415_753), ("blockpush_lowdim_transformer", 8_961_538)]
)
def test_transformers_are_as_large_as_the_original_s(registry: Registry, name: str, n_parameters: int) -> None:
    config = load_config(registry, CONFIGS / f"{name}.yaml")
    meta, policy = config.shape_meta, config.policy.config
    denoiser = policy.denoiser.build(
        input_dim=meta["action"]["shape"][0],
        horizon=policy.horizon,
        n_obs_steps=policy.n_obs_steps,
        global_cond_dim=meta["obs"]["obs"]["shape"][0] * policy.n_obs_steps,
        local_cond_dim=None,
    )

    assert sum(parameter.numel() for parameter in denoiser.parameters()) == n_parameters


@pytest.mark.parametrize("task", ["kitchen_lowdim", "blockpush_lowdim"])
@pytest.mark.parametrize("is_absolute", [False, True])
def test_actions_are_of_one_kind_in_data_and_evaluation(
    registry: Registry, task: str, is_absolute: bool, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    parts = [CONFIGS / "policy/paper_lowdim_unet.yaml", CONFIGS / f"task/{task}{'_abs' * is_absolute}.yaml"]
    config.write_text(f"extends: {[str(part) for part in parts]}\n")
    options = unstructure(load_config(registry, config))

    assert options["runner"]["abs_action"] == is_absolute
    if task == "kitchen_lowdim":
        assert options["dataset"]["abs_action"] == is_absolute
        assert options["dataset"]["path"] == ("data/kitchen/kitchen_demos_multitask" if is_absolute else "data/kitchen")
    else:
        assert options["dataset"]["path"].endswith("_abs.zarr" if is_absolute else "seed.zarr")
