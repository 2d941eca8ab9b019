"""Makes models of timm; says in one line what is wrong where timm or its hub would fail."""

from __future__ import annotations

import contextlib
import logging
import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import timm
import torch
from timm.layers.norm_act import BatchNormAct2d, GroupNormAct
from torch import Tensor, nn

from dp_core.errors import DpError, did_you_mean
from dp_core.kit.nn.hub import endpoint, impatient_hub
from dp_core.kit.nn.image_probe import Border, border_text, probe
from dp_core.kit.nn.vision import group_norm, replace_batch_norm
from dp_core.pretrained import pretrained_weights_wanted, skip_pretrained_weights
from dp_timm.sizes import Size, near_sizes

if TYPE_CHECKING:
    from dp_timm.config import TimmConfig

logger = logging.getLogger(__name__)

ImageStatistics = tuple[tuple[float, ...], tuple[float, ...]]
"""The mean and standard deviation of each channel of the images that a model was trained on, in [0, 1]."""


@attrs.frozen
class Layout:
    """The order in which a model gives the features of the places in an image."""

    is_channels_last: bool
    prefix_tokens: int
    """The number of tokens, such as the class token, before those of patches."""
    token_grid: tuple[int, int] | None
    """The rows and columns of patches."""

    def to_maps(self, features: Tensor) -> Tensor:
        """Convert features to maps (N, C, H, W), from (N, H, W, C) or tokens (N, prefix + H*W, C).

        Anything else, such as maps already of that form, is left as it is.
        """
        if features.ndim == 4 and self.is_channels_last:
            return features.permute(0, 3, 1, 2)
        grid = self.token_grid
        if features.ndim == 3 and grid and features.shape[1] == self.prefix_tokens + math.prod(grid):
            return features[:, self.prefix_tokens :].transpose(1, 2).unflatten(-1, grid)
        return features


@attrs.frozen
class Backbone:
    """A model and what an encoder has to know about it."""

    model: nn.Module
    layout: Layout
    statistics: ImageStatistics
    feature_shape: tuple[int, ...]
    """The shape (C, H, W) of its feature maps, or (C,) where it makes vectors itself."""
    unseen: Border
    """The last rows and columns of an image that it leaves out."""


def create_backbone(config: TimmConfig, image_shape: tuple[int, ...]) -> Backbone:
    """Make the model for images of ``image_shape`` (C, H, W), without its classifier.

    With a ``feature_aggregation`` of ours it ends with feature maps or tokens. As UMI does, ResNets and ConvNeXts are
    then taken apart, which numbers their parts in the names of parameters.

    Raises:
        DpError: the model does not exist or does not fit the images, or its weights are out of reach.
    """
    name, size = config.model_name, (image_shape[1], image_shape[2])
    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models())
        raise DpError(
            f"encoder 'timm': model_name '{name}' is not a model of timm {timm.__version__}"
            + (f"; {hint}" if hint else "")
        )
    try:
        backbone = _assemble(config, image_shape)
    except DpError:
        raise
    except Exception as error:  # every model has its own way to fail for a size
        advice = _advice(config, image_shape, size, (1, 1))
        raise DpError(
            f"encoder 'timm': model '{name}' fails for images {list(image_shape)}: {_reason(error)}"
            + (f"; {advice}" if advice else "")
        ) from error
    _check_features((1, *backbone.feature_shape), config, image_shape)
    if any(backbone.unseen):
        _report_unseen(backbone, config, image_shape)
    return backbone


def _assemble(config: TimmConfig, image_shape: tuple[int, ...]) -> Backbone:
    model = _create(config, image_shape)
    layout = Layout(
        is_channels_last=getattr(model, "output_fmt", "NCHW") == "NHWC",
        prefix_tokens=getattr(model, "num_prefix_tokens", 0),
        token_grid=getattr(getattr(model, "patch_embed", None), "grid_size", None),
    )
    statistics = tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])
    if config.feature_aggregation:
        model = _without_head(model, config)
    if config.has_group_norm:
        replace_batch_norm(model, _group_norm)

    def features(images: Tensor) -> Tensor:
        given: Tensor = model(images)
        return layout.to_maps(given) if config.feature_aggregation else given

    model.eval()  # statistics of batches stay as they are
    found = probe(features, image_shape)
    model.train()
    return Backbone(model, layout, statistics, found.feature_shape, found.unseen)


def _report_unseen(backbone: Backbone, config: TimmConfig, image_shape: tuple[int, ...]) -> None:
    """Refuse a model that does not see images whole; of one that was trained so, only warn."""
    size, unseen = (image_shape[1], image_shape[2]), backbone.unseen
    found = (
        f"encoder 'timm': '{config.model_name}' does not see {border_text(unseen)} of images of {size[0]} x {size[1]}"
    )
    if not pretrained_weights_wanted():
        logger.warning("%s, and did not in training", found)
        return
    seen = (size[0] - unseen[0], size[1] - unseen[1])
    advice = _advice(config, image_shape, seen, _first_stride(backbone.model))
    raise DpError(f"{found}; {advice or 'choose another model'}")


def _advice(config: TimmConfig, image_shape: tuple[int, ...], seen: Size, step: Size) -> str:
    """Say what to set to which sizes, all of them tried; empty where none was found."""

    def fits(size: Size) -> bool:
        try:
            with skip_pretrained_weights():
                return not any(_assemble(config, (image_shape[0], *size)).unseen)
        except Exception:  # as above
            return False

    sizes = near_sizes((image_shape[1], image_shape[2]), seen, step, fits)
    if not sizes:
        sizes = [size for size in _published_sizes(config.model_name) if fits(size)]
    option = "crop_shape" if config.crop_shape else "resize_shape"
    if not (config.crop_shape or config.resize_shape or config.crop_ratio):
        option = "resize_shape or crop_shape"
    return f"use {option} {' or '.join(str(list(size)) for size in sizes)}" if sizes else ""


