"""`Simulation`: the robot, the furniture and the kettle, in MuJoCo. Nothing of noise, tasks or policies."""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DpError, MissingDependencyError
from dp_kitchen.state import positions_of

if sys.platform == "linux" and not os.environ.get("DISPLAY") and find_library("EGL"):
    # Left alone, MuJoCo draws to a window; it chooses when it is imported.
    os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco

_MODEL = "envs/assets/kitchen_franka/kitchen_assets/kitchen_env_model.xml"
_STAND_RADIUS = 0.12
_PHYSICS_STEPS = 40
"""Per control step: 500 Hz against 12.5 Hz."""
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


class Simulation:
    """Simulates the kitchen in the model that gymnasium-robotics carries, in the MuJoCo that is installed.

    The original simulates relay-policy-learning's model with dm_control and the MuJoCo of its time. In the same MuJoCo,
    the two are equal: 280 random actions, velocities or positions, lead to the same observations and rewards.

    Args:
        render_hw: height and width of what `render` draws.

    Raises:
        MissingDependencyError: the model is not installed.
    """

    def __init__(self, *, render_hw: tuple[int, int]) -> None:
        self._model = mujoco.MjModel.from_xml_path(str(_model_path()))
        # Shadows and smooth edges take two seconds per frame where there is no GPU.
        self._model.vis.quality.shadowsize = self._model.vis.quality.offsamples = 0
        # In the original, the stand of the robot is only to be seen.
        is_stand = (self._model.geom_type == mujoco.mjtGeom.mjGEOM_CYLINDER) & np.isclose(
            self._model.geom_size[:, 0], _STAND_RADIUS
        )
        self._model.geom_contype[is_stand] = self._model.geom_conaffinity[is_stand] = 0
        self._data = mujoco.MjData(self._model)
        self._render_hw = render_hw
        self._renderer: mujoco.Renderer | None = None
        self.control_period: float = _PHYSICS_STEPS * self._model.opt.timestep
        """Seconds of a control step."""

    def reset(self, state: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None) -> None:
        """Start from ``state``, (qpos (30,), qvel (29,)), or at rest where test episodes do."""
        mujoco.mj_resetData(self._model, self._data)
        if state is None:
            self._data.qpos[:] = _INITIAL_QPOS
        else:
            self._data.qpos[:], self._data.qvel[:] = state
        mujoco.mj_forward(self._model, self._data)

    def advance(self, target: NDArray[np.floating]) -> None:
        """Advance by one control step, the robot heading for ``target`` (9,), rad and m, within its limits."""
        self._data.ctrl[:] = np.clip(target, _LOWEST, _HIGHEST)
        mujoco.mj_step(self._model, self._data, nstep=_PHYSICS_STEPS)

    def positions(self) -> NDArray[np.floating]:
        """Return the positions (30,) of the robot and the furniture, float64; see `dp_kitchen.state`."""
        return positions_of(self._data.qpos)

    def render(self) -> NDArray[np.uint8]:
        """Draw the kitchen: RGB (H, W, 3).

        Raises:
            DpError: this machine has no means to draw.
        """
        if self._renderer is None:
            self._renderer = self._make_renderer()
        camera = mujoco.MjvCamera()
        camera.lookat[:] = (-0.2, 0.5, 2.0)
        camera.distance, camera.azimuth, camera.elevation = 2.2, 70, -35
        self._renderer.update_scene(self._data, camera)
        return self._renderer.render()

    def close(self) -> None:
        """Free what `render` holds."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

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
