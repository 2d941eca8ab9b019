"""Makes models of timm; says in one line what is wrong where timm or its hub would fail."""

from __future__ import annotations

import contextlib
import difflib
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
from huggingface_hub import constants as hub
from timm.layers.norm_act import BatchNormAct2d, GroupNormAct
from torch import nn

from dp_core.errors import DpError
from dp_core.vision import group_norm, replace_batch_norm
from dp_core.weights import pretrained_weights_wanted

if TYPE_CHECKING:
    from dp_timm.config import TimmConfig

HUB_TIMEOUT = 5.0
"""Seconds to wait for a sign of life of the hub, whose own client goes on trying for most of a minute."""


def create_backbone(config: TimmConfig, image_shape: tuple[int, ...]) -> nn.Module:
    """Make the model for images of ``image_shape`` (C, H, W), without its classifier.

    Raises:
        DpError: the model does not exist or does not fit the images, or its weights are out of reach.
    """
    name = config.model_name
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        raise DpError(
            f"encoder 'timm': model_name '{name}' is not a model of timm {timm.__version__}"
            + (f"; did you mean '{near[0]}'?" if near else "")
        )
    arguments: dict[str, Any] = {"num_classes": 0, "in_chans": image_shape[0]}
    try:
        published = timm.get_pretrained_cfg(name)
        if published and published.fixed_input_size:  # transformers: position embeddings have a size
            arguments["img_size"] = image_shape[1:]
        if not config.has_pretrained_weights or not pretrained_weights_wanted():
            model = timm.create_model(name, **arguments)
        elif config.checkpoint_path:
            model = _load_from_file(name, config.checkpoint_path, arguments)
        else:
            model = _load_from_hub(name, arguments)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise unsuitable(name, image_shape, error) from error
    if config.use_group_norm or (config.use_group_norm is None and not config.has_pretrained_weights):
        replace_batch_norm(model, _group_norm)
    return model


def unsuitable(name: str, image_shape: tuple[int, ...], error: Exception) -> DpError:
    """What to raise when model ``name`` fails, with its own words."""
    return DpError(f"encoder 'timm': model '{name}' fails for images {list(image_shape)}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 300)


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
        with _impatient_hub():
            return timm.create_model(name, pretrained=True, **arguments)
    except OSError as error:
        raise DpError(
            f"encoder 'timm': the weights of '{name}' are not in the cache and cannot be fetched from {hub.ENDPOINT}; "
            "set 'checkpoint_path' to a file that holds them, or train from scratch with 'pretrained: false'"
        ) from error


@contextlib.contextmanager
def _impatient_hub() -> Iterator[None]:
    """Use only what is in the cache where the hub cannot be reached."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not _is_reachable(hub.ENDPOINT)
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def _is_reachable(url: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=HUB_TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _group_norm(old: nn.BatchNorm2d) -> nn.Module:
    new = group_norm(old.num_features)
    if not isinstance(old, BatchNormAct2d):
        return new
    # timm's layer of both normalisation and activation.
    both = GroupNormAct(old.num_features, new.num_groups)
    both.drop, both.act = old.drop, old.act
    return both
