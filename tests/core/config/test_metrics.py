"""Which metrics a config can name: those that its parts say they measure, and any where one does not say."""

from __future__ import annotations

import pytest

from dp_core import Component, Slot
from dp_core.config.metrics import ANY, better, is_measured, measured_by, ranking_metric, unmeasured
from dp_core.config.schema import WorkspaceConfig
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.registry import Registry
from dp_core.training.options import TrainingOptions
from dp_training.config import TrainConfig

COMPONENT = Component(kind="runner", name="some", target="a:B", config=RolloutOptions, summary="")
LOSSES = ("train_loss", "train_action_mse_error", "lr", "epoch", "global_step")


def slot(config: object) -> Slot:
    return Slot(COMPONENT, config)


def rollouts(**options: int) -> RolloutOptions:
    return RolloutOptions(n_obs_steps=1, n_action_steps=1, max_steps=1, **options)


def train(runner: Slot | None, dataset: object = None) -> TrainConfig:
    anything = slot(dataset)
    return TrainConfig(
        workspace=COMPONENT,
        shape_meta={},
        policy=anything,
        dataset=anything,
        optimizer=anything,
        lr_schedule=anything,
        training=TrainingOptions(num_epochs=1),
        runner=runner,
    )


def test_a_star_stands_for_any_text() -> None:
    assert is_measured("test/sim_max_reward_100", ["lr", "test/sim_max_reward_*"])
    assert not is_measured("test/sim_max_reward_100", ["lr", "test/sim_max_reward"])
    assert is_measured("whatever", ANY)


def test_what_is_not_measured_is_said_with_what_is() -> None:
    assert unmeasured("val_loss", ["val_loss", "lr"]) is None
    assert unmeasured("val_los", ["val_loss", "lr"]) == (
        "'val_los' is not measured with this config, which measures val_loss, lr; did you mean 'val_loss'?"
    )


@pytest.mark.parametrize(
    ("measures", "expected"),
    [
        (ANY, "test/mean_score"),
        (("lr", "val_loss", "test/*"), "test/mean_score"),
        (("train_loss", "val_loss"), "val_loss"),
        (("lr", "train_loss"), "train_loss"),
        (("lr",), None),
    ],
)
def test_the_most_telling_metric_ranks(measures: tuple[str, ...], expected: str | None) -> None:
    assert ranking_metric(measures) == expected


def test_losses_and_errors_are_better_the_smaller_they_are() -> None:
    names = ("train_loss", "train_action_mse_error", "test/mean_score", "epoch")

    assert [better(name) for name in names] == ["min", "min", "max", "max"]


def test_a_workspace_and_a_runner_that_do_not_say_leave_it_open() -> None:
    assert WorkspaceConfig(workspace=COMPONENT).measures == ANY
    assert measured_by(slot(object())) == ANY
    assert measured_by(None) == ()
    assert is_measured("whatever", train(slot(object())).measures)


def test_rollouts_measure_what_their_episodes_are_of() -> None:
    tests, both = rollouts(n_train=0).measures, rollouts().measures

    assert is_measured("test/mean_score", tests)
    assert not is_measured("train/mean_score", tests)
    assert is_measured("train/success_rate_low", both)
    assert is_measured("test/p_1", tests), "what the environment of the task measures is not said"
    assert not is_measured("val_loss", both)


def test_tasks_say_what_their_environments_measure_besides() -> None:
    runners = {component.name: component.config for component in Registry.discover().components("runner")}
    steps = {"n_obs_steps": 1, "n_action_steps": 1}

    kitchen, pusht = (runners[name](**steps).measures for name in ("kitchen", "pusht"))
    assert [name for name in kitchen if name.startswith("test/p_")] == [f"test/p_{n}" for n in range(1, 8)]
    assert unmeasured("test/p_1", pusht)


class WithoutValidation:
    val_ratio = 0.0


def test_training_measures_losses_what_the_runner_does_and_what_can_be_held_out() -> None:
    assert train(None).measures == ("val_loss", *LOSSES)
    assert train(None, WithoutValidation()).measures == LOSSES
    assert train(slot(rollouts())).measures == ("val_loss", *LOSSES, *rollouts().measures)
