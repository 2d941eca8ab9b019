"""The timm encoder gives what UMI's ``TimmObsEncoder`` gives, with its weights (tests/golden/README.md, k)."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from dp_timm.config import TimmConfig
from dp_timm.plugin import dp_components

pytest.importorskip("timm")

VIT = {"model_name": "vit_tiny_patch16_224", "normalization": "zero_one"}
CASES = [
    *("avg", "max", "spatial_embedding", "soft_attention", "attention_pool_2d", "transformer"),
    *(
        "transformer_of_umi",
        "transformer_sinusoidal",
        "spatial_embedding_ratio16",
        "separate_batch_norm",
        "convnext",
        "efficientnet",
        "vit",
    ),
]


def build(size, **options):
    obs = {
        "wrist": {"shape": [3, size, size], "type": "rgb"},
        "qpos": {"shape": [5]},
        "cam": {"shape": [3, size, size], "type": "rgb"},
    }
    (component,) = dp_components()
    return component.load()(TimmConfig(**options), shape_meta={"obs": obs, "action": {"shape": [2]}})


def numbers(start, count):
    """The same on every machine and for every version of numpy."""
    return np.random.RandomState(start).uniform(-0.5, 0.5, count)


def weights(shapes, is_shared):
    """The weights of the golden numbers, by formula, so that they need not be stored."""
    counters = {name for name in shapes if name.endswith("num_batches_tracked")}
    own = {name for name in shapes if not (is_shared and name.startswith("key_model_map.wrist."))} - counters
    state = {name: torch.tensor(0) for name in counters}
    for start, name in enumerate(sorted(own)):
        shape, count = shapes[name], math.prod(shapes[name])
        values = numbers(start, count)
        if len(shape) > 1:
            values = values * 4 / math.sqrt(count / shape[0])
        elif name.endswith(("running_var", ".weight")):
            values = 1 + 0.2 * values
        state[name] = torch.from_numpy(values.reshape(shape)).float()
    same = {name: name.replace("map.wrist.", "map.cam.") for name in shapes if name not in state}
    return state | {name: state[other] for name, other in same.items()}


def observations(size):
    """Of two samples; images in [0, 1], as UMI has them."""
    images = [np.random.RandomState(start).randint(0, 256, (2, 3, size, size)) for start in (0, 2)]
    wrist, cam = (torch.from_numpy(image).float() / 255 for image in images)
    return {"wrist": wrist, "qpos": torch.from_numpy(numbers(1, 10).reshape(2, 5)).float(), "cam": cam}


@torch.no_grad()
def encode(encoder, obs):
    """What `encoder` makes of UMI's observations: ours have images in [-1, 1]."""
    return encoder.eval()({key: value if key == "qpos" else value * 2 - 1 for key, value in obs.items()})


@pytest.mark.parametrize("case", CASES)
def test_weights_of_umi_load_by_name_and_give_its_features(case, golden) -> None:
    with np.load(golden("k_timm_umi.npz")) as file:
        expected = torch.from_numpy(file[f"{case}/out"])
        options, shapes = (json.loads(str(file[f"{case}/{name}"])) for name in ("options", "shapes"))
    is_shared = options.get("share_rgb_model", False)
    size = 224 if case == "vit" else 96
    # UMI has batch normalisation unless told otherwise.
    encoder = build(size, **{"use_group_norm": False, "normalization": "zero_one"} | options)

    encoder.load_state_dict(weights(shapes, is_shared), strict=True)

    torch.testing.assert_close(encode(encoder, observations(size)), expected, rtol=1e-5, atol=1e-5)


def test_class_token_equals_that_of_umi(golden) -> None:
    """With weights that come with the numbers; two steps of two samples."""
    with np.load(golden("k_timm_vit_tiny_cls.npz")) as file:
        state = {name[3:]: torch.from_numpy(file[name]) for name in file.files if name.startswith("sd/")}
        obs = {key: torch.from_numpy(file[f"obs/{key}"]).flatten(0, 1) for key in ("cam", "wrist", "qpos")}
        expected = torch.from_numpy(file["out"])
    encoder = build(224, **VIT)

    encoder.load_state_dict(state, strict=True)

    steps = encode(encoder, obs).unflatten(0, (2, 2))
    # UMI joins the steps of each key, where our policies join the features of each step.
    joined = torch.cat([part.flatten(1) for part in steps.split([192, 192, 5], dim=-1)], dim=-1)
    torch.testing.assert_close(joined, expected, rtol=0, atol=5e-5)


def test_sizes_and_names_of_every_aggregation_are_those_of_umi(golden) -> None:
    cases = json.loads(golden("k_timm_configs.json").read_text())
    options = {"model_name": "resnet10t", "share_rgb_model": True, "use_group_norm": True}

    for name in (
        "attention_pool_2d",
        "avg",
        "avg_ratio16",
        "max",
        "soft_attention",
        "spatial_embedding",
        "transformer",
    ):
        aggregation, _, ratio = name.partition("_ratio")
        encoder = build(96, feature_aggregation=aggregation, downsample_ratio=int(ratio or 32), **options)
        own = {key for key in encoder.state_dict() if not key.startswith("key_model_map.")}

        # UMI's numbers are of two steps.
        assert 2 * encoder.output_dim == cases[name]["out_dim"]
        assert own - {"_dummy_variable", "spatial_embedding"} == set(cases[name]["extra_keys"])
