"""`Simulation`: the workspace, the arm, two blocks and two targets, in PyBullet. Nothing of rewards or policies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pybullet
import pybullet_data
from numpy.typing import NDArray

SCENE = Path(__file__).parent / "scene"

_INITIAL_JOINTS = (-0.9254632489674508, 0.6990770671568564, -1.106629064060494,
                   0.0006653351931553931, 0.3987969742311386, -4.063402065624296)  # fmt: skip
_EFFECTOR_LINK = 6
_EFFECTOR_START = np.array([0.3, -0.4])
_EFFECTOR_HEIGHT = 0.06
_DOWN = (0.0, 1.0, 0.0, math.cos(math.pi / 2))
"""Half a turn about y, as a quaternion x, y, z, w."""
_WORKSPACE = np.array([[0.15, -0.5], [0.7, 0.5]])
_MOTOR_FORCE = 1200.0
_PHYSICS_STEPS = 24
"""Per control step: 240 Hz against 10 Hz."""
_SETTLING_STEPS = 100
_COLOURS = ((1, 0.34, 0.35, 1), (0.34, 1, 0.35, 1))
_ZONE_COLOURS = ((0, 1, 0, 1), (1, 0, 0, 1))

_FRAME_HW = (240, 320)
_CAMERA = (1.0, 0.0, 0.75)
_FOCAL_LENGTH = 0.803 * 320


class Simulation:
    """The scene of `Florence et al. (2021) <https://arxiv.org/abs/2109.00137>`_ with two blocks and two targets.

    The arm, a UFactory xArm 6, and the ground are PyBullet's own models; the rest is described in ``scene/``. Episodes
    do not depend on those before. With the original's mesh of the effector's holder instead of ours, which is the same
    prism up to 1 micrometre, whole episodes equal those of the original in every state and reward; with ours, they do
    so until the first contact, after which such differences grow.
    """

    def __init__(self) -> None:
        self._client = _Client()
        self._client.resetSimulation()
        self._client.setPhysicsEngineParameter(enableFileCaching=0)
        self._client.setGravity(0, 0, -9.8)
        models = Path(pybullet_data.getDataPath())
        self._client.loadURDF(str(models / "plane.urdf"), basePosition=(0, 0, -0.001))
        self._arm = self._client.loadURDF(str(models / "xarm" / "xarm6_robot.urdf"), (0, 0, 0))
        self._joints = self._prepare_joints()
        self._attach_effector()
        self._draw_workspace()
        self._zones = [self._load("zone.urdf", colour, useFixedBase=True) for colour in _ZONE_COLOURS]
        self._blocks = [self._load("block.urdf", colour) for colour in _COLOURS]
        self._run(_SETTLING_STEPS)
        self._settled = self._client.saveState()
        self.effector_target = _EFFECTOR_START

    def reset(
        self, blocks: Sequence[tuple[float, float, float]], targets: Sequence[tuple[float, float, float]]
    ) -> None:
        """Put the arm back to its start, and blocks and targets where they are said to be.

        Args:
            blocks: x, y (m) and angle (rad) of each of the two.
            targets: the same of the targets.
        """
        self._client.restoreState(self._settled)
        self.send_effector(_EFFECTOR_START)
        for bodies, poses, height in ((self._blocks, blocks, 0.0), (self._zones, targets, 0.02)):
            for body, (x, y, angle) in zip(bodies, poses, strict=True):
                rotation = (0, 0, math.sin(angle / 2), math.cos(angle / 2))
                self._client.resetBasePositionAndOrientation(body, (x, y, height), rotation)
        self._run(_SETTLING_STEPS)

    def send_effector(self, position: NDArray[np.float64]) -> None:
        """Let the arm's motors strive to have the effector above ``position`` (2,): x, y, in m.

        At most to the border of the workspace.
        """
        self.effector_target = np.clip(position, *_WORKSPACE)
        joints = self._client.calculateInverseKinematics(
            self._arm,
            _EFFECTOR_LINK,
            (*self.effector_target, _EFFECTOR_HEIGHT),
            _DOWN,
            lowerLimits=[-17] * 6,
            upperLimits=[17] * 6,
            jointRanges=[17] * 6,
            restPoses=[0, 0, *(state[0] for state in self._client.getJointStates(self._arm, self._joints)[2:])],
            maxNumIterations=100,
            residualThreshold=1e-10,
        )
        self._client.setJointMotorControlArray(
            self._arm, self._joints, pybullet.POSITION_CONTROL, targetPositions=joints, forces=[_MOTOR_FORCE] * 6
        )

    def advance(self) -> None:
        """Advance by one control step, 0.1 s."""
        self._run(_PHYSICS_STEPS)

    def effector(self) -> NDArray[np.float64]:
        """Return where the effector is, (2,): x and y, in m."""
        return np.array(self._client.getLinkState(self._arm, _EFFECTOR_LINK)[0][:2])

    def blocks(self) -> NDArray[np.float64]:
        """Return x, y (m) and angle (rad) of each block, (2, 3).

        A square looks the same after half a turn, so angles are in [0, pi).
        """
        return np.array([self._pose(body) for body in self._blocks])

    def targets(self) -> NDArray[np.float64]:
        """Return x, y (m) and angle (rad) of each target, (2, 3), like `blocks`."""
        return np.array([self._pose(body) for body in self._zones])

    def render(self) -> NDArray[np.uint8]:
        """Draw the scene from the other side of the table: RGB (240, 320, 3)."""
        height, width = _FRAME_HW
        rotation = self._client.getQuaternionFromEuler((math.pi / 4, math.pi, -math.pi / 2))
        axes = np.array(self._client.getMatrixFromQuaternion(rotation)).reshape(3, 3)
        view = self._client.computeViewMatrix(_CAMERA, _CAMERA + axes @ (0, 0, 1), axes @ (0, -1, 0))
        field_of_view = math.degrees(2 * math.atan(height / 2 / _FOCAL_LENGTH))
        projection = self._client.computeProjectionMatrixFOV(field_of_view, width / height, 0.01, 10.0)
        _, _, pixels, _, _ = self._client.getCameraImage(
            width, height, view, projection, renderer=pybullet.ER_TINY_RENDERER
        )
        return np.ascontiguousarray(np.reshape(np.asarray(pixels, np.uint8), (height, width, 4))[..., :3])

    def close(self) -> None:
        """Free the simulation."""
        self._client.disconnect()

    def _prepare_joints(self) -> list[int]:
        """Bend the arm into its start; returns the joints that have motors."""
        n_joints = self._client.getNumJoints(self._arm)
        joints = [
            index
            for index in range(n_joints)
            if self._client.getJointInfo(self._arm, index)[2] == pybullet.JOINT_REVOLUTE
        ]
        for index, angle in zip(joints, _INITIAL_JOINTS, strict=True):
            self._client.changeDynamics(self._arm, index, linearDamping=0, angularDamping=0)
            self._client.resetJointState(self._arm, index, angle)
        return joints

    def _attach_effector(self) -> None:
        position, rotation, *_ = self._client.getLinkState(self._arm, _EFFECTOR_LINK)
        effector = self._client.loadURDF(str(SCENE / "effector.urdf"), position, rotation)
        constraint = self._client.createConstraint(
            self._arm, _EFFECTOR_LINK, effector, -1, pybullet.JOINT_FIXED, (0, 0, 0), (0, 0, 0), (0, 0, 0)
        )
        self._client.changeConstraint(constraint, maxForce=50)

    def _draw_workspace(self) -> None:
        shape = self._client.createVisualShape(
            pybullet.GEOM_BOX, halfExtents=(0.25, 0.5, 0.0001), rgbaColor=(0.2, 0.2, 0.2, 1)
        )
        self._client.createMultiBody(baseVisualShapeIndex=shape, basePosition=(0.35, 0, 0))

    def _load(self, name: str, colour: Sequence[float], **options: Any) -> int:
        body: int = self._client.loadURDF(str(SCENE / name), **options)
        self._client.changeVisualShape(body, -1, rgbaColor=colour)
        return body

    def _pose(self, body: int) -> tuple[float, float, float]:
        (x, y, _), (i, j, k, w) = self._client.getBasePositionAndOrientation(body)
        return x, y, math.atan2(2 * (w * k + i * j), 1 - 2 * (j * j + k * k)) % math.pi

    def _run(self, n_steps: int) -> None:
        for _ in range(n_steps):
            self._client.stepSimulation()


class _Client:
    """PyBullet's functions, for one of its simulations. Its own class of this kind prints a line per simulation."""

    def __init__(self) -> None:
        self._number = pybullet.connect(pybullet.DIRECT)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(getattr(pybullet, name), physicsClientId=self._number)
