"""The multi-image encoder: the original's numbers (tests/golden/README.md, k), its rules, its weights."""

from __future__ import annotations

import hashlib
import socket
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.transforms import functional as image_functions

from dp_core.config.tree import preflight
from dp_core.errors import ConfigError, DownloadError, DpError
from dp_core.pretrained import skip_pretrained_weights
from dp_multi_image.config import MultiImageConfig
from dp_multi_image.resnet import fetch_once

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHAPE_META = {
    "obs": {
        "wrist": {"shape": [3, 64, 64], "type": "rgb"},
        "qpos": {"shape": [5]},
        "cam": {"shape": [3, 64, 64], "type": "rgb"},
        "agent_pos": {"shape": [2]},
    },
    "action": {"shape": [2]},
}


@pytest.fixture
def build(registry):
    def build_encoder(shape_meta=SHAPE_META, **options):
        return registry.build("encoder", {"name": "multi_image", **options}, shape_meta=shape_meta)

    return build_encoder


@pytest.fixture
def transform_of(build):
    """``transform_of(camera, **options)``: what is done to images before they reach the network."""

    def transform(camera, **options):
        return build(share_rgb_model=True, **options).key_transform_map[camera]

    return transform


@pytest.fixture
def error_of(build):
    def message(**options):
        with pytest.raises(DpError) as caught:
            build(**options)
        return str(caught.value)

    return message


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file as torchvision publishes it, with weights of our own, its name included."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("published") / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return path.rename(path.with_name(f"resnet18-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"))


def random_obs(count=2):
    generator = torch.Generator().manual_seed(0)
    return {
        key: 2 * torch.rand(count, *spec["shape"], generator=generator) - 1 for key, spec in SHAPE_META["obs"].items()
    }


def has_batch_norm(module):
    return any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


# -- the original's numbers -------------------------------------------------------------------------------------------


