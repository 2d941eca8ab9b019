"""What the timm encoder does to images: sizes, augmentation of each sample on its own, normalisation."""

from __future__ import annotations

from statistics import fmean

import pytest
import torch
import torchvision
from torchvision.transforms import functional as reference

from dp_timm import augmentation
from dp_timm.augmentation import ColorJitter, RandomRotation, create_transform
from dp_timm.config import ColorJitterOptions, TimmConfig

pytest.importorskip("timm")

CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
AUGMENTATIONS = {
    "crop_shape": {"crop_shape": (24, 20)},
    "crop_ratio": {"crop_ratio": 0.8},
    "random_rotation": {"random_rotation": 5.0},
    "color_jitter": {"color_jitter": ColorJitterOptions()},
}


def transform(image_shape=(3, 48, 44), **options):
    return create_transform(TimmConfig(**options), image_shape, CLIP)


def random_images(count, *shape):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_augmentation_is_drawn_for_each_sample_in_training_and_absent_in_evaluation(options) -> None:
    steps = transform(**options)
    images = random_images(1, 3, 48, 44).expand(4, -1, -1, -1) * 2 - 1
    given = images.clone()
    torch.manual_seed(0)

    trained, again = steps(images), steps(images)
    before = torch.get_rng_state()
    evaluated = steps.eval()(images)

    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(evaluated[0], evaluated[1])
    assert len(torch.unique(torch.cat([trained, again]), dim=0)) == 8
    assert trained.shape == evaluated.shape
    assert trained.abs().max() <= 1 + 1e-6
    assert torch.equal(images, given)


@pytest.mark.parametrize("name", ["random_rotation", "color_jitter"])
def test_rotation_and_colours_are_left_alone_in_evaluation(name) -> None:
    images = random_images(2, 3, 48, 44) * 2 - 1

    assert torch.equal(transform(**AUGMENTATIONS[name]).eval()(images), images)


def test_part_that_is_cut_out_is_resized_to_the_whole() -> None:
    images = random_images(2, 3, 48, 44) * 2 - 1

    resized = transform(crop_ratio=0.9).eval()(images)

    centre = reference.center_crop(images, [43, 39])
    torch.testing.assert_close(resized, reference.resize(centre, [48, 44], antialias=True))


def test_images_are_resized_before_they_are_cropped() -> None:
    images = random_images(2, 3, 48, 44) * 2 - 1

    cropped = transform(resize_shape=(32, 24), crop_shape=(24, 20)).eval()(images)

    torch.testing.assert_close(
        cropped, reference.center_crop(reference.resize(images, [32, 24], antialias=True), [24, 20])
    )


@pytest.mark.parametrize(
    ("normalization", "channels", "mean", "std"),
    [
        ("data_config", 3, *CLIP),
        ("data_config", 2, (fmean(CLIP[0]),) * 2, (fmean(CLIP[1]),) * 2),
        ("zero_one", 3, (0.0,) * 3, (1.0,) * 3),
        ("as_is", 3, (0.5,) * 3, (0.5,) * 3),
    ],
)
def test_images_are_normalised_once(normalization, channels, mean, std) -> None:
    pixels = random_images(2, channels, 8, 8)

    normalised = transform((channels, 8, 8), normalization=normalization)(pixels * 2 - 1)

    torch.testing.assert_close(normalised, reference.normalize(pixels, mean, std), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "as_is"),
        ({"pretrained": True}, "data_config"),
        ({"checkpoint_path": "model.pth"}, "data_config"),
        ({"pretrained": True, "normalization": "zero_one"}, "zero_one"),
        ({"normalization": "data_config"}, "data_config"),
    ],
)
def test_pretrained_models_see_what_they_were_trained_with(options, expected) -> None:
    assert TimmConfig(**options).image_normalization == expected


@pytest.mark.parametrize(
    ("name", "amounts"),
    [
        ("brightness", [0.5, 1.0, 1.6]),
        ("contrast", [0.0, 0.6, 1.4]),
        ("saturation", [0.0, 0.5, 1.5]),
        ("hue", [-0.5, -0.08, 0.3]),
    ],
)
def test_colours_change_as_torchvision_changes_them(name, amounts) -> None:
    """Each image by its own amount, grey ones, and ones of pure colours too."""
    images = random_images(3, 3, 9, 11)
    images[:, :, 0] = images[:, :1, 0]
    images[:, :, 1] = images[:, :, 1].round()

    changed = getattr(augmentation, f"adjust_{name}")(images, torch.tensor(amounts)[:, None, None, None])

    change = getattr(reference, f"adjust_{name}")
    expected = torch.stack([change(image, amount) for image, amount in zip(images, amounts, strict=True)])
    torch.testing.assert_close(changed, expected, rtol=0, atol=2e-6)


def test_images_turn_as_torchvision_turns_them() -> None:
    images = random_images(3, 3, 40, 56)
    angles = [-5.0, 0.0, 30.0]

    turned = augmentation.rotate(images * 2 - 1, torch.tensor(angles)[:, None, None, None])

    bilinear = torchvision.transforms.InterpolationMode.BILINEAR
    expected = torch.stack(
        [reference.rotate(image, angle, bilinear) for image, angle in zip(images, angles, strict=True)]
    )
    torch.testing.assert_close((turned + 1) / 2, expected, rtol=0, atol=1e-4)


def test_amounts_fill_their_range() -> None:
    white = torch.ones(2000, 3, 1, 1)
    only = {"contrast": 0.0, "saturation": 0.0, "hue": 0.0}

    # 0 is grey of 0.5.
    levels = (ColorJitter(ColorJitterOptions(brightness=0.4, **only))(white * 0) + 1) / 2
    angles = augmentation._spread(white, RandomRotation(5.0).degrees)

    assert [levels.min().item(), levels.max().item()] == pytest.approx([0.3, 0.7], abs=0.005)
    assert [angles.min().item(), angles.max().item()] == pytest.approx([-5, 5], abs=0.05)
