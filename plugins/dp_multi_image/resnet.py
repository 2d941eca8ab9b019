"""Makes ResNets of torchvision, with the weights that it publishes or those of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torchvision
from torch import nn

from dp_core.errors import DownloadError, DpError
from dp_core.kit.files.download import download
from dp_core.kit.nn.vision import replace_batch_norm
from dp_core.kit.nn.weight_files import load_weights, read_weights
from dp_core.pretrained import pretrained_weights_wanted

if TYPE_CHECKING:
    from dp_multi_image.config import MultiImageConfig

_ELSEWHERE = (
    "download it on a machine that can reach it, and set 'checkpoint_path' to the file; "
    "or train from scratch with 'weights: null'"
)


def create_resnet(config: MultiImageConfig, channels: int) -> tuple[nn.Module, int]:
    """Make the network for images of ``channels`` channels, without its classifier; also return its size of features.

    Raises:
        DpError: its weights are out of reach, or those of another network.
    """
    model = torchvision.models.get_model(config.rgb_model, weights=None)
    features: int = model.fc.in_features
    model.fc = nn.Identity()
    if channels != 3:
        model.conv1 = nn.Conv2d(channels, model.conv1.out_channels, kernel_size=7, stride=2, padding=3, bias=False)
    if config.has_pretrained_weights and pretrained_weights_wanted():
        try:
            load_file(model, config.checkpoint_path or published_file(config.rgb_model, str(config.weights)))
        except DpError as error:
            raise DpError(f"encoder 'multi_image': {error}") from error
    return (replace_batch_norm(model) if config.has_group_norm else model), features


def load_file(model: nn.Module, path: Path) -> None:
    """Load the weights in a file of torchvision's into ``model``.

    Raises:
        DpError: the file cannot be read, or holds something else.
    """
    weights = read_weights(path)
    if not isinstance(weights, Mapping):
        raise DpError(f"{path}: holds no state dict, but a value of type {type(weights).__name__}")
    load_weights(model, {name: value for name, value in weights.items() if not name.startswith("fc.")}, path)


def published_file(rgb_model: str, weights: str) -> Path:
    """Return the file of torchvision's ``weights`` in the folder of torch's hub; fetch it unless it is there."""
    address: str = torchvision.models.get_model_weights(rgb_model)[weights].url
    return fetch_once(address, Path(torch.hub.get_dir()) / "checkpoints")


def fetch_once(address: str, folder: Path) -> Path:
    """Return the file in ``folder`` that ``address`` ends with; fetch it unless it is there.

    Its name ends with the first digits of its SHA-256, as in ``resnet18-f37072fd.pth``.

    Raises:
        DownloadError: it cannot be fetched, or is something else.
    """
    path = folder / address.rpartition("/")[2]

    def check(fetched: Path) -> None:
        with fetched.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        expected = path.stem.rpartition("-")[2]
        if not digest.startswith(expected):
            found = digest[: len(expected)]
            raise DownloadError(f"{address}: is another file than its name says (SHA-256 {found}...); {_ELSEWHERE}")

    if not path.is_file():
        download(address, path, otherwise=_ELSEWHERE, check=check)
    return path