def test_features_are_those_of_the_original(build, tensors, golden):
    file = np.load(golden("k_multi_image_separate_gn_crop56.npz"))
    encoder = build(crop_shape=[56, 56], use_group_norm=True)
    encoder.load_state_dict(tensors(file, "sd/"), strict=True)
    obs = tensors(file, "obs/")

    evaluated = encoder.eval()(obs)
    torch.manual_seed(3)
    trained = encoder.train()(obs)

    assert encoder.output_dim == evaluated.shape[1] == 1031
    np.testing.assert_allclose(evaluated.detach(), file["out_eval"], rtol=0, atol=4.1e-5)
    np.testing.assert_allclose(trained.detach(), file["out_train_seed3"], rtol=0, atol=4.1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_what_the_original_does_to_images_of_its_pretrained_policies_can_be_said(build, training):
    """It resizes, does not crop, takes images in [-1, 1] for images in [0, 1], and keeps batch normalisation."""
    encoder = build(
        resize_shape=[48, 40], crop_shape=None, imagenet_norm=True, normalize_twice=True, use_group_norm=False
    ).train(training)
    obs = random_obs(3)
    expected = []
    for key in ("cam", "wrist"):
        network = torchvision.models.resnet18()
        network.fc = nn.Identity()
        network.load_state_dict(encoder.key_model_map[key].state_dict())
        images = image_functions.resize(obs[key], [48, 40])
        expected.append(network.train(training)(image_functions.normalize(images, MEAN, STD)))

    features = encoder(obs)

    torch.testing.assert_close(features, torch.cat([*expected, obs["agent_pos"], obs["qpos"]], dim=1))


def test_batch_statistics_of_a_shared_network_are_those_of_all_cameras(build):
    """The original's shared model, to which it never gives group normalisation."""
    encoder = build(share_rgb_model=True, use_group_norm=False).train()
    network = torchvision.models.resnet18()
    network.fc = nn.Identity()
    assert [name for name in encoder.state_dict() if name != "_dummy_variable"] == [
        f"key_model_map.rgb.{name}" for name in network.state_dict()
    ]
    network.load_state_dict(encoder.key_model_map["rgb"].state_dict())
    obs = random_obs(3)

    features = encoder(obs)

    of_cameras = network.train()(torch.cat([obs["cam"], obs["wrist"]])).chunk(2)
    torch.testing.assert_close(features, torch.cat([*of_cameras, obs["agent_pos"], obs["qpos"]], dim=1))


# -- what is done to images -------------------------------------------------------------------------------------------


def test_crops_are_random_per_image_in_training_and_the_centre_in_evaluation(transform_of):
    crop = transform_of("wrist", crop_shape=[40, 40])
    images = random_obs(1)["wrist"].expand(8, -1, -1, -1)

    assert crop.train()(images).unique(dim=0).shape[0] > 4
    assert torch.equal(crop.eval()(images), images[:, :, 12:52, 12:52])


def test_a_crop_that_is_not_random_is_the_centre_in_training_too(transform_of):
    """The original leaves such images whole."""
    crop = transform_of("cam", crop_shape=[40, 40], random_crop=False).train()
    images = random_obs()["cam"]

    assert torch.equal(crop(images), images[:, :, 12:52, 12:52])


@pytest.mark.parametrize("antialias", [False, True])
def test_images_are_resized_before_they_are_cropped(transform_of, antialias):
    options = {"resize_shape": [32, 48], "crop_shape": [32, 40], "random_crop": False}
    transform = transform_of("cam", **options, antialias=antialias)
    images = random_obs()["cam"]

    assert torch.equal(transform(images), image_functions.resize(images, [32, 48], antialias=antialias)[..., 4:44])


def test_every_camera_can_have_sizes_of_its_own(build):
    encoder = build(resize_shape={"cam": [32, 48]}, crop_shape={"wrist": [60, 50]}).eval()
    obs = random_obs()

    shapes = {key: tuple(transform(obs[key]).shape[2:]) for key, transform in encoder.key_transform_map.items()}

    assert shapes == {"cam": (32, 48), "wrist": (60, 50)}
    assert encoder(obs).shape == (2, encoder.output_dim)


@pytest.mark.parametrize("twice", [False, True])
def test_imagenet_statistics_are_reached_from_0_to_1_unless_the_original_s_way_is_wanted(transform_of, twice):
    transform = transform_of("cam", imagenet_norm=True, normalize_twice=twice)
    images = random_obs()["cam"]

    expected = image_functions.normalize(images if twice else images / 2 + 0.5, MEAN, STD)
    torch.testing.assert_close(transform(images), expected)


def test_images_are_left_as_they_are_unless_weights_ask_for_more(transform_of, published):
    images = random_obs()["cam"]
    scratch, pretrained, forbidden = (
        transform_of("cam", **options)(images)
        for options in ({}, {"checkpoint_path": published}, {"checkpoint_path": published, "imagenet_norm": False})
    )

    assert torch.equal(scratch, images)
    torch.testing.assert_close(pretrained, image_functions.normalize(images / 2 + 0.5, MEAN, STD))
    assert torch.equal(forbidden, images)


# -- networks ---------------------------------------------------------------------------------------------------------


def test_a_shared_network_gets_group_normalisation_too(build):
    """The original ignores the wish."""
    encoder = build(share_rgb_model=True, use_group_norm=True)

    assert list(encoder.key_model_map) == ["rgb"]
    assert not has_batch_norm(encoder)


def test_batch_norm_is_replaced_unless_weights_are_pretrained(build, published):
    encoders = (
        build(**options, share_rgb_model=True)
        for options in ({}, {"checkpoint_path": published}, {"checkpoint_path": published, "use_group_norm": True})
    )

    assert [has_batch_norm(encoder) for encoder in encoders] == [False, True, False]


def test_a_camera_may_be_called_as_the_shared_network(build):
    obs = {"rgb": {"shape": [3, 40, 40], "type": "rgb"}, "depth": {"shape": [1, 32, 48], "type": "rgb"}}
    encoder = build({"obs": obs, "action": {"shape": [2]}}, imagenet_norm=True).eval()

    features = encoder({"rgb": torch.zeros(2, 3, 40, 40), "depth": torch.zeros(2, 1, 32, 48)})

    assert set(encoder.key_model_map) == {"rgb", "depth"}
    assert features.shape == (2, 1024)


@pytest.mark.parametrize(("rgb_model", "size"), [("resnet34", 512), ("resnet50", 2048)])
def test_other_networks_have_features_of_their_own_size(build, rgb_model, size):
    assert build(rgb_model=rgb_model, share_rgb_model=True).output_dim == 2 * size + 7


@pytest.mark.parametrize("keys", [["wrist", "cam"], ["qpos"]])
def test_cameras_without_state_and_state_without_cameras_work(build, keys):
    shape_meta = {**SHAPE_META, "obs": {key: SHAPE_META["obs"][key] for key in keys}}
    for share in (False, True):
        encoder = build(shape_meta, share_rgb_model=share).eval()

        assert encoder(random_obs()).shape == (2, encoder.output_dim)


@pytest.mark.parametrize("share", [False, True])
def test_frozen_means_frozen(build, published, share):
    """No gradient, no drift of batch statistics; crops stay random."""
    encoder = build(checkpoint_path=published, frozen=True, share_rgb_model=share, crop_shape=[40, 40])
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    obs = {key: value.expand(2, *value.shape[1:]) for key, value in random_obs(1).items()}

    features = encoder.train()(obs)

    assert not features.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not torch.equal(*features)
    assert torch.equal(*encoder.eval()(obs))


def test_what_is_not_frozen_learns(build):
    encoder = build(use_group_norm=False)
    before = encoder.key_model_map["cam"].bn1.running_mean.clone()

    encoder(random_obs()).square().sum().backward()

    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert not torch.equal(encoder.key_model_map["cam"].bn1.running_mean, before)


# -- weights ----------------------------------------------------------------------------------------------------------


def test_every_network_starts_from_the_weights_of_a_file(build, published):
    encoder = build(checkpoint_path=published)
    weights = {name: value for name, value in torch.load(published).items() if not name.startswith("fc.")}

    for network in encoder.key_model_map.values():
        assert network.state_dict().keys() == weights.keys()
        assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_published_weights_are_kept_where_torch_keeps_them(build, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), folder / "resnet18-f37072fd.pth")

    encoder = build(weights="IMAGENET1K_V1")

    assert torch.equal(encoder.key_model_map["cam"].conv1.weight, model.conv1.weight)


