"""Options of the timm encoder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
from attrs.validators import and_, deep_iterable, ge, gt, le, optional

from dp_core import option
from dp_core.config.declared import TOKENS, VECTOR
from dp_core.pretrained import pretrained_weights_wanted
from dp_core.shape_meta import crop_problems, keys_of_type, obs_shape

Aggregation = Literal[
    "avg", "max", "spatial_embedding", "soft_attention", "transformer", "attention_pool_2d", "spatial_softmax", "tokens"
]
Normalization = Literal["data_config", "zero_one", "as_is"]


@attrs.frozen(kw_only=True)
class ColorJitterOptions:
    """The largest changes of the colours of an image, in the order in which they are made; each image gets its own."""

    brightness: float = option(0.3, help="factor between 1 - this and 1 + this", validator=ge(0))
    contrast: float = option(0.4, help="factor between 1 - this and 1 + this", validator=ge(0))
    saturation: float = option(0.5, help="factor between 1 - this and 1 + this", validator=ge(0))
    hue: float = option(0.08, help="shift by at most this part of the colour circle", validator=and_(ge(0), le(0.5)))


@attrs.frozen(kw_only=True)
class TimmConfig:
    """Image backbones of timm, one per camera or one for all; other keys unchanged, or as a token each."""

    takes: ClassVar[tuple[str, ...]] = ("rgb", "low_dim")

    model_name: str = option(
        "resnet18",
        # Only timm itself knows its names, and importing it imports torch.
        help="a name of timm.list_models(), with a tag where weights are chosen; looked up when the run starts",
    )
    pretrained: bool = option(False, help="start from the weights published for the model; fetched in a fresh run only")
    checkpoint_path: Path | None = option(
        None, help="start from the weights in this file instead (.safetensors or .pth), which needs no network"
    )
    frozen: bool = option(False, help="do not train the models: no gradient, no change of batch statistics, no dropout")
    lr_multiplier: float = option(
        1.0, help="learning rate of the models, relative to the optimizer's; 0.1 suits pretrained ones", validator=gt(0)
    )
    resize_shape: tuple[int, int] | None = option(
        None,
        help="height and width to resize images to; null: as they are. Sizes that a model does not see whole are "
        "refused when the run starts",
        validator=optional(deep_iterable(ge(1))),
    )
    crop_shape: tuple[int, int] | None = option(
        None,
        help="height and width cut out of every image, at random in training; null: the whole image",
        validator=optional(deep_iterable(ge(1))),
    )
    crop_ratio: float | None = option(
        None,
        help="instead: part of height and width that is cut out, at random in training, and resized to the whole",
        validator=optional(and_(gt(0), le(1))),
    )
    random_rotation: float | None = option(
        None,
        help="in training, turn every image by at most so many degrees; null: none is turned",
        validator=optional(and_(gt(0), le(180))),
    )
    color_jitter: ColorJitterOptions | None = option(
        None, help="in training, change the colours of every image; {}: as UMI does; null: leave them"
    )
    normalization: Normalization | None = option(
        None,
        help="what images become: data_config, of the mean and deviation that the model was trained with; zero_one, in "
        "[0, 1], as UMI feeds all models; as_is, in [-1, 1]; null: data_config where the weights are pretrained, "
        "otherwise as_is",
    )
    share_rgb_model: bool = option(False, help="one model for all cameras, instead of one each")
    use_group_norm: bool | None = option(
        None,
        help="replace batch by group normalisation, which needs no other windows and no statistics of the data; "
        "null: unless the weights are pretrained",
    )
    feature_aggregation: Aggregation | None = option(
        None,
        help="from feature maps, or the tokens of patches, to features; tokens: each place is one, for denoisers that "
        "attend to them; null: the class token of a ViT, and of others what the model itself does",
    )
    downsample_ratio: Literal[16, 32] = option(
        32, help="pixels of an image per pixel of the feature maps of a ResNet; 16 leaves out its last stage"
    )
    position_encording: Literal["learnable", "sinusoidal"] = option(
        "learnable", help="how the transformer of feature_aggregation knows places (UMI's spelling)"
    )
    transformer_batch_first: bool = option(
        True,
        help="false: the transformer's tokens attend to other images of the batch, not to their own, and the features "
        "are the same for every image: UMI's defect, for its numbers",
    )
    num_kp: int = option(32, help="keypoints of the spatial softmax of one camera", validator=ge(1))

    @property
    def gives(self) -> str:
        """Tokens where places are not pooled, see `BaseEncoder`."""
        return TOKENS if self.feature_aggregation == "tokens" else VECTOR

    @property
    def has_pretrained_weights(self) -> bool:
        """Whether training starts from the weights of others."""
        return self.pretrained or self.checkpoint_path is not None

    @property
    def has_group_norm(self) -> bool:
        """The value of ``use_group_norm``, or what null stands for."""
        return not self.has_pretrained_weights if self.use_group_norm is None else self.use_group_norm

    @property
    def image_normalization(self) -> Normalization:
        """The value of ``normalization``, or what null stands for."""
        return self.normalization or ("data_config" if self.has_pretrained_weights else "as_is")

    def model_input(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Compute the shape (C, H, W) with which an image of ``image_shape`` (C, H, W) reaches the model."""
        return image_shape[:1] + (self.crop_shape or self.resize_shape or image_shape[1:])

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report crops that do not fit, images that cannot share a model, and options that have no effect."""
        images = {key: obs_shape(shape_meta, key) for key in keys_of_type(shape_meta, "rgb")}
        yield from self._crop_problems(shape_meta)
        if self.share_rgb_model and len({self.model_input(shape) for shape in images.values()}) > 1:
            found = ", ".join(f"{list(shape)} of '{key}'" for key, shape in images.items())
            yield (
                "share_rgb_model",
                f"images differ in shape: {found}; set 'resize_shape' or 'crop_shape', or use one model for each",
            )
        for key, (channels, *_) in images.items():
            if self.color_jitter and channels != 3:
                yield (
                    "color_jitter",
                    f"changes red, green and blue, and images of '{key}' have {channels} channels; leave it out",
                )
        if self.gives == TOKENS and not images:
            yield "feature_aggregation", "'tokens' are of images, and shape_meta has none; choose another encoder"
        yield from self._frozen_problems()
        yield from self._aggregation_problems()

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report an absent file of weights, unless a checkpoint of ours replaces them."""
        if self.checkpoint_path and pretrained_weights_wanted() and not self.checkpoint_path.is_file():
            yield "checkpoint_path", f"file '{self.checkpoint_path}' does not exist"

    def _crop_problems(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        if self.crop_shape and self.crop_ratio:
            yield "crop_ratio", "is set, and so is 'crop_shape'; leave one of them out"
        if self.resize_shape is None:
            for message in crop_problems(self.crop_shape, shape_meta):
                yield "crop_shape", message
        elif self.crop_shape and any(c > r for c, r in zip(self.crop_shape, self.resize_shape, strict=True)):
            yield "crop_shape", f"{list(self.crop_shape)} is larger than resize_shape {list(self.resize_shape)}"

    def _frozen_problems(self) -> Iterable[tuple[str, str]]:
        if not self.frozen:
            return
        if not self.has_pretrained_weights:
            yield (
                "frozen",
                "is true, and the weights are random, which would never learn; set 'pretrained: true' or "
                "'checkpoint_path', or leave it out",
            )
        elif self.has_group_norm:
            yield (
                "use_group_norm",
                "is true, and the weights were trained with other normalisation and cannot adapt while 'frozen'; "
                "leave one of them out",
            )
        if self.lr_multiplier != 1:
            yield "lr_multiplier", "is set, and models that are 'frozen' do not learn; leave one of them out"

    def _aggregation_problems(self) -> Iterable[tuple[str, str]]:
        if self.downsample_ratio != 32 and not self.model_name.startswith("resnet"):
            yield "downsample_ratio", f"is of a ResNet, and the model is '{self.model_name}'; leave it out"
        elif self.downsample_ratio != 32 and self.feature_aggregation is None:
            yield (
                "downsample_ratio",
                "is of the feature maps, and without 'feature_aggregation' the model continues to its own features; "
                "choose one, such as 'avg'",
            )
        for name, default in (("position_encording", "learnable"), ("transformer_batch_first", True)):
            if getattr(self, name) == default or self.feature_aggregation == "transformer":
                continue
            yield (
                name,
                f"is of the transformer, and feature_aggregation is '{self.feature_aggregation or 'null'}'; "
                "leave it out, or set 'feature_aggregation: transformer'",
            )
