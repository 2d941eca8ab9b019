"""Videos of episodes, drawn afterwards from their states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v2 as imageio

from dp_pusht.render import render_frame
from dp_pusht.rollout import Trajectory

_SIZE = 256
_QUALITY = 22
"""x264's constant rate factor; smaller is better."""


def write_video(path: Path, trajectory: Trajectory, fps: int) -> None:
    """Write an episode as H.264, one frame per control step, with a cross where each action sends the agent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".part{path.suffix}")
    writer: Any = imageio.get_writer(
        unfinished, format="FFMPEG", fps=fps, codec="libx264", output_params=["-crf", str(_QUALITY)]
    )
    with writer:
        writer.append_data(render_frame(trajectory.states[0], None, _SIZE))
        for state, action in zip(trajectory.states[1:], trajectory.actions, strict=True):
            writer.append_data(render_frame(state, action, _SIZE))
    unfinished.replace(path)
