"""A target that imports what is installed nowhere."""

import open3d_x  # type: ignore[import-not-found]  # noqa: F401
