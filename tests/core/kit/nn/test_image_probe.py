"""How much of an image a network sees."""

import pytest
import torch
from torch import nn

from dp_core.kit.nn.image_probe import border_text, probe


class Branch(nn.Module):
    """A residual branch that begins with a factor of zero beside a shortcut that skips every other pixel."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return self.scale * nn.functional.avg_pool2d(images, 2) + images[..., ::2, ::2]


@pytest.mark.parametrize(
    ("size", "unseen"), [((84, 84), (4, 4)), ((108, 144), (12, 0)), ((96, 100), (0, 4)), ((96, 96), (0, 0))]
)
def test_what_does_not_fill_a_patch_is_counted(size, unseen):
    found = probe(nn.Conv2d(3, 4, kernel_size=16, stride=16), (3, *size))

    assert found.unseen == unseen
    assert found.feature_shape == (4, size[0] // 16, size[1] // 16)


@pytest.mark.parametrize(
    ("layer", "unseen"),
    [(nn.AvgPool2d(2), (1, 0)), (nn.MaxPool2d(2), (1, 0)), (nn.Conv2d(1, 1, 3, stride=2), (0, 1))],
)
def test_pools_and_strides_leave_out_what_does_not_fill_them(layer, unseen):
    assert probe(layer, (1, 9, 20)).unseen == unseen


def test_what_is_lost_late_is_lost():
    network = nn.Sequential(nn.Conv2d(3, 2, 4, stride=4), nn.ReLU(), nn.Conv2d(2, 2, 2, stride=2), nn.Flatten())

    assert probe(network, (3, 20, 16)).unseen == (4, 0)


def test_features_that_nothing_reaches_see_nothing():
    assert probe(lambda images: images.new_zeros(len(images), 3), (3, 10, 12)).unseen == (10, 12)


def test_ways_that_are_shut_at_first_count():
    """Gradients would end at a ReLU that gives zero, and before a factor that is zero until it has learnt."""
    shut = nn.Conv2d(3, 4, 3, padding=1)
    nn.init.constant_(shut.bias, -100)

    assert probe(nn.Sequential(shut, nn.ReLU()), (3, 9, 9)).unseen == (0, 0)
    assert probe(Branch(), (3, 10, 10)).unseen == (0, 0)


def test_a_probe_draws_no_random_numbers_and_leaves_no_gradient():
    network = nn.Conv2d(3, 4, kernel_size=16, stride=16)
    state = torch.get_rng_state()

    probe(network, (3, 20, 20))

    assert torch.equal(torch.get_rng_state(), state)
    assert network.weight.grad is None


def test_borders_are_named():
    assert border_text((4, 1)) == "the last 4 rows and the last column"
    assert border_text((1, 0)) == "the last row"
    assert border_text((0, 12)) == "the last 12 columns"
