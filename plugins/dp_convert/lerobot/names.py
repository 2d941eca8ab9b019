"""Translates LeRobot's names of weights into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_UNET, _RGB = "diffusion.unet.", "diffusion.rgb_encoder."
_STATISTICS = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")


def our_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of the networks as our policy has them; an unknown name stays, and will not fit."""
    ours = {name: torch.empty(0) for name in ("_dummy_variable", "mask_generator._dummy_variable")}
    for name, tensor in weights.items():
        name = name.replace("._orig_mod.", ".")  # compiled
        if name.startswith(_STATISTICS) or name.endswith(".pool.pos_grid"):
            continue  # of the normalizer, read elsewhere; coordinates, which follow from the image's size
        if name.startswith(_UNET):
            name = _unet_name(name.removeprefix(_UNET))
        elif name.startswith(_RGB):
            name = f"obs_encoder.rgb_encoder.{name.removeprefix(_RGB)}"
        ours[name] = tensor
    return ours


def _unet_name(name: str) -> str:
    name = re.sub(r"\.conv([12])\.block\.", lambda match: f".blocks.{int(match[1]) - 1}.block.", name)
    # What halves and doubles the length is a convolution there, and a module with a convolution here.
    name = re.sub(r"^((?:down|up)_modules\.\d+\.2)\.(weight|bias)$", r"\1.conv.\2", name)
    return f"model.{name}"
