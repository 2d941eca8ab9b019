"""The configs that come with the project are valid, and say what they are said to say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dp_core.config import structure_run, unstructure
from dp_core.config.compose import compose
from dp_core.errors import ConfigError
from dp_core.registry import Registry
from dp_core.run_config import load_config

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


def test_a_runner_whose_actions_mean_something_else_than_the_data_set_s_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(registry, CONFIGS / "robomimic/lift_ph_lowdim_unet.yaml", ["runner.abs_action=false"])

    assert [str(problem) for problem in caught.value.problems] == [
        "runner.abs_action: False, but dataset.abs_action is True; choose ${dataset.abs_action} (from the command line)"
    ]
