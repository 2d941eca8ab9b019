"""`VideoWriter`: films an episode while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_QUALITY = 22
"""x264's constant rate factor; smaller is better."""


class VideoWriter:
    """Write H.264. The file appears under its name once it is whole."""

    def __init__(self, path: Path, fps: float) -> None:
        # Runs without videos do without the library.
        import imageio.v2 as imageio

        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._unfinished = path.with_suffix(f".part{path.suffix}")
        self._writer: Any = imageio.get_writer(
            self._unfinished,
            format="FFMPEG",
            fps=fps,
            codec="libx264",
            macro_block_size=2,  # or frames would be stretched to multiples of 16
            output_params=["-crf", str(_QUALITY)],
        )

    def append(self, frame: NDArray[np.uint8]) -> None:
        """Add an RGB frame (H, W, 3)."""
        self._writer.append_data(frame)

    def finish(self) -> None:
        """Close the file and give it its name."""
        self._writer.close()
        self._unfinished.replace(self._path)

    def discard(self) -> None:
        """Remove what was written."""
        self._writer.close()
        self._unfinished.unlink(missing_ok=True)
