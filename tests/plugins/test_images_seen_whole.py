"""What reaches the features of encoders of images, whatever their size."""

import pytest

from dp_core.kit.nn.image_probe import probe
from dp_core.registry import Registry

SIZES = [(84, 84), (108, 144), (75, 91)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "block",
    [
        {"name": "multi_image"},
        {"name": "multi_image", "rgb_model": "resnet50", "use_group_norm": False, "imagenet_norm": True},
        {"name": "robomimic", "crop_shape": None},
        {"name": "lerobot"},
        {"name": "lerobot", "use_group_norm": False},
        {"name": "timm", "model_name": "resnet18", "feature_aggregation": "avg", "downsample_ratio": 16},
        {"name": "timm", "model_name": "resnet18", "use_group_norm": False},
    ],
    ids=str,
)
def test_images_reach_the_features_whole(block, size):
    registry = Registry.discover()
    component = registry.resolve("encoder", block["name"])
    if missing := component.missing():
        pytest.skip(f"needs {missing}")
    shape_meta = {"obs": {"image": {"shape": [3, *size], "type": "rgb"}}, "action": {"shape": [2]}}
    encoder = registry.build("encoder", block, shape_meta=shape_meta).eval()

    assert probe(lambda images: encoder({"image": images}), (3, *size)).unseen == (0, 0)
