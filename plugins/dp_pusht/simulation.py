"""`Simulation`: the agent and the T on the table of Push-T, in pymunk. Nothing of goals, rewards or policies.

Environment and expert use the same. Lengths are pixels and angles radians, see `dp_pusht.geometry`.

The agent follows its target with a PD controller. The block moves only while it is pushed, and stops at once when it is
not: damping 0 takes all its velocity away at every step.
"""

from __future__ import annotations

import math
from typing import Any

import pymunk

from dp_pusht.geometry import AGENT_RADIUS, BAR, STEM, Vector

CONTROL_HZ = 10
SIMULATION_HZ = 100
STEPS_PER_CONTROL = SIMULATION_HZ // CONTROL_HZ
TIME_STEP = 1.0 / SIMULATION_HZ
STIFFNESS, DAMPING = 100.0, 20.0

WALL_ENDS = [((5, 506), (5, 5)), ((5, 5), (506, 5)), ((506, 5), (506, 506)), ((5, 506), (506, 506))]
WALL_RADIUS = 2.0
_BLOCK_MASS = 1.0


class Simulation:
    """Simulates one table; small, and quick to set to any state; not shared between threads.

    Args:
        count_contacts: keep `n_contacts`, which makes a step half as expensive again.
    """

    def __init__(self, *, count_contacts: bool = False) -> None:
        self._space = pymunk.Space()
        self._space.gravity = (0, 0)
        self._space.damping = 0
        for start, end in WALL_ENDS:
            self._space.add(pymunk.Segment(self._space.static_body, start, end, WALL_RADIUS))
        self._agent = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
        self._space.add(self._agent, pymunk.Circle(self._agent, AGENT_RADIUS))
        self._block = _make_block(self._space)
        self._contact_points = 0
        if count_contacts:
            self._space.add_collision_handler(0, 0).post_solve = self._count_contacts

    def set_state(
        self,
        state: Vector,
        *,
        agent_velocity: Vector = (0.0, 0.0),
        position_first: bool = False,
    ) -> None:
        """Put agent and block where ``state`` says; the block at rest.

        Args:
            state: (5,): agent x, y, block x, y and angle.
            agent_velocity: (2,): x, y, in pixels per second.
            position_first: turn the block about its centre of mass after it was placed, which moves its origin away
                from the position given. The published demonstrations and evaluations start like this.
        """
        agent_x, agent_y, block_x, block_y, angle = map(float, state)
        self._agent.position = agent_x, agent_y
        self._agent.velocity = float(agent_velocity[0]), float(agent_velocity[1])
        if position_first:
            self._block.position = block_x, block_y
            self._block.angle = angle
        else:
            self._block.angle = angle
            self._block.position = block_x, block_y
        self._block.velocity = 0.0, 0.0
        self._block.angular_velocity = 0.0
        self._space.reindex_shapes_for_body(self._agent)
        self._space.reindex_shapes_for_body(self._block)

    def settle(self) -> None:
        """Advance by 0.01 s without control, which starts to push overlapping bodies apart."""
        self._space.step(TIME_STEP)

    def step(self, target: Vector) -> None:
        """Advance by 0.1 s, the agent heading for ``target`` (2,): x, y."""
        target_x, target_y = float(target[0]), float(target[1])
        agent, advance = self._agent, self._space.step
        self._contact_points = 0
        x, y = agent.position
        velocity_x, velocity_y = agent.velocity
        for _ in range(STEPS_PER_CONTROL):
            velocity_x, velocity_y = accelerate(x, y, velocity_x, velocity_y, target_x, target_y)
            agent.velocity = velocity_x, velocity_y
            advance(TIME_STEP)
            # The agent is kinematic: nothing but its own velocity moves it, so there is no need to ask where it is.
            x += velocity_x * TIME_STEP
            y += velocity_y * TIME_STEP

    @property
    def agent_position(self) -> tuple[float, float]:
        """The agent's x, y, in pixels."""
        return tuple(self._agent.position)

    @property
    def agent_velocity(self) -> tuple[float, float]:
        """The agent's velocity x, y, in pixels per second."""
        return tuple(self._agent.velocity)

    @property
    def block_pose(self) -> tuple[float, float, float]:
        """The block's x, y (pixels) and angle (rad, not wrapped)."""
        return (*self._block.position, self._block.angle)

    @property
    def n_contacts(self) -> int:
        """The number of points at which bodies touched in the last `step`: its mean over time, rounded up."""
        return math.ceil(self._contact_points / STEPS_PER_CONTROL)

    def _count_contacts(self, arbiter: pymunk.Arbiter, space: pymunk.Space, data: Any) -> None:
        self._contact_points += len(arbiter.contact_point_set.points)


def accelerate(
    x: float, y: float, velocity_x: float, velocity_y: float, target_x: float, target_y: float
) -> tuple[float, float]:
    """Compute the agent's velocity, x, y in pixels per second, after 0.01 s of the PD controller."""
    return (
        velocity_x + (STIFFNESS * (target_x - x) - DAMPING * velocity_x) * TIME_STEP,
        velocity_y + (STIFFNESS * (target_y - y) - DAMPING * velocity_y) * TIME_STEP,
    )


def _make_block(space: pymunk.Space) -> pymunk.Body:
    # The original adds the bar's moment of inertia twice, not the bar's and the stem's, and all published
    # demonstrations were recorded so. Kept: with the true moment they cannot be replayed.
    moment = 2 * pymunk.moment_for_poly(_BLOCK_MASS, BAR)
    block = pymunk.Body(_BLOCK_MASS, moment)
    bar, stem = pymunk.Poly(block, BAR), pymunk.Poly(block, STEM)
    block.center_of_gravity = (bar.center_of_gravity + stem.center_of_gravity) / 2
    space.add(block, bar, stem)
    return block
