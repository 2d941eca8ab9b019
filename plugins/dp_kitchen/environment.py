"""`KitchenEnvironment`: the Franka kitchen in MuJoCo."""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DpError, MissingDependencyError
from dp_core.kit.rollout.environment import Environment, Start, Step
from dp_kitchen.state import N_ROBOT, TASKS, measured, observation, positions_of, tasks_done

if sys.platform == "linux" and not os.environ.get("DISPLAY") and find_library("EGL"):
    # Left alone, MuJoCo draws to a window; it chooses when it is imported.
    os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco

_MODEL = "envs/assets/kitchen_franka/kitchen_assets/kitchen_env_model.xml"
_STAND_RADIUS = 0.12
_PHYSICS_STEPS = 40
_LARGEST_ACTION = 2.0
"""rad/s (fingers: m/s) of an action of 1."""
_LARGEST_VELOCITY = 10.0
_LOWEST = np.array([-2.9, -1.8, -2.9, -3.1, -2.9, 0.0, -2.9, 0.0, 0.0])
_HIGHEST = np.array([2.9, 1.8, 2.9, 0.0, 2.9, 3.8, 2.9, 0.04, 0.04])
"""Positions that the robot is sent to, rad and m."""

_INITIAL_QPOS = np.array(
    [
        *(0.148388023, -1.76848573, 1.84390296, -2.4768576, 0.260252026, 0.712533105, 1.59515394),
        *(0.0479267505, 0.0371350919),
        *(-2.6627985e-4, -5.18043486e-5, 3.1287722e-5, -4.51199853e-5, -3.90842156e-6, -4.22629655e-5),
        *(6.28065475e-5, 4.04984708e-5, 4.62730939e-4, -2.26906415e-4, -4.65501369e-4),
        *(-6.44129196e-3, -1.77048263e-3, 1.08009684e-3),
        *(-0.26939744, 0.350383255, 1.61944683, 1.00618764, 4.06395120e-3, -6.62095997e-3, -2.68278933e-4),
    ]
)
"""Where every test episode starts: robot, furniture, kettle."""


class KitchenEnvironment(Environment):
    """Seven tasks in any order; the reward of a step is how many of them it was the first to complete.

    The rules are those of the original's ``KitchenAllV0``: observation with uniform noise, control relative to what
    was observed last, goals and tolerance, 40 physics steps of 2 ms per action. Every episode of the test split starts
    in the same state; its seed draws the noise alone. Differences:

    - The original simulates relay-policy-learning's model with dm_control and the MuJoCo of its time. Here it is the
      model that gymnasium-robotics carries, in the MuJoCo that is installed. In the same MuJoCo and without noise, the
      two are equal: 280 random actions, velocities or positions, lead to the same observations and rewards.
    - Noise comes from another generator, so a seed is not the same episode as there.
    """

    def __init__(self, *, abs_action: bool, robot_noise_ratio: float, render_hw: tuple[int, int]) -> None:
        """Load the model.

        Args:
            abs_action: actions are positions of the joints, not velocities.
            robot_noise_ratio: see `dp_kitchen.state.measured`.
            render_hw: height and width of frames.
        """
        self._model = mujoco.MjModel.from_xml_path(str(_model_path()))
        # Shadows and smooth edges take two seconds per frame where there is no GPU.
        self._model.vis.quality.shadowsize = self._model.vis.quality.offsamples = 0
        # In the original, the stand of the robot is only to be seen.
        is_stand = (self._model.geom_type == mujoco.mjtGeom.mjGEOM_CYLINDER) & np.isclose(
            self._model.geom_size[:, 0], _STAND_RADIUS
        )
        self._model.geom_contype[is_stand] = self._model.geom_conaffinity[is_stand] = 0
        self._data = mujoco.MjData(self._model)
        self._abs_action = abs_action
        self._noise_ratio = robot_noise_ratio
        self._render_hw = render_hw
        self._renderer: mujoco.Renderer | None = None
        self._done: set[str] = set()

    def reset(self, start: Start) -> None:
        """Begin in ``start.state``, (qpos (30,), qvel (29,)) of the whole simulation, or where test episodes do."""
        mujoco.mj_resetData(self._model, self._data)
        if start.state is None:
            self._data.qpos[:] = _INITIAL_QPOS
        else:
            self._data.qpos[:], self._data.qvel[:] = start.state
        mujoco.mj_forward(self._model, self._data)
        self._rng = np.random.default_rng(start.seed)
        self._done = set()
        self._measure()

    def observe(self) -> dict[str, NDArray[Any]]:
        return {"obs": observation(self._measured)}

    def step(self, action: NDArray[np.float64]) -> Step:
        self._data.ctrl[:] = self._target(action)
        mujoco.mj_step(self._model, self._data, nstep=_PHYSICS_STEPS)
        self._measure()
        newly_done = tasks_done(self._measured) - self._done
        self._done |= newly_done
        is_complete = len(self._done) == len(TASKS)
        return Step(float(len(newly_done)), is_over=is_complete, is_success=is_complete)

    def score(self, rewards: NDArray[np.float64]) -> float:
        """The share of the tasks that are done."""
        return float(rewards.sum()) / len(TASKS)

    def measure(self) -> dict[str, float]:
        """``p_n``: whether n tasks or more were done."""
        return {f"p_{n}": float(len(self._done) >= n) for n in range(1, len(TASKS) + 1)}

    def render(self) -> NDArray[np.uint8]:
        if self._renderer is None:
            self._renderer = self._make_renderer()
        camera = mujoco.MjvCamera()
        camera.lookat[:] = (-0.2, 0.5, 2.0)
        camera.distance, camera.azimuth, camera.elevation = 2.2, 70, -35
        self._renderer.update_scene(self._data, camera)
        return self._renderer.render()

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _measure(self) -> None:
        # Once per step: the policy sees what control refers to and tasks are judged by.
        self._measured = measured(positions_of(self._data.qpos), self._noise_ratio, self._rng)

    def _target(self, action: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (9,) that the robot is sent to."""
        seconds = _PHYSICS_STEPS * self._model.opt.timestep
        here = self._measured[:N_ROBOT]
        velocity = (action - here) / seconds if self._abs_action else np.clip(action, -1, 1) * _LARGEST_ACTION
        target = here + np.clip(velocity, -_LARGEST_VELOCITY, _LARGEST_VELOCITY) * seconds
        return np.clip(target, _LOWEST, _HIGHEST)

    def _make_renderer(self) -> mujoco.Renderer:
        try:
            return mujoco.Renderer(self._model, *self._render_hw)
        except Exception as error:  # whatever the drawing library raises
            raise DpError(
                f"the kitchen cannot be drawn on this machine ({error}); install EGL and set MUJOCO_GL=egl, or "
                "evaluate with runner.n_train_vis=0 runner.n_test_vis=0"
            ) from error


def _model_path() -> Path:
    """In gymnasium-robotics, found without importing it: nothing of its code is used."""
    spec = find_spec("gymnasium_robotics")
    path = Path(spec.origin).parent / _MODEL if spec and spec.origin else None
    if path is None or not path.exists():
        raise MissingDependencyError(
            "the model of the kitchen is not there; it comes with gymnasium-robotics 1.2 or later: "
            "pip install 'dp-core[kitchen]'"
        )
    return path
