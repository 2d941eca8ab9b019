"""Pictures of Push-T against those of the original code."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dp_pusht.render import render_frame, render_observation


@pytest.fixture(scope="module")
def recorded(golden) -> dict[str, np.ndarray]:
    with np.load(golden("l_pusht_env.npz")) as file:
        return dict(file)


@pytest.mark.parametrize("convention", ["default", "legacy"])
@pytest.mark.parametrize("moment", ["after_reset", "after_40_steps"])
def test_observed_images_equal_the_original(recorded: dict, convention: str, moment: str) -> None:
    """Pixel by pixel, but for the red dots with which the original marks where bodies touch: one pixel at most."""
    states = (
        recorded[f"{convention}/state_after_reset"]
        if moment == "after_reset"
        else recorded[f"{convention}/state"][:, 39]
    )
    images = recorded[("image/" if convention == "default" else "image_legacy/") + moment]

    differing = [
        int((render_observation(state[:5]).transpose(2, 0, 1) != image).any(axis=0).sum())
        for state, image in zip(states, images, strict=True)
    ]

    assert max(differing) <= 1
    assert sum(differing) <= 1


def test_frame_with_action_marker_equals_the_original(recorded: dict) -> None:
    frame = render_frame(recorded["default/state"][0, 0, :5], recorded["actions"][0, 0], size=96)

    np.testing.assert_array_equal(frame, recorded["image/render_with_action_marker_seed0_step1"])


def test_observation_has_no_marker_and_belongs_to_the_caller() -> None:
    state = (100.0, 100.0, 256.0, 300.0, 1.0)
    image = render_observation(state)
    copy = image.copy()
    render_observation((300.0, 300.0, 200.0, 200.0, 2.0))

    assert image.shape == (96, 96, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, copy)
    np.testing.assert_array_equal(render_frame(state, None, size=96), image)
    assert not np.array_equal(render_frame(state, (400.0, 400.0), size=96), image)


def test_rendering_is_silent_needs_no_display_and_imports_pygame_late() -> None:
    program = (
        "import sys, dp_pusht.render as render; assert 'pygame' not in sys.modules; "
        "render.render_observation((100, 100, 256, 300, 1.0)); assert 'pygame' in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, env={"PATH": ""}
    )

    assert done.stdout == ""
    assert done.stderr == ""
