"""Options of the R3M encoder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
from attrs.validators import gt

from dp_core import option
from dp_core.pretrained import pretrained_weights_wanted
from dp_core.shape_meta import keys_of_type, obs_shape


@attrs.frozen(kw_only=True)
class R3MConfig:
    """ResNets of R3M with its own preprocessing, other keys unchanged.

    The shorter side of images becomes 256 pixels, of which 224 x 224 are cut out, then come ImageNet's statistics. Of
    the longer side more is left out: of 480 x 640, evaluation sees the middle 420 x 420; 224 x 224 stay whole.
    """

    takes: ClassVar[tuple[str, ...]] = ("rgb", "low_dim")

    model_name: Literal["resnet18", "resnet34", "resnet50"] = option("resnet18", help="which network of R3M")
    pretrained: bool = option(True, help="start from the weights of R3M; false: the same network from scratch")
    checkpoint_path: Path | None = option(
        None, help="file of R3M's weights (model.pt); null: where R3M keeps them, ~/.r3m/r3m_18/model.pt and the like"
    )
    download: bool = option(
        False,
        help="fetch the weights from R3M's address on Google Drive if they are not in ~/.r3m; in a fresh run only",
    )
    frozen: bool = option(False, help="do not train the networks: no gradient, no change of batch statistics")
    lr_multiplier: float = option(
        1.0,
        help="learning rate of the networks, relative to the optimizer's; 0.1 suits pretrained ones",
        validator=gt(0),
    )
    random_crop: bool = option(True, help="in training, cut the 224 x 224 pixels at random; false: always the centre")
    share_rgb_model: bool = option(False, help="one network for all cameras, instead of one each")

    @property
    def weights_path(self) -> Path:
        """The file that holds the weights, or is to be fetched."""
        depth = self.model_name.removeprefix("resnet")
        return self.checkpoint_path or Path.home() / ".r3m" / f"r3m_{depth}" / "model.pt"

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report images that do not have three channels, and options that have no effect."""
        for key in keys_of_type(shape_meta, "rgb"):
            channels = obs_shape(shape_meta, key)[0]
            if channels != 3:
                yield (
                    "model_name",
                    f"networks of R3M take 3 channels, and images of '{key}' have {channels}; "
                    "choose the encoder 'timm'",
                )
        if self.checkpoint_path and not self.pretrained:
            yield "checkpoint_path", "is set, and 'pretrained' is false; leave one of them out"
        if self.download and not self.pretrained:
            yield "download", "is true, and 'pretrained' is false; leave one of them out"
        if self.frozen and not self.pretrained:
            yield (
                "frozen",
                "is true, and without 'pretrained' the weights are random, which would never learn; leave one of them "
                "out",
            )
        if self.frozen and self.lr_multiplier != 1:
            yield "lr_multiplier", "is set, and networks that are 'frozen' do not learn; leave one of them out"
        if self.download and self.checkpoint_path:
            yield "download", "is true, and 'checkpoint_path' names a file; leave one of them out"

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report weights that are neither there nor to be fetched, unless a checkpoint of ours replaces them."""
        if self.pretrained and pretrained_weights_wanted() and not self.download and not self.weights_path.is_file():
            option_name = "checkpoint_path" if self.checkpoint_path else "pretrained"
            yield option_name, self.absent()

    def absent(self) -> str:
        """Explain that `weights_path` does not exist and is not to be fetched, and what to do."""
        if self.checkpoint_path:
            return f"file '{self.checkpoint_path}' does not exist"
        return (
            f"the weights are not in '{self.weights_path}'; set 'download: true' to fetch them, or 'checkpoint_path' "
            "to a file that holds them"
        )
