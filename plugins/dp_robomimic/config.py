"""Options of the robomimic encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from attrs.validators import deep_iterable, ge, optional

from dp_core import option
from dp_core.shape_meta import crop_problems


@attrs.frozen(kw_only=True)
class RobomimicConfig:
    """The encoder of the paper's hybrid policies; defaults are those of its Push-T policy."""

    crop_shape: tuple[int, int] | None = option(
        (76, 76),
        help="height and width cut out of every image, at random in training; null: the whole image",
        validator=optional(deep_iterable(ge(1))),
    )
    obs_encoder_group_norm: bool = option(
        True, help="replace batch by group normalisation, which the average of weights (EMA) needs"
    )
    eval_fixed_crop: bool = option(
        True, help="crop by our own fast code; false: by robomimic's, whose version 0.2 cropped at random in eval() too"
    )
    feature_dimension: int = option(64, help="size of the feature of one camera", validator=ge(1))
    num_kp: int = option(32, help="keypoints of the spatial softmax of one camera", validator=ge(1))

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Every image must be at least as large as the crop."""
        for message in crop_problems(self.crop_shape, shape_meta):
            yield "crop_shape", message