def _published_sizes(name: str) -> list[Size]:
    """Look up the size of images that the published weights of a model were trained on, if there are any."""
    with contextlib.suppress(RuntimeError):  # the tag is unknown
        published = timm.get_pretrained_cfg(name)
        return [published.input_size[1:]] if published else []
    return []


def _first_stride(model: nn.Module) -> Size:
    """Measure the pixels between neighbours in the first convolution, which for transformers is the patch."""
    strides = [layer.stride for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    return (strides[0][0], strides[0][1]) if strides else (1, 1)


def _create(config: TimmConfig, image_shape: tuple[int, ...]) -> Any:
    name = config.model_name
    arguments: dict[str, Any] = {"num_classes": 0, "in_chans": image_shape[0]}
    published = timm.get_pretrained_cfg(name)
    if published and published.fixed_input_size:  # transformers: position embeddings have a size
        arguments["img_size"] = image_shape[1:]
    if config.feature_aggregation:
        arguments["global_pool"] = ""
    elif name.startswith("vit") and _has_class_token(name, arguments):
        arguments["global_pool"] = "token"  # which some of them carry, and average the others
    if not config.has_pretrained_weights or not pretrained_weights_wanted():
        return timm.create_model(name, **arguments)
    if config.checkpoint_path:
        return _load_from_file(name, config.checkpoint_path, arguments)
    return _load_from_hub(name, arguments)


def _has_class_token(name: str, arguments: dict[str, Any]) -> bool:
    with torch.device("meta"):
        return getattr(timm.create_model(name, **arguments), "cls_token", None) is not None


def _without_head(model: Any, config: TimmConfig) -> nn.Module:
    parts = dict(model.named_children())
    if config.model_name.startswith("resnet") and "layer4" in parts:  # stages, pooling, classifier
        return nn.Sequential(*list(parts.values())[: -2 if config.downsample_ratio == 32 else -3])
    if config.downsample_ratio != 32:
        raise DpError(
            f"encoder 'timm': downsample_ratio {config.downsample_ratio} needs a ResNet with four stages 'layer1' to "
            f"'layer4', and '{config.model_name}' is built otherwise; leave it out"
        )
    if config.model_name.startswith("convnext"):  # stem, stages, nothing, normalisation and classifier
        return nn.Sequential(*list(parts.values())[:-2])
    whole: nn.Module = model
    return whole


def _check_features(shape: tuple[int, ...], config: TimmConfig, image_shape: tuple[int, ...]) -> None:
    name, aggregation = config.model_name, config.feature_aggregation
    if len(shape) != (4 if aggregation else 2):
        wanted = f"feature_aggregation '{aggregation}' needs feature maps or tokens of patches" if aggregation else ""
        raise DpError(
            f"encoder 'timm': {wanted or 'one vector per image is needed'}, and '{name}' gives {list(shape)}; "
            f"choose another model" + (", or 'feature_aggregation: null'" if aggregation else "")
        )
    if aggregation in ("spatial_softmax", "soft_attention") and shape[-2:] == (1, 1):
        height, width = image_shape[1:]
        raise DpError(
            f"encoder 'timm': feature_aggregation '{aggregation}' tells places apart, and '{name}' leaves 1 pixel of "
            f"images of {height} x {width}; use larger images, or 'feature_aggregation: avg'"
        )


def _reason(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 300).rstrip(".: ")


def _load_from_file(name: str, path: Path, arguments: dict[str, Any]) -> nn.Module:
    if not path.is_file():
        raise DpError(f"encoder 'timm': checkpoint_path '{path}' does not exist")
    try:
        names = timm.models.load_state_dict(str(path)).keys()
        # As if published: timm then leaves out the classifier and fits channels and position embeddings.
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **arguments)
    except Exception as error:  # a file can hold anything
        raise DpError(f"encoder 'timm': checkpoint_path '{path}' cannot be loaded: {_reason(error)}") from error
    if names.isdisjoint(model.state_dict()):
        raise DpError(
            f"encoder 'timm': checkpoint_path '{path}' holds no weights of '{name}', but for example "
            f"'{next(iter(names), None)}'; expected a state dict of timm"
        )
    return model


def _load_from_hub(name: str, arguments: dict[str, Any]) -> nn.Module:
    try:
        with impatient_hub():
            return timm.create_model(name, pretrained=True, **arguments)
    except OSError as error:
        raise DpError(
            f"encoder 'timm': the weights of '{name}' are not in the cache and cannot be fetched from {endpoint()}; "
            "set 'checkpoint_path' to a file that holds them, or train from scratch with 'pretrained: false'"
        ) from error


def _group_norm(old: nn.BatchNorm2d) -> nn.Module:
    channels = old.num_features
    groups = group_norm(channels).num_groups
    if channels % 16 and channels >= 8 and channels % (channels // 8) == 0:
        groups = channels // 8  # UMI's, for its weights; the paper's networks have no such layers
    if not isinstance(old, BatchNormAct2d):
        return nn.GroupNorm(groups, channels)
    # timm's layer of both normalisation and activation.
    both = GroupNormAct(channels, groups)
    both.drop, both.act = old.drop, old.act
    return both
