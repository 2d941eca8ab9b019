"""Options of the encoder of point clouds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import attrs
from attrs.validators import deep_iterable, ge, min_len

from dp_core import option
from dp_core.shape_meta import keys_of_type


@attrs.frozen(kw_only=True)
class PointNetConfig:
    """A network per key of points; other keys unchanged. The defaults are those of 3D Diffusion Policy."""

    takes: ClassVar[tuple[str, ...]] = ("points", "low_dim")

    channels: tuple[int, ...] = option(
        (64, 128, 256),
        help="sizes of the layers that every point goes through, alone; the last is that of the maximum over points",
        validator=[min_len(1), deep_iterable(ge(1))],
    )
    feature_dimension: int = option(64, help="size of the feature of one key", validator=ge(1))

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report a lack of points, and keys that cannot name a network."""
        clouds = keys_of_type(shape_meta, "points")
        if not clouds:
            yield "name", "'pointnet' encodes points, and shape_meta has none; choose 'lowdim'"
        for key in clouds:
            if "." in key:
                name = key.replace(".", "_")
                yield "", f"the key '{key}' of points names a part of the encoder and has no dots; write '{name}'"
