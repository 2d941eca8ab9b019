"""The small convolutional encoder."""

import pytest
import torch

from dp_cnn.config import CnnConfig
from dp_cnn.plugin import dp_components
from dp_core.checkpoint import payload_parts
from dp_core.kit.nn.image_probe import Probe, probe
from dp_core.pretrained import skip_pretrained_weights
from dp_core.registry import Registry


def build(shape_meta, **options):
    (component,) = dp_components()
    return component.load()(CnnConfig(**options), shape_meta=shape_meta)


def meta(**shapes):
    types = {3: "rgb", 2: "low_dim", 1: "low_dim"}
    obs = {key: {"shape": list(shape), "type": types[len(shape)]} for key, shape in shapes.items()}
    return {"obs": obs, "action": {"shape": [2]}}


def observe(shape_meta, count=3):
    return {key: torch.rand(count, *spec["shape"]) * 2 - 1 for key, spec in shape_meta["obs"].items()}


def test_features_are_in_the_order_of_shape_meta():
    shape_meta = meta(qpos=(5,), wrist=(3, 48, 64), pose=(2, 3), top=(1, 96, 96))
    encoder = build(shape_meta, feature_dimension=16)
    obs = observe(shape_meta)

    features = encoder(obs)

    assert features.shape == (3, encoder.output_dim) == (3, 43)
    expected = [
        obs["qpos"],
        encoder.nets["wrist"](obs["wrist"]),
        obs["pose"].flatten(1),
        encoder.nets["top"](obs["top"]),
    ]
    assert torch.equal(features, torch.cat(expected, dim=1))


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((96, 96), {}),
        ((97, 61), {"downsample": 1}),
        ((20, 33), {"crop_shape": (18, 32)}),
        ((108, 144), {"downsample": 3}),
        ((76, 84), {"channels": (8, 8), "downsample": 4}),
    ],
)
def test_any_size_that_passes_the_check_is_seen_whole(size, options):
    """Every convolution takes in what it halves, odd or even."""
    shape_meta = meta(image=(3, *size))
    net = build(shape_meta, **options).eval().nets["image"]

    assert list(CnnConfig(**options).check(shape_meta=shape_meta)) == []
    assert probe(net, (3, *options.get("crop_shape", size))) == Probe((64,), (0, 0))


def test_pixels_that_fill_no_square_are_a_config_problem():
    config = CnnConfig(downsample=4)

    assert list(config.check(shape_meta=meta(image=(3, 98, 96)))) == [
        (
            "downsample",
            "squares of 4 x 4 pixels do not fill the 98 x 96 of 'image', whose last rows or columns would be left out; "
            "use crop_shape [96, 96], or another 'downsample'",
        )
    ]
    with skip_pretrained_weights():  # it was trained so
        assert list(config.check(shape_meta=meta(image=(3, 98, 96)))) == []


def test_a_policy_that_was_trained_on_images_cut_so_is_still_loaded():
    steps = {"horizon": 4, "n_obs_steps": 1, "n_action_steps": 2}
    policy = {"name": "diffusion", "encoder": {"name": "cnn", "downsample": 4}, "denoiser": "unet1d", **steps}
    data = {"shape_meta": meta(image=(3, 98, 96)), "policy": {**policy, "scheduler": "ddpm"}}

    parts = payload_parts({"cfg": data, "manifest": {}}, Registry.discover(), "old.ckpt", data, ("policy",))

    assert parts["policy"].config.encoder.config.downsample == 4


def test_crop_is_random_in_training_only():
    shape_meta = meta(image=(3, 96, 96))
    encoder = build(shape_meta, crop_shape=(84, 84))
    obs = observe(shape_meta)

    assert not torch.equal(encoder(obs), encoder(obs))
    assert torch.equal(encoder.eval()(obs), encoder(obs))


def test_brightness_and_contrast_of_an_image_do_not_matter():
    shape_meta = meta(image=(3, 96, 96))
    encoder = build(shape_meta).eval()
    obs = observe(shape_meta)

    torch.testing.assert_close(encoder({"image": 0.5 * obs["image"] + 0.3}), encoder(obs), rtol=1e-3, atol=1e-3)


def test_image_of_one_colour_gives_finite_features_and_gradients():
    encoder = build(meta(image=(3, 96, 96)))

    features = encoder({"image": torch.ones(2, 3, 96, 96)})
    features.sum().backward()

    assert features.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_state_alone_needs_no_network():
    encoder = build(meta(qpos=(5,)))

    assert encoder.output_dim == 5
    assert list(encoder.parameters()) == []


def test_crop_larger_than_an_image_is_a_config_problem():
    assert list(CnnConfig(crop_shape=(128, 128)).check(shape_meta=meta(image=(3, 96, 96)))) == [
        ("crop_shape", "[128, 128] is larger than the image (96, 96) of 'image'; choose at most 96 x 96")
    ]


def test_image_that_vanishes_on_the_way_is_a_config_problem():
    config = CnnConfig(channels=(16, 16, 16, 16))

    assert list(config.check(shape_meta=meta(image=(3, 32, 96)))) == [
        (
            "channels",
            "4 convolutions after downsampling by 2 leave nothing of the 32 x 96 pixels of 'image'; "
            "use fewer, or a smaller 'downsample'",
        )
    ]


def test_depth_is_an_image(registry):
    shape_meta = {"obs": {"depth": {"shape": [1, 16, 16], "type": "depth"}}, "action": {"shape": [2]}}
    block = {"name": "cnn", "channels": [4], "feature_dimension": 8}
    encoder = registry.build("encoder", block, shape_meta=shape_meta)

    assert encoder({"depth": torch.rand(2, 1, 16, 16)}).shape == (2, encoder.output_dim) == (2, 8)
