"""Options of LeRobot's image encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import attrs
from attrs.validators import deep_iterable, ge, optional

from dp_core import option
from dp_core.shape_meta import crop_problems, keys_of_type, obs_shape

RESNET_STRIDE = 32
"""Pixels of an image, in each direction, per pixel of the last feature maps."""


@attrs.frozen(kw_only=True)
class LeRobotConfig:
    """The encoder of LeRobot's diffusion policy, for weights trained there; option names are LeRobot's."""

    takes: ClassVar[tuple[str, ...]] = ("rgb", "low_dim")

    vision_backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = option(
        "resnet18", help="the network, of torchvision, up to its last feature maps"
    )
    resize_shape: tuple[int, int] | None = option(
        None, help="height and width to resize images to; null: as they are", validator=optional(deep_iterable(ge(1)))
    )
    crop_shape: tuple[int, int] | None = option(
        None,
        help="height and width cut out after resizing; null: the whole image",
        validator=optional(deep_iterable(ge(1))),
    )
    crop_is_random: bool = option(
        True, help="in training each image is cropped at its own random place; false: the centre"
    )
    use_group_norm: bool = option(
        True, help="replace batch by group normalisation, which needs no other windows and no statistics of the data"
    )
    spatial_softmax_num_keypoints: int = option(
        32, help="keypoints of the spatial softmax; a camera's feature is twice as large", validator=ge(1)
    )
    use_separate_rgb_encoder_per_camera: bool = option(False, help="one network for each camera, instead of one")

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report a lack of images, images of several shapes, and crops that do not fit or leave a keypoint no room."""
        shapes = {key: obs_shape(shape_meta, key) for key in keys_of_type(shape_meta, "rgb")}
        if not shapes:
            yield "name", "'lerobot' encodes images, and shape_meta has none; choose 'lowdim'"
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{list(shape)} of '{key}'" for key, shape in shapes.items())
            yield "", f"images differ in shape: {found}; LeRobot's encoder takes images of one shape"
        if self.resize_shape is None:
            for message in crop_problems(self.crop_shape, shape_meta):
                yield "crop_shape", message
        elif self.crop_shape and any(c > r for c, r in zip(self.crop_shape, self.resize_shape, strict=True)):
            yield "crop_shape", f"{list(self.crop_shape)} is larger than resize_shape {list(self.resize_shape)}"
        for key, shape in shapes.items():
            if shape[0] != 3:
                yield (
                    "name",
                    f"'lerobot' takes images of 3 channels, and those of '{key}' have {shape[0]}; choose 'timm'",
                )
            height, width = self.crop_shape or self.resize_shape or shape[1:]
            if max(height, width) <= RESNET_STRIDE:
                yield (
                    "crop_shape" if self.crop_shape else "resize_shape",
                    f"the network leaves 1 pixel of the {height} x {width} of '{key}', and keypoints say where in an "
                    f"image something is; use more than {RESNET_STRIDE} pixels, or another encoder",
                )
