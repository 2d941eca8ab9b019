"""Options of the multi-image encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
from attrs.validators import gt

from dp_core import option
from dp_core.config.declared import IMAGES
from dp_core.errors import quoted
from dp_core.pretrained import pretrained_weights_wanted
from dp_core.shape_meta import image_keys, obs_shape

Size = tuple[int, int]
"""A height and a width, in pixels."""

_ONLY_V1 = ("resnet18", "resnet34")
"""Torchvision publishes one set of weights of these, and two of the others."""


def _sizes_are_positive(_config: Any, _field: Any, value: Size | Mapping[str, Size] | None) -> None:
    for size in value.values() if isinstance(value, Mapping) else [value] if value else []:
        if min(size) < 1:
            raise ValueError(f"{list(size)} is not a height and a width; choose two positive numbers")


@attrs.frozen(kw_only=True)
class MultiImageConfig:
    """The encoder of the original's image policies: images are resized, cropped, normalised and encoded by a ResNet."""

    takes: ClassVar[tuple[str, ...]] = (IMAGES, "low_dim")

    rgb_model: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = option(
        "resnet18", help="the network, of torchvision, without its classifier"
    )
    weights: Literal["IMAGENET1K_V1", "IMAGENET1K_V2"] | None = option(
        None, help="start from these weights, which torchvision publishes; fetched in a fresh run only"
    )
    checkpoint_path: Path | None = option(
        None, help="start from the weights in this file of torchvision's (.pth) instead, which needs no network"
    )
    frozen: bool = option(False, help="do not train the networks: no gradient, no change of batch statistics")
    lr_multiplier: float = option(
        1.0,
        help="learning rate of the networks, relative to the optimizer's; 0.1 suits pretrained ones",
        validator=gt(0),
    )
    resize_shape: Size | dict[str, Size] | None = option(
        None,
        help="height and width to resize images to, or a mapping of cameras to them; null: as they are",
        validator=_sizes_are_positive,
    )
    antialias: bool = option(
        True, help="smooth images that shrink; false: as torchvision before 0.17, which weights of that time expect"
    )
    crop_shape: Size | dict[str, Size] | None = option(
        None,
        help="height and width then cut out, or a mapping of cameras to them; null: the whole image",
        validator=_sizes_are_positive,
    )
    random_crop: bool = option(
        True, help="in training, cut every image at its own random place; false: always the centre"
    )
    use_group_norm: bool | None = option(
        None,
        help="replace batch by group normalisation, which needs no other windows and no statistics of the data; "
        "null: unless the weights are pretrained",
    )
    share_rgb_model: bool = option(False, help="one network for all cameras, instead of one each")
    imagenet_norm: bool | None = option(
        None, help="scale images to the mean and deviation of ImageNet's; null: where the weights are pretrained"
    )
    normalize_twice: bool = option(
        False, help="scale as if [-1, 1] were [0, 1], as the original does and weights trained with it expect"
    )

    @property
    def has_pretrained_weights(self) -> bool:
        """Whether training starts from the weights of others."""
        return self.weights is not None or self.checkpoint_path is not None

    @property
    def has_group_norm(self) -> bool:
        """The value of ``use_group_norm``, or what null stands for."""
        return not self.has_pretrained_weights if self.use_group_norm is None else self.use_group_norm

    @property
    def has_imagenet_norm(self) -> bool:
        """The value of ``imagenet_norm``, or what null stands for."""
        return self.has_pretrained_weights if self.imagenet_norm is None else self.imagenet_norm

    def resized(self, camera: str) -> Size | None:
        """Return the size that images of ``camera`` are resized to; None if they are not."""
        return _size_of(self.resize_shape, camera)

    def cropped(self, camera: str) -> Size | None:
        """Return the size that is then cut out of them; None for the whole image."""
        return _size_of(self.crop_shape, camera)

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report crops that do not fit, images that cannot share a network, and weights that do not suit the rest."""
        images = {key: obs_shape(shape_meta, key) for key in image_keys(shape_meta)}
        yield from self._size_problems(images)
        yield from self._weights_problems(images)
        if self.normalize_twice and not self.has_imagenet_norm:
            yield (
                "normalize_twice",
                "is true, and images are not normalised; set 'imagenet_norm: true', or leave it out",
            )

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report an absent file of weights, unless a checkpoint of ours replaces them."""
        if self.checkpoint_path and pretrained_weights_wanted() and not self.checkpoint_path.is_file():
            yield "checkpoint_path", f"file '{self.checkpoint_path}' does not exist"

    def _size_problems(self, images: Mapping[str, tuple[int, ...]]) -> Iterable[tuple[str, str]]:
        for name in ("resize_shape", "crop_shape"):
            sizes = getattr(self, name)
            for key in sizes if isinstance(sizes, Mapping) else ():
                if key not in images:
                    known = quoted(images) or "none"
                    yield f"{name}.{key}", f"is not a camera; the cameras of shape_meta are {known}"
        seen = {}
        for key, shape in images.items():
            height, width = self.resized(key) or shape[1:]
            crop = self.cropped(key)
            if crop and (crop[0] > height or crop[1] > width):
                image = "resized image" if self.resized(key) else "image"
                yield (
                    "crop_shape",
                    f"{list(crop)} is larger than the {image} ({height}, {width}) of '{key}'; "
                    f"choose at most {height} x {width}",
                )
            seen[key] = (shape[0], *(crop or (height, width)))
        if self.share_rgb_model and len(set(seen.values())) > 1:
            found = ", ".join(f"{list(shape)} of '{key}'" for key, shape in seen.items())
            yield (
                "share_rgb_model",
                f"images differ in shape: {found}; set 'resize_shape' or 'crop_shape', or use one network for each",
            )

    def _weights_problems(self, images: Mapping[str, tuple[int, ...]]) -> Iterable[tuple[str, str]]:
        if self.weights and self.checkpoint_path:
            yield "weights", f"'{self.weights}' and 'checkpoint_path' are both set; choose one of them"
        if self.weights == "IMAGENET1K_V2" and self.rgb_model in _ONLY_V1:
            yield "weights", f"torchvision has no 'IMAGENET1K_V2' of '{self.rgb_model}'; choose 'IMAGENET1K_V1'"
        if self.frozen and self.lr_multiplier != 1:
            yield "lr_multiplier", "is set, and networks that are 'frozen' do not learn; leave one of them out"
        if not self.has_pretrained_weights:
            if self.frozen:
                yield (
                    "frozen",
                    "is true, and the weights are random, which would never learn; set 'weights' or 'checkpoint_path', "
                    "or leave it out",
                )
            return
        name = "weights" if self.weights else "checkpoint_path"
        for key, (channels, *_) in images.items():
            if channels != 3:
                yield name, f"is for images of 3 channels, and those of '{key}' have {channels}; train from scratch"
        if self.frozen and self.has_group_norm:
            yield (
                "use_group_norm",
                "is true, and the weights were trained with batch normalisation and cannot adapt while 'frozen'; "
                "leave one of them out",
            )


def _size_of(sizes: Size | Mapping[str, Size] | None, camera: str) -> Size | None:
    return sizes.get(camera) if isinstance(sizes, Mapping) else sizes
