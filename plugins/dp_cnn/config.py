"""Options of the small convolutional encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import attrs
from attrs.validators import deep_iterable, ge, min_len, optional

from dp_core import option
from dp_core.config.declared import IMAGES
from dp_core.pretrained import pretrained_weights_wanted
from dp_core.shape_meta import crop_problems, image_keys, obs_shape


@attrs.frozen(kw_only=True)
class CnnConfig:
    """A network per camera that a CPU can train; other keys unchanged. The defaults suit images of about 96 x 96."""

    takes: ClassVar[tuple[str, ...]] = (IMAGES, "low_dim")

    crop_shape: tuple[int, int] | None = option(
        None,
        help="height and width cut out of every image, at random in training; null: the whole image",
        validator=optional(deep_iterable(ge(1))),
    )
    downsample: int = option(
        2, help="side of the squares of pixels that are averaged first; images consist of whole ones", validator=ge(1)
    )
    channels: tuple[int, ...] = option(
        (32, 64, 64),
        help="channels of each convolution; each halves height and width",
        validator=[min_len(1), deep_iterable(ge(1))],
    )
    feature_dimension: int = option(64, help="size of the feature of one camera", validator=ge(1))

    def map_size(self, image_size: tuple[int, ...]) -> tuple[int, ...]:
        """Compute height and width of the maps that the convolutions make of images of that height and width."""
        size = tuple(side // self.downsample for side in self.crop_shape or image_size)
        for _ in self.channels:
            size = tuple((side + 1) // 2 for side in size)
        return size

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report images that are smaller than the crop, too small for all the halving, or not made of whole squares."""
        for message in crop_problems(self.crop_shape, shape_meta):
            yield "crop_shape", message
        for key in image_keys(shape_meta):
            image_size = obs_shape(shape_meta, key)[1:]
            yield from self._squares_problems(key, self.crop_shape or image_size)
            if min(self.map_size(image_size)) < 2:
                found = self.crop_shape or image_size
                yield (
                    "channels",
                    f"{len(self.channels)} convolutions after downsampling by {self.downsample} leave nothing of "
                    f"the {found[0]} x {found[1]} pixels of '{key}'; use fewer, or a smaller 'downsample'",
                )

    def _squares_problems(self, key: str, size: tuple[int, ...]) -> Iterable[tuple[str, str]]:
        """What is left over beyond the last whole square would be dropped; a policy that was trained so is loaded."""
        whole = [side - side % self.downsample for side in size]
        if whole == list(size) or not all(whole) or not pretrained_weights_wanted():
            return
        yield (
            "downsample",
            f"squares of {self.downsample} x {self.downsample} pixels do not fill the {size[0]} x {size[1]} of "
            f"'{key}', whose last rows or columns would be left out; use crop_shape {whole}, or another 'downsample'",
        )
