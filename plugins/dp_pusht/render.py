"""Pictures of the table, for policies and for people; need no display.

Drawn with pygame on 512 x 512 pixels and shrunk by OpenCV, stroke by stroke as the published images were made, so that
a policy trained on those sees the same here. Left out are the red dots with which the original's drawing library marks
where bodies touch: a state does not tell, and hardly one survives the shrinking. One canvas serves the whole process,
so draw from one thread only.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp_pusht.geometry import AGENT_RADIUS, BAR, GOAL_POSE, STEM, TABLE_SIZE, Vector, to_table
from dp_pusht.simulation import WALL_ENDS, WALL_RADIUS

IMAGE_SIZE = 96
"""The side of an observed image, in pixels."""

Color = tuple[int, int, int]

_WHITE: Color = (255, 255, 255)
_GOAL: Color = (144, 238, 144)
_WALL: Color = (211, 211, 211)
_AGENT: Color = (65, 105, 225)
_AGENT_INSIDE: Color = (78, 126, 255)
_BLOCK: Color = (119, 136, 153)
_BLOCK_INSIDE: Color = (143, 163, 184)
_MARKER: Color = (255, 0, 0)
_EDGE_RADIUS = 2.0
# The order in which pymunk keeps the corners; it decides how the edges are drawn.
_PARTS = (np.array([BAR[3], BAR[2], BAR[1], BAR[0]]), np.array([STEM[0], STEM[3], STEM[2], STEM[1]]))


def render_observation(state: Vector) -> NDArray[np.uint8]:
    """Draw what a policy sees in ``state`` (agent x, y, block x, y, angle), no action: RGB, uint8 (96, 96, 3)."""
    return _render(state, IMAGE_SIZE)


def render_frame(state: Vector, action: Vector | None = None, size: int = 256) -> NDArray[np.uint8]:
    """Draw what a person watches, with a red cross where ``action`` (x, y) sends the agent: uint8 (size, size, 3)."""
    image = _render(state, size)
    if action is not None:
        place = int(action[0] / TABLE_SIZE * size), int(action[1] / TABLE_SIZE * size)
        unit = size / IMAGE_SIZE
        cv2.drawMarker(image, place, _MARKER, cv2.MARKER_CROSS, markerSize=int(8 * unit), thickness=int(unit))
    return image


def _render(state: Vector, size: int) -> NDArray[np.uint8]:
    agent, pose = (state[0], state[1]), (float(state[2]), float(state[3]), float(state[4]))
    pygame = _pygame()
    canvas, pixels, background = _canvas()
    np.copyto(pixels, background)
    for part in _PARTS:
        _draw_block_part(canvas, to_table(pose, part).tolist())
    pygame.draw.circle(canvas, _AGENT, _pixel(agent), round(AGENT_RADIUS))
    pygame.draw.circle(canvas, _AGENT_INSIDE, _pixel(agent), round(AGENT_RADIUS - 4))
    for start, end in WALL_ENDS:
        _draw_thick_line(canvas, start, end, WALL_RADIUS, _WALL)
    shrunk: NDArray[np.uint8] = cv2.cvtColor(cv2.resize(pixels, (size, size)), cv2.COLOR_RGBA2RGB)  # type: ignore[assignment]
    return shrunk


@functools.cache
def _pygame() -> Any:
    # Imported on first use: it takes a while, and says hello on the way unless told otherwise.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame

    return pygame


@functools.cache
def _canvas() -> tuple[Any, NDArray[np.uint8], NDArray[np.uint8]]:
    """The surface to draw on, its pixels, and those to start from: walls excluded, as they are drawn last.

    Pixels are (512, 512, 4), the last channel unused; OpenCV reads them where pygame drew them, without a copy.
    """
    pygame = _pygame()
    pixels = np.full((TABLE_SIZE, TABLE_SIZE, 4), 255, np.uint8)
    canvas = pygame.image.frombuffer(pixels, (TABLE_SIZE, TABLE_SIZE), "RGBX")
    for part in _PARTS:
        pygame.draw.polygon(canvas, _GOAL, [_pixel(corner) for corner in to_table(GOAL_POSE, part)])
    return canvas, pixels, pixels.copy()


def _draw_block_part(canvas: Any, corners: list[list[float]]) -> None:
    _pygame().draw.polygon(canvas, _BLOCK_INSIDE, [_pixel(corner) for corner in corners])
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        _draw_thick_line(canvas, start, end, _EDGE_RADIUS, _BLOCK)


def _draw_thick_line(canvas: Any, start: Vector, end: Vector, radius: float, color: Color) -> None:
    """A line with round ends: a thin one, a rectangle over it, and a disc at either end."""
    pygame = _pygame()
    (x1, y1), (x2, y2) = _pixel(start), _pixel(end)
    pygame.draw.line(canvas, color, (x1, y1), (x2, y2), round(2 * radius))
    across_x, across_y = abs(y2 - y1), abs(x2 - x1)
    scale = radius / (across_x**2 + across_y**2) ** 0.5
    across_x, across_y = round(across_x * scale), round(across_y * scale)
    corners = [
        (x1 - across_x, y1 - across_y),
        (x1 + across_x, y1 + across_y),
        (x2 + across_x, y2 + across_y),
        (x2 - across_x, y2 - across_y),
    ]
    pygame.draw.polygon(canvas, color, corners)
    for end_point in ((x1, y1), (x2, y2)):
        pygame.draw.circle(canvas, color, end_point, round(radius))


def _pixel(point: Vector) -> tuple[int, int]:
    return round(point[0]), round(point[1])
