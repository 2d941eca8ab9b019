"""Images reach the features of timm's models whole, or are refused."""

import logging
import re

import pytest
import torch

from dp_core.errors import DpError
from dp_core.pretrained import skip_pretrained_weights
from dp_timm.config import TimmConfig
from dp_timm.plugin import dp_components
from dp_timm.sizes import near_sizes

pytest.importorskip("timm")

FAMILIES = [
    "test_vit",
    "test_vit3",
    "test_vit_relpos",
    "deit_tiny_patch16_224",
    "eva02_tiny_patch14_224",
    "pit_ti_224",
    "xcit_nano_12_p16_224",
    "levit_128s",
    "gmlp_ti16_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_cr_tiny_224",
    "test_maxvit",
    "test_coatnet",
    "nest_tiny",
    "pvt_v2_b0",
    "mobilevit_xxs",
    "edgenext_xx_small",
    "fastvit_t8",
    "test_convnext",
    "convnextv2_atto",
    "test_mambaout",
    "test_resnet",
    "resnet18",
    "resnetv2_18",
    "densenet121",
    "hrnet_w18_small",
    "regnetx_002",
    "test_nfnet",
    "test_byobnet",
    "test_efficientnet",
    "mobilenetv3_small_050",
    "ghostnet_050",
    "lcnet_035",
]
"""A small member of each."""


def build(size, **options):
    (component,) = dp_components()
    shape_meta = {"obs": {"image": {"shape": [3, *size], "type": "rgb"}}, "action": {"shape": [2]}}
    return component.load()(TimmConfig(**options), shape_meta=shape_meta)


def error_of(size, **options):
    with pytest.raises(DpError) as raised:
        build(size, **options)
    return str(raised.value)


def unseen_by_gradient(encoder, size):
    """How many rows and columns of an image the features do not depend on, found out in another way."""
    image = torch.rand(1, 3, *size, requires_grad=True)
    features = encoder.eval()({"image": image})
    (features * torch.randn_like(features)).sum().backward()
    seen = image.grad.abs().sum(dim=(0, 1)) > 0
    return int((~seen.any(dim=1)).sum()), int((~seen.any(dim=0)).sum())


@pytest.mark.parametrize("size", [(84, 84), (96, 76)], ids=str)
@pytest.mark.parametrize("model_name", FAMILIES)
def test_every_row_and_column_reaches_the_features_or_the_size_is_refused(model_name, size):
    sizes = [size]
    try:
        build(size, model_name=model_name)
    except DpError as error:
        advice = str(error).rpartition("; use resize_shape or crop_shape ")[2]
        sizes = [(int(height), int(width)) for height, width in re.findall(r"\[(\d+), (\d+)\]", advice)]

    assert sizes != []
    for offered in sizes:
        assert unseen_by_gradient(build(offered, model_name=model_name), offered) == (0, 0)


@pytest.mark.parametrize(
    ("model_name", "size", "options", "message"),
    [
        (
            "vit_tiny_patch16_224",
            (84, 84),
            {},
            "'vit_tiny_patch16_224' does not see the last 4 rows and the last 4 columns of images of 84 x 84; use "
            "resize_shape or crop_shape [80, 80] or [96, 96]",
        ),
        (
            "test_vit3",
            (108, 144),
            {"feature_aggregation": "avg"},
            "'test_vit3' does not see the last 12 rows of images of 108 x 144; use resize_shape or crop_shape "
            "[96, 144] or [112, 144]",
        ),
        (
            "test_vit3",
            (96, 96),
            {"crop_shape": (84, 88)},
            "'test_vit3' does not see the last 4 rows and the last 8 columns of images of 84 x 88; use crop_shape "
            "[80, 80] or [96, 96]",
        ),
        (
            "test_vit3",
            (96, 96),
            {"resize_shape": (65, 64), "crop_ratio": 0.9},
            "'test_vit3' does not see the last row of images of 65 x 64; use resize_shape [64, 64] or [80, 64]",
        ),
        (
            "eva02_tiny_patch14_224",
            (96, 96),
            {},
            "'eva02_tiny_patch14_224' does not see the last 12 rows and the last 12 columns of images of 96 x 96; "
            "use resize_shape or crop_shape [84, 84] or [98, 98]",
        ),
        (
            "test_vit",
            (84, 84),
            {},
            "model 'test_vit' fails for images [3, 84, 84]: AssertionError: Input height (84) should be divisible by "
            "patch size (16); use resize_shape or crop_shape [80, 80] or [96, 96]",
        ),
        (
            "mvitv2_tiny",
            (84, 84),
            {},
            "model 'mvitv2_tiny' fails for images [3, 84, 84]: IndexError: index 19 is out of bounds for dimension 0 "
            "with size 19; use resize_shape or crop_shape [64, 64] or [96, 96]",
        ),
        (
            "efficientformer_l1",
            (96, 96),
            {},
            "model 'efficientformer_l1' fails for images [3, 96, 96]: RuntimeError: The size of tensor a (9) must "
            "match the size of tensor b (49) at non-singleton dimension 3; use resize_shape or crop_shape [224, 224]",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_nearest_that_do(model_name, size, options, message):
    assert error_of(size, model_name=model_name, **options) == f"encoder 'timm': {message}"


def test_residual_branches_that_begin_with_zero_are_no_reason_to_refuse():
    """With batch normalisation a ResNet begins with its shortcuts alone, which skip three of four pixels."""
    encoder = build((84, 84), model_name="resnet18", use_group_norm=False)

    assert unseen_by_gradient(encoder, (84, 84)) != (0, 0)


def test_a_model_that_was_trained_so_is_still_loaded(caplog):
    with skip_pretrained_weights(), caplog.at_level(logging.WARNING):
        encoder = build((84, 84), model_name="test_vit3")

    assert encoder({"image": torch.rand(2, 3, 84, 84)}).shape == (2, encoder.output_dim)
    assert caplog.messages == [
        "encoder 'timm': 'test_vit3' does not see the last 4 rows and the last 4 columns of images of 84 x 84, and did "
        "not in training"
    ]


def test_tokens_that_are_not_those_of_patches_are_refused():
    assert error_of((96, 96), model_name="pit_ti_224", feature_aggregation="avg") == (
        "encoder 'timm': feature_aggregation 'avg' needs feature maps or tokens of patches, and 'pit_ti_224' gives "
        "[1, 1, 256]; choose another model, or 'feature_aggregation: null'"
    )


def test_the_likeliest_sizes_are_tried_first_and_those_alone():
    tried = []

    def fits(size):
        tried.append(size)
        return size[0] % 16 == size[1] % 16 == 0

    assert near_sizes((84, 100), (80, 96), (16, 16), fits) == [(80, 96), (96, 112)]
    assert tried == [(80, 96), (96, 112)]


def test_squares_are_tried_where_nothing_else_fits():
    assert near_sizes((96, 144), (96, 144), (1, 1), lambda size: size[0] == size[1]) == [(96, 96), (144, 144)]


def test_there_may_be_no_smaller_size():
    assert near_sizes((5, 5), (0, 0), (16, 16), lambda size: size[0] % 16 == 0) == [(16, 16)]
