"""Reads files with the weights of other projects, and puts the weights where they belong."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dp_core.errors import DpError


def read_weights(path: Path) -> Any:
    """Read a file written by `torch.save` onto the CPU; runs nothing in it: only tensors and plain values may be there.

    Raises:
        DpError: the file cannot be read, or holds anything else.
    """
    if not path.is_file():
        raise DpError(f"{path}: file does not exist")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file can hold anything
        reason = textwrap.shorten(str(error), 150)
        raise DpError(f"{path}: is not a file of weights, or not a whole one ({reason})") from error


def load_weights(model: nn.Module, weights: Mapping[str, Any], path: Path) -> None:
    """Copy ``weights`` into ``model``; they must be exactly those that it has.

    Raises:
        DpError: names or shapes differ; names ``path`` and the first that do.
    """
    own = model.state_dict()
    if absent := [name for name in own if name not in weights]:
        raise DpError(f"{path}: holds no '{absent[0]}'; {len(absent)} of the {len(own)} weights expected are absent")
    if unknown := [name for name in weights if name not in own]:
        raise DpError(f"{path}: '{unknown[0]}' does not belong to the network; {len(unknown)} weights do not")
    for name, value in own.items():
        given = weights[name]
        if not isinstance(given, Tensor):
            raise DpError(f"{path}: '{name}' is {given!r}; expected a tensor")
        if given.shape != value.shape:
            raise DpError(f"{path}: '{name}' is {list(given.shape)}; expected {list(value.shape)}")
    model.load_state_dict(weights)
