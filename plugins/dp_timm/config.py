"""Options of the timm encoder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs.validators import deep_iterable, ge, optional

from dp_core import option
from dp_core.shape_meta import crop_problems, keys_of_type, obs_shape
from dp_core.weights import pretrained_weights_wanted


@attrs.frozen(kw_only=True)
class TimmConfig:
    """Image backbones of timm, one per camera or one for all; other keys unchanged."""

    model_name: str = option("resnet18", help="a name of timm.list_models(), with a tag where weights are chosen")
    pretrained: bool = option(False, help="start from the weights published for the model; fetched in a fresh run only")
    checkpoint_path: Path | None = option(
        None, help="start from the weights in this file instead (.safetensors or .pth), which needs no network"
    )
    crop_shape: tuple[int, int] | None = option(
        None,
        help="height and width cut out of every image, at random in training; null: the whole image",
        validator=optional(deep_iterable(ge(1))),
    )
    share_rgb_model: bool = option(False, help="one model for all cameras, instead of one each")
    use_group_norm: bool | None = option(
        None,
        help="replace batch by group normalisation, which the average of weights (EMA) needs; "
        "null: unless the weights are pretrained",
    )
    pool: Literal["model", "spatial_softmax"] = option(
        "model",
        help="from feature maps to features: as the model does it (average or class token), or spatial_softmax",
    )
    num_kp: int = option(32, help="keypoints of the spatial softmax of one camera", validator=ge(1))

    @property
    def has_pretrained_weights(self) -> bool:
        """Whether training starts from the weights of others, which fixes how images are normalised."""
        return self.pretrained or self.checkpoint_path is not None

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Every image must be at least as large as the crop, and images of a shared model alike."""
        for message in crop_problems(self.crop_shape, shape_meta):
            yield "crop_shape", message
        shapes = {key: obs_shape(shape_meta, key) for key in keys_of_type(shape_meta, "rgb")}
        seen = {shape[:1] + (self.crop_shape or shape[1:]) for shape in shapes.values()}
        if self.share_rgb_model and len(seen) > 1:
            found = ", ".join(f"{list(shape)} of '{key}'" for key, shape in shapes.items())
            yield "share_rgb_model", f"images differ in shape: {found}; set 'crop_shape', or use one model for each"

    def preflight(self) -> Iterable[tuple[str, str]]:
        """The file with weights must be there, unless a checkpoint of ours replaces them."""
        if self.checkpoint_path and pretrained_weights_wanted() and not self.checkpoint_path.is_file():
            yield "checkpoint_path", f"file '{self.checkpoint_path}' does not exist"
