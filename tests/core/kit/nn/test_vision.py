"""Cameras to features, crops, spatial softmax and group normalisation, which image encoders share."""

import pytest
import torch
from torch import nn

from dp_core.kit.nn.vision import (
    RandomCrop,
    SpatialSoftmax,
    _crops_by_index,
    _crops_by_slices,
    center_crop,
    encode_cameras,
    group_norm,
    random_crop,
    replace_batch_norm,
)


def numbered_pixels(count=4, height=10, width=8):
    """Images whose pixels tell their sample, row and column: 10000 n + 100 y + x."""
    sample = torch.arange(count)[:, None, None, None] * 10000.0
    row = torch.arange(height)[:, None] * 100.0
    return (sample + row + torch.arange(width)).expand(count, 3, height, width)


def two_cameras():
    """What two cameras and a gripper observe in two steps, and how images are transformed: differently."""
    obs = {"left": torch.rand(2, 3, 4, 4), "width": torch.rand(2, 1, 2), "right": torch.rand(2, 3, 4, 4) + 5}
    return obs, nn.ModuleDict({"right": nn.Identity(), "left": nn.Hardtanh(0.0, 0.5)})


def test_features_are_those_of_the_cameras_and_then_what_is_left_as_it_is():
    obs, transforms = two_cameras()
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(48, size)) for size in (4, 6)]

    features = encode_cameras(obs, transforms, networks, ["width"])

    expected = [networks[0](obs["right"]), networks[1](obs["left"].clamp(0, 0.5)), obs["width"].flatten(1)]
    assert torch.equal(features, torch.cat(expected, dim=-1))
    assert torch.equal(encode_cameras(obs, nn.ModuleDict(), [], ["width"]), obs["width"].flatten(1))


def test_one_network_for_all_cameras_normalises_over_all_of_them():
    obs, transforms = two_cameras()
    network = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Flatten())

    at_once = encode_cameras(obs, transforms, network, [])
    one_by_one = encode_cameras(obs, transforms, [network, network], [])

    right, left = network(torch.cat([obs["right"], obs["left"].clamp(0, 0.5)])).chunk(2)
    assert torch.equal(at_once, torch.cat([right, left], dim=-1))
    right, left = network(obs["right"]), network(obs["left"].clamp(0, 0.5))
    assert torch.equal(one_by_one, torch.cat([right, left], dim=-1))
    assert not torch.allclose(at_once, one_by_one)


def test_random_crop_cuts_every_image_at_the_place_that_was_drawn():
    torch.manual_seed(5)
    top, left = torch.rand(4, 1), torch.rand(4, 1)
    torch.manual_seed(5)

    cropped = random_crop(numbered_pixels(), (6, 5))

    expected = torch.arange(4) * 10000 + (top * 4).long().flatten() * 100 + (left * 3).long().flatten()
    assert cropped.shape == (4, 3, 6, 5)
    assert cropped[:, 0, 0, 0].tolist() == expected.tolist()
    assert (cropped[:, :, -1, -1] - cropped[:, :, 0, 0] == 504).all()


def test_both_ways_of_cropping_agree():
    """One is for the CPU, the other for devices."""
    images = numbered_pixels()
    top, left = torch.tensor([[0], [4], [2], [1]]), torch.tensor([[3], [0], [1], [2]])

    assert torch.equal(_crops_by_slices(images, top, left, (6, 5)), _crops_by_index(images, top, left, (6, 5)))


@pytest.mark.parametrize(("height", "top"), [(10, 0), (8, 1), (7, 2), (5, 2)])
def test_center_crop_splits_odd_margins_as_torchvision_does(height, top):
    from torchvision.transforms.functional import center_crop as reference

    images = numbered_pixels()

    assert torch.equal(center_crop(images, (height, 8)), reference(images, [height, 8]))
    assert center_crop(images, (height, 8))[0, 0, 0, 0] == 100 * top


def test_crop_is_random_in_training_only():
    crop = RandomCrop((6, 5))
    images = numbered_pixels(count=32)

    places = crop.train()(images)[:, 0, 0, 0] % 10000
    assert len(places.unique()) > 5
    assert torch.equal(crop.eval()(images), center_crop(images, (6, 5)))


def test_crop_of_the_whole_image_draws_nothing():
    images = numbered_pixels()
    state = torch.get_rng_state()

    assert RandomCrop((10, 8)).train()(images) is images
    assert torch.equal(torch.get_rng_state(), state)


def test_spatial_softmax_finds_the_place_of_a_bright_pixel():
    pool = SpatialSoftmax(in_channels=1, num_kp=1)
    nn.init.constant_(pool.maps.weight, 100.0)
    features = torch.zeros(2, 1, 5, 9)
    features[0, 0, 0, 8] = 1  # right upper corner
    features[1, 0, 3, 4] = 1  # half way across, three quarters down

    torch.testing.assert_close(pool(features), torch.tensor([[1.0, -1.0], [0.0, 0.5]]))


def test_spatial_softmax_lists_x_and_y_of_one_keypoint_after_the_other():
    pool = SpatialSoftmax(in_channels=2, num_kp=2)
    pool.maps.weight.data = 100 * torch.eye(2)[:, :, None, None]
    features = torch.zeros(1, 2, 3, 3)
    features[0, 0, 0, 2] = features[0, 1, 2, 1] = 1

    torch.testing.assert_close(pool(features), torch.tensor([[1.0, -1.0, 0.0, 1.0]]))
    assert pool.output_dim == 4


@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (16, 1), (64, 4), (512, 32), (56, 2), (40, 2)])
def test_groups_are_of_sixteen_channels_where_possible(channels, groups):
    assert group_norm(channels).num_groups == groups


def test_every_batch_norm_is_replaced():
    module = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.Sequential(nn.BatchNorm2d(32), nn.ReLU()))

    assert replace_batch_norm(module) is module
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    assert [part.num_groups for part in module.modules() if isinstance(part, nn.GroupNorm)] == [2, 2]


def test_a_bare_batch_norm_is_replaced():
    assert isinstance(replace_batch_norm(nn.BatchNorm2d(16)), nn.GroupNorm)
