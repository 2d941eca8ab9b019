"""Finds how the agent gets to a point without touching the T: shortest paths on a grid, with a wide berth around it."""

from __future__ import annotations

import functools
import heapq
import math

import numpy as np
import shapely
from numpy.typing import NDArray

from dp_pusht.expert.pushes import Point
from dp_pusht.geometry import TABLE_SIZE

CLEARANCE = 32.0
"""The distance, in pixels, of the agent's centre from the outline where a push starts."""
_CELL = 8
_SIZE = TABLE_SIZE // _CELL
_FORBIDDEN = CLEARANCE - 4
_WIDE_BERTH = CLEARANCE + 26
_LEAVE_WITHIN = CLEARANCE + 24
_AXIS = np.arange(_SIZE) * _CELL + _CELL / 2
_CENTRES = np.stack(np.meshgrid(_AXIS, _AXIS, indexing="ij"), axis=-1).reshape(-1, 2)
_CENTRE_POINTS = shapely.points(_CENTRES)


class ReachMap:
    """Paths from ``agent`` to everywhere, around ``block``."""

    def __init__(self, agent: Point, block: shapely.Polygon) -> None:
        self._agent = agent
        self._costs, self._previous = _shortest_paths(_cell(agent), _cell_costs(agent, block))

    def cost(self, point: Point) -> float:
        """Return the length of the path to ``point`` in pixels, more near the block; infinite if there is no path."""
        return self._costs[_cell(point)]

    def path(self, point: Point) -> NDArray[np.float64]:
        """Return the corners of the path from the agent to ``point``, both included, (N, 2)."""
        corners = [point]
        cell = _cell(point)
        while self._previous[cell] >= 0:
            corners.append(tuple(_CENTRES[cell]))
            cell = self._previous[cell]
        path = np.array([*corners, self._agent][::-1])
        for _ in range(2):
            path[1:-1] = 0.25 * path[:-2] + 0.5 * path[1:-1] + 0.25 * path[2:]
        return path


def _cell(point: Point) -> int:
    column, row = (min(max(int(value // _CELL), 0), _SIZE - 1) for value in point)
    return column * _SIZE + row


def _cell_costs(agent: Point, block: shapely.Polygon) -> list[float]:
    """Cost per pixel of every cell: infinite near the block, 1 far from it."""
    distance = shapely.distance(block, _CENTRE_POINTS)
    costs = np.where(distance < _FORBIDDEN, math.inf, 1 + np.clip((_WIDE_BERTH - distance) / 12, 0, 3))
    # An agent near the block, as after every push, has to be let out. Cells cost more the nearer they are to the
    # block, so the way out leads straight away from it.
    agent_distance = distance[_cell(agent)]
    is_way_out = (
        (distance < _FORBIDDEN)
        & (np.sqrt(((_CENTRES - agent) ** 2).sum(axis=1)) < _LEAVE_WITHIN)
        & (distance >= max(min(agent_distance, 15) - 2, 8))
    )
    all_costs: list[float] = np.where(is_way_out, 3 + np.clip((_FORBIDDEN - distance) / 3, 0, 8), costs).tolist()
    return all_costs


def _shortest_paths(start: int, cell_costs: list[float]) -> tuple[list[float], list[int]]:
    """Dijkstra. Returns for every cell the cost of getting there and the cell before it, -1 for none."""
    costs, previous = [math.inf] * len(cell_costs), [-1] * len(cell_costs)
    costs[start] = 0.0
    queue = [(0.0, start)]
    neighbours = _neighbours()
    while queue:
        cost, cell = heapq.heappop(queue)
        if cost > costs[cell]:
            continue
        for neighbour, length in neighbours[cell]:
            new_cost = cost + length * cell_costs[neighbour]
            if new_cost < costs[neighbour]:
                costs[neighbour], previous[neighbour] = new_cost, cell
                heapq.heappush(queue, (new_cost, neighbour))
    return costs, previous


@functools.cache
def _neighbours() -> list[list[tuple[int, float]]]:
    """The up to eight cells around each, and how far away they are in pixels."""
    steps = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    return [
        [
            ((column + right) * _SIZE + row + down, _CELL * math.hypot(right, down))
            for right, down in steps
            if 0 <= column + right < _SIZE and 0 <= row + down < _SIZE
        ]
        for column in range(_SIZE)
        for row in range(_SIZE)
    ]
