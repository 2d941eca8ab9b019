"""Scaling for networks that others trained."""

import torch

from dp_core.kit.nn.image_statistics import IMAGENET_MEAN, IMAGENET_STD, Standardize


def test_images_become_those_of_the_statistics():
    images = torch.rand(2, 3, 4, 5)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))

    torch.testing.assert_close(Standardize()(2 * images - 1), (images - mean) / std)


def test_checkpoints_do_not_hold_the_statistics():
    assert Standardize().state_dict() == {}