def test_weights_are_fetched_once(published, tmp_path):
    folder = tmp_path / "checkpoints"
    address = published.as_uri()

    first = fetch_once(address, folder)
    assert first == folder / published.name
    assert first.read_bytes() == published.read_bytes()
    first.write_bytes(b"cached")
    assert fetch_once(address, folder).read_bytes() == b"cached"


def test_a_file_that_is_not_what_its_name_says_is_not_kept(published, tmp_path):
    other = tmp_path / "resnet18-00000000.pth"
    other.write_bytes(published.read_bytes())
    digest = published.stem.removeprefix("resnet18-")

    with pytest.raises(DownloadError) as caught:
        fetch_once(other.as_uri(), tmp_path / "checkpoints")

    assert str(caught.value) == (
        f"{other.as_uri()}: is another file than its name says (SHA-256 {digest}...); download it on a machine that "
        "can reach it, and set 'checkpoint_path' to the file; or train from scratch with 'weights: null'"
    )
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_without_a_network_it_is_said_what_to_do(error_of, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    assert error_of(weights="IMAGENET1K_V1") == (
        "encoder 'multi_image': https://download.pytorch.org/models/resnet18-f37072fd.pth: cannot be reached "
        "(no network); download it on a machine that can reach it, and set 'checkpoint_path' to "
        "the file; or train from scratch with 'weights: null'"
    )


@pytest.mark.parametrize("options", [{"weights": "IMAGENET1K_V1"}, {"checkpoint_path": "none.pth"}])
def test_the_encoder_of_a_checkpoint_needs_no_weights_of_others(build, monkeypatch, tmp_path, options):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with skip_pretrained_weights():
        assert has_batch_norm(build(**options))


def test_an_absent_file_is_said_before_the_run(tmp_path):
    config = MultiImageConfig(checkpoint_path=tmp_path / "none.pth")

    assert [str(problem) for problem in preflight(config)] == [
        f"checkpoint_path: file '{tmp_path / 'none.pth'}' does not exist"
    ]
    with skip_pretrained_weights():
        assert list(preflight(config)) == []


def test_files_of_others_are_said(error_of, published, tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")

    assert error_of(checkpoint_path=published, rgb_model="resnet34") == (
        f"encoder 'multi_image': {published}: holds no 'layer1.2.conv1.weight'; "
        "96 of the 216 weights expected are absent"
    )
    assert error_of(checkpoint_path=tmp_path / "tensor.pth") == (
        f"encoder 'multi_image': {tmp_path / 'tensor.pth'}: holds no state dict, but a value of type Tensor"
    )


# -- options ----------------------------------------------------------------------------------------------------------


def test_the_weights_that_can_be_chosen_are_those_of_torchvision():
    hints = get_type_hints(MultiImageConfig)
    names = get_args(get_args(hints["weights"])[0])

    for rgb_model in get_args(hints["rgb_model"]):
        known = [entry.name for entry in torchvision.models.get_model_weights(rgb_model)]
        accepted = [
            name for name in names if not list(MultiImageConfig(rgb_model=rgb_model, weights=name).check(SHAPE_META))
        ]
        assert accepted == known


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"crop_shape": {"wrist": [65, 64]}},
            "crop_shape: [65, 64] is larger than the image (64, 64) of 'wrist'; choose at most 64 x 64",
        ),
        (
            {"crop_shape": {"cam": [40, 40]}, "resize_shape": [32, 48]},
            "crop_shape: [40, 40] is larger than the resized image (32, 48) of 'cam'; choose at most 32 x 48",
        ),
        (
            {"resize_shape": {"front": [32, 32]}},
            "resize_shape.front: is not a camera; the cameras of shape_meta are 'wrist', 'cam'",
        ),
        ({"crop_shape": [0, 4]}, "crop_shape: [0, 4] is not a height and a width; choose two positive numbers"),
        ({"crop_shape": 40}, "crop_shape: expected a list or a mapping or null, got 40"),
        ({"crop_shape": {"cam": [40]}}, "crop_shape.cam: expected 2 values, got 1"),
        (
            {"crop_shape": {"cam": [32, 32]}, "share_rgb_model": True},
            "share_rgb_model: images differ in shape: [3, 64, 64] of 'wrist', [3, 32, 32] of 'cam'; "
            "set 'resize_shape' or 'crop_shape', or use one network for each",
        ),
        (
            {"normalize_twice": True},
            "normalize_twice: is true, and images are not normalised; set 'imagenet_norm: true', or leave it out",
        ),
        (
            {"weights": "IMAGENET1K_V1", "checkpoint_path": "mine.pth"},
            "weights: 'IMAGENET1K_V1' and 'checkpoint_path' are both set; choose one of them",
        ),
        (
            {"weights": "IMAGENET1K_V2"},
            "weights: torchvision has no 'IMAGENET1K_V2' of 'resnet18'; choose 'IMAGENET1K_V1'",
        ),
        (
            {"weights": "IMAGENET1K_V1", "use_group_norm": True, "frozen": True},
            "use_group_norm: is true, and the weights were trained with batch normalisation and cannot adapt while "
            "'frozen'; leave one of them out",
        ),
    ],
)
def test_options_that_do_not_fit_are_said(build, options, problem):
    with pytest.raises(ConfigError) as caught:
        build(**options)

    assert str(caught.value) == f"encoder 'multi_image' has 1 problem\n  {problem}"


def test_pretrained_weights_are_for_images_of_three_channels(build):
    obs = {"depth": {"shape": [1, 32, 48], "type": "rgb"}}
    with pytest.raises(ConfigError) as caught:
        build({"obs": obs, "action": {"shape": [2]}}, weights="IMAGENET1K_V1")

    assert str(caught.value) == (
        "encoder 'multi_image' has 1 problem\n"
        "  weights: is for images of 3 channels, and those of 'depth' have 1; train from scratch"
    )


def test_depth_is_an_image_beside_others(registry):
    obs = {"depth": {"shape": [1, 64, 64], "type": "depth"}, "front": {"shape": [3, 64, 64], "type": "rgb"}}
    encoder = registry.build("encoder", "multi_image", shape_meta={"obs": obs, "action": {"shape": [2]}})

    assert encoder.key_model_map["depth"].conv1.in_channels == 1
    features = encoder({"depth": torch.rand(2, 1, 64, 64), "front": torch.rand(2, 3, 64, 64)})
    assert features.shape == (2, encoder.output_dim) == (2, 1024)
