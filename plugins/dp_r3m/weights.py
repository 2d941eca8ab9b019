"""The weights that R3M published: where they are, and what of them is the image network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from dp_core.errors import DownloadError, DpError
from dp_core.kit.files.download import download
from dp_core.kit.nn.weight_files import load_weights, read_weights
from dp_r3m.google_drive import direct_address

if TYPE_CHECKING:
    from dp_r3m.config import R3MConfig

ADDRESSES = {
    name: f"https://drive.google.com/uc?export=download&id={file}"
    for name, file in {
        "resnet18": "1A1ic-p4KtYlKXdXHcV2QV0cUzI4kn0u-",
        "resnet34": "15bXD3QRhspIRacOKyWPw5y2HpoWUCEnE",
        "resnet50": "1Xu0ssuG0N1zjZS54wmWzJ7-nb0-7XzbA",
    }.items()
}

_PREFIX = "module.convnet."
"""R3M saves a DataParallel of a model whose image network is ``convnet``; the others are about language."""


def load_r3m(model: nn.Module, config: R3MConfig) -> None:
    """Load the weights that ``config`` asks for into ``model``, a ResNet without classifier.

    Raises:
        DpError: they are out of reach, or not those of this network.
    """
    path = config.weights_path
    try:
        if not path.is_file():
            if not config.download:
                raise DpError(config.absent())
            fetch_weights(model, ADDRESSES[config.model_name], path)
        load_file(model, path)
    except DpError as error:
        raise DpError(f"encoder 'r3m': {error}") from error


def fetch_weights(model: nn.Module, address: str, path: Path) -> None:
    """Download to ``path`` and make sure that it fits ``model``.

    Raises:
        DownloadError: it cannot be fetched, or is something else.
    """
    otherwise = f"download it on a machine that can reach it, and copy it to '{path}' or set 'checkpoint_path' to it"

    def check(fetched: Path) -> None:
        try:
            load_file(model, fetched)
        except DpError as error:
            reason = str(error).removeprefix(f"{fetched}: ")
            raise DownloadError(f"{address}: {reason}; nothing was written to '{path}'") from error

    download(direct_address(address, otherwise=otherwise), path, otherwise=otherwise, check=check)


def load_file(model: nn.Module, path: Path) -> None:
    """Load the weights of the image network in a file of R3M into ``model``.

    Raises:
        DpError: the file cannot be read, or holds another network.
    """
    content = read_weights(path)
    weights: Mapping[str, Tensor] | None = content.get("r3m") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping):
        raise DpError(f"{path}: holds no entry 'r3m'; expected a file of R3M (model.pt)")
    of_network = {name.removeprefix(_PREFIX): value for name, value in weights.items() if name.startswith(_PREFIX)}
    load_weights(model, of_network, path)
