"""Evaluation in robosuite, where it is installed, on a file recorded here with random actions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_core.errors import DataError, InputError
from dp_core.interfaces import BasePolicy
from dp_core.kit.rollout.environment import Start
from dp_robomimic.config import RobomimicRunnerConfig

robosuite = pytest.importorskip("robosuite", reason="pip install 'dp-core[robosuite]'")
h5py = pytest.importorskip("h5py")

from dp_robomimic.environment import RobosuiteEnvironment  # noqa: E402
from dp_robomimic.runner import RobomimicRunner  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

OBS_KEYS = ["object", "robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"]
N_DEMONSTRATIONS = 2


def env_args() -> dict[str, Any]:
    """As in the published files of Lift."""
    controller = robosuite.load_controller_config(default_controller="OSC_POSE")
    return {
        "env_name": "Lift",
        "env_version": robosuite.__version__,
        "type": 1,
        "env_kwargs": {
            "has_renderer": False,
            "has_offscreen_renderer": False,
            "ignore_done": True,
            "use_object_obs": True,
            "use_camera_obs": False,
            "control_freq": 20,
            "controller_configs": controller,
            "robots": ["Panda"],
            "camera_depths": False,
            "camera_heights": 84,
            "camera_widths": 84,
            "reward_shaping": False,
        },
    }


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lift") / "low_dim.hdf5"
    args = env_args()
    environment = robosuite.make("Lift", **args["env_kwargs"])
    with h5py.File(path, "w") as file:
        for number in range(N_DEMONSTRATIONS):
            environment.reset()
            states = [environment.sim.get_state().flatten()]
            file[f"data/demo_{number}/states"] = np.array(states)
            file[f"data/demo_{number}/actions"] = np.zeros((1, 7))
        file["data"].attrs["env_args"] = json.dumps(args)
    environment.close()
    return path


def runner(path: Path, output_dir: Path, action_size: int = 7, images: int = 0, **options: Any) -> RobomimicRunner:
    chosen: dict[str, Any] = {"n_train": 1, "n_train_vis": 0, "n_test": 1, "n_test_vis": 0, "max_steps": 3}
    obs: dict[str, Any] = {"obs": {"shape": [19]}}
    if images:
        obs = {"agentview_image": {"shape": [3, images, images], "type": "rgb"}, "robot0_eef_pos": {"shape": [3]}}
    else:
        chosen["obs_keys"] = OBS_KEYS
    config = RobomimicRunnerConfig(path=path, n_obs_steps=2, n_action_steps=2, **chosen | options)
    shape_meta = {"obs": obs, "action": {"shape": [action_size]}}
    return RobomimicRunner(config, shape_meta=shape_meta, output_dir=output_dir)


class FixedPolicy(BasePolicy):
    """Always does the same, and remembers what it was shown."""

    def __init__(self, action: list[float]) -> None:
        super().__init__()
        self.action = torch.tensor(action)
        self.seen: list[dict[str, torch.Tensor]] = []

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.zeros(())

    def predict_action(
        self, obs: dict[str, torch.Tensor], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        self.seen.append(obs)
        action = self.action.expand(len(next(iter(obs.values()))), 2, -1)
        return {"action": action, "action_pred": action}


STILL = [0.0] * 6 + [-1.0]


def environment(path: Path, **options: Any) -> RobosuiteEnvironment:
    made = runner(path, path.parent, **options)._episode_options.make_environment()
    assert isinstance(made, RobosuiteEnvironment)
    return made


def test_an_evaluation_starts_where_demonstrations_and_seeds_say(path: Path, tmp_path: Path) -> None:
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    policy = FixedPolicy(STILL)
    evaluation = runner(path, tmp_path, n_train=2)
    metrics = evaluation.run(policy)
    again = FixedPolicy(STILL)
    repeated = evaluation.run(again)
    evaluation.close()

    assert [name for name in metrics if "sim_max_reward" in name] == [
        "train/sim_max_reward_0",
        "train/sim_max_reward_1",
        "test/sim_max_reward_100000",
    ]
    assert metrics["test/mean_score"] == 0.0
    assert policy.seen[0]["obs"].shape == (3, 2, 19)
    # A second run in environments that were used before begins as the first did.
    np.testing.assert_allclose(again.seen[0]["obs"], policy.seen[0]["obs"], atol=1e-6)
    assert {k: v for k, v in repeated.items() if "seconds" not in k} == {
        k: v for k, v in metrics.items() if "seconds" not in k
    }
    assert (np.random.get_state()[1] == before).all()
    with h5py.File(path) as file:
        first = environment(path)
        for number in range(N_DEMONSTRATIONS):
            state = file[f"data/demo_{number}/states"][0]
            first.reset(Start("train", number, state=state))
            np.testing.assert_allclose(first._simulation._env.sim.get_state().flatten()[1:], state[1:], atol=1e-12)
            np.testing.assert_allclose(first.observe()["obs"], policy.seen[0]["obs"][number, -1], atol=1e-5)
        first.close()


@pytest.mark.parametrize(
    ("name", "size", "n_arms"),
    [("PickPlaceCan", 23, 1), ("NutAssemblySquare", 23, 1), ("ToolHang", 53, 1), ("TwoArmTransport", 59, 2)],
)
def test_every_task_has_the_sizes_of_its_config_and_a_seed_means_a_start(
    tmp_path: Path, name: str, size: int, n_arms: int
) -> None:
    args = env_args() | {"env_name": name}
    args["env_kwargs"]["robots"] = ["Panda"] * n_arms
    path = tmp_path / "low_dim.hdf5"
    with h5py.File(path, "w") as file:
        file["data/demo_0/actions"] = np.zeros((1, 7 * n_arms))
        file["data"].attrs["env_args"] = json.dumps(args)
    keys = [*OBS_KEYS, *(key.replace("robot0", "robot1") for key in OBS_KEYS[1:] if n_arms == 2)]
    one = environment(path, action_size=10 * n_arms, abs_action=True, obs_keys=keys)
    one.reset(Start("test", 100_000))
    first = one.observe()["obs"]
    one.step(np.tile([0, 0, 1.0, 1, 0, 0, 0, -1, 0, -1], n_arms))
    one.reset(Start("test", 100_001))
    other = one.observe()["obs"]
    one.reset(Start("test", 100_000))
    again = one.observe()["obs"]
    one.close()

    assert first.shape == (size,)
    np.testing.assert_allclose(again, first, atol=1e-6)
    assert np.abs(other - first).max() > 1e-3


def test_observations_are_those_of_the_present(path: Path) -> None:
    one = environment(path)
    one.reset(Start("test", 5))
    for _ in range(3):
        one.step(np.array([1.0, 0, 0, 0, 0, 0, -1]))
    position = one.observe()["obs"][10:13]
    sim = one._simulation._env.sim
    site = sim.data.site_xpos[sim.model.site_name2id("gripper0_grip_site")]
    one.close()

    np.testing.assert_allclose(position, site, atol=1e-6)


def test_absolute_actions_do_what_changes_do(path: Path) -> None:
    """The targets that a controller makes of changes, given as poses, move the gripper in the same way."""
    changes, poses = environment(path), environment(path, action_size=10, abs_action=True)
    rng = np.random.default_rng(0)
    for one in (changes, poses):
        one.reset(Start("test", 5))
    for _ in range(20):
        change = rng.uniform(-1, 1, 7)
        changes.step(change)
        controller = changes._simulation._env.robots[0].controller
        poses.step(np.array([*controller.goal_pos, *controller.goal_ori[:2].ravel(), change[6]]))
    expected, found = (one.observe()["obs"][10:17] for one in (changes, poses))
    for one in (changes, poses):
        one.close()

    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_cube_in_the_air_is_a_success_and_ends_the_episode(path: Path) -> None:
    one = environment(path)
    one.reset(Start("test", 5))
    lift = one._simulation._env
    joint = lift.cube.joints[0]
    pose = lift.sim.data.get_joint_qpos(joint)
    lift.sim.data.set_joint_qpos(joint, np.array([*pose[:2], 1.2, *pose[3:]]))
    step = one.step(np.array(STILL))
    one.close()

    assert step.is_success
    assert step.is_over
    assert step.reward == 1.0


def test_a_policy_that_diverged_and_a_wrong_state_are_reported(path: Path, tmp_path: Path) -> None:
    evaluation = runner(path, tmp_path, n_train=0)
    with pytest.raises(InputError) as diverged:
        evaluation.run(FixedPolicy([float("nan")] * 7))
    one = environment(path)
    with pytest.raises(DataError) as state:
        one.reset(Start("train", 0, state=np.zeros(5)))
    one.close()

    assert str(diverged.value) == "the policy returned actions that are not finite; did its training diverge?"
    assert str(state.value).startswith("the start of demonstration 0 has 5 numbers, which are not a state of Lift")


def test_images_are_upright_and_episodes_are_filmed(path: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    policy = FixedPolicy(STILL)
    evaluation = runner(path, tmp_path, images=84, n_train=0, n_test_vis=1, fps=10)
    try:
        environment(path, images=84).close()
    except (AttributeError, ImportError, RuntimeError) as error:
        pytest.skip(f"no OpenGL without a screen, set MUJOCO_GL to egl or osmesa: {error}")
    metrics = evaluation.run(policy)
    evaluation.close()

    images = policy.seen[0]["agentview_image"]
    assert images.shape == (1, 2, 3, 84, 84)
    assert images.dtype == torch.uint8
    capture = cv2.VideoCapture(metrics["test/sim_video_100000"])
    frames = []
    while (frame := capture.read()[1]) is not None:
        frames.append(frame[..., ::-1])
    assert [frame.shape for frame in frames] == [(256, 256, 3)] * 2  # at the start and after two of three steps
    small = cv2.resize(frames[0], (84, 84), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    image = images[0, 0].numpy().astype(float)
    assert np.abs(small - image).mean() < 10
    # The table, which is white, is at the bottom, the floor behind it at the top.
    assert image[:, 70:].mean() > 200 > image[:, :10].mean()
