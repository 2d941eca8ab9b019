"""What a task observes and does: its mistakes, and the questions asked about it."""

from __future__ import annotations

from typing import Any

import pytest

from dp_core.config.wording import show
from dp_core.shape_meta import (
    action_dim,
    crop_problems,
    keys_of_type,
    obs_shape,
    shape_meta_problems,
    task_problems,
)

ACTION = {"shape": [2]}
PUSHT = {
    "obs": {
        "image": {"shape": [3, 96, 96], "type": "rgb"},
        "agent_pos": {"shape": [2], "type": "low_dim"},
        "force": {"shape": [6]},
    },
    "action": ACTION,
}


def test_questions_about_a_task() -> None:
    assert keys_of_type(PUSHT, "rgb") == ["image"]
    assert keys_of_type(PUSHT, "low_dim") == ["agent_pos", "force"], "low_dim unless it says otherwise"
    assert obs_shape(PUSHT, "image") == (3, 96, 96)
    assert action_dim(PUSHT) == 2
    assert list(shape_meta_problems(PUSHT)) == []


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        (None, [("", "expected a mapping with 'obs' and 'action', got null")]),
        (
            {},
            [
                (
                    "obs",
                    "expected a mapping of observation keys, got null; to leave out an inherited one, set its key to "
                    "null",
                ),
                ("action", "expected a mapping with 'shape', got null"),
            ],
        ),
        (
            {"obs": {}, "action": ACTION, "reward": 1, "lang": 2},
            [
                ("reward", "unknown key; expected 'obs' and 'action'"),
                ("lang", "unknown key; expected 'obs' and 'action'"),
                ("obs", "expected a mapping of observation keys, got {}"),
            ],
        ),
        (
            {"obs": {"obs.top": {"shape": [3, 9, 9], "type": "rgb"}, "obs.pose": {"shape": [2]}}, "action": ACTION},
            [("obs.obs.top", "the key of a camera names a part of the encoder and has no dots; write 'obs_top'")],
        ),
        ({"obs": {"x": [2]}, "action": ACTION}, [("obs.x", "expected a mapping with 'shape', got [2]")]),
        (
            {
                "obs": {"x": {"shape": [2], "type": "rbg", "when": "always"}, "y": {"shape": [1], "type": 3}},
                "action": ACTION,
            },
            [
                ("obs.x.type", "unknown modality 'rbg'; did you mean 'rgb'?"),
                ("obs.y.type", "expected the name of a modality, got 3"),
            ],
        ),
        (
            {"obs": {"x": {"shape": [2], "when": "sometimes"}}, "action": ACTION},
            [("obs.x.when", "expected step or episode, got 'sometimes'")],
        ),
        (
            {"obs": {"x": {"shape": [2], "type": "tokens"}}, "action": ACTION},
            [("obs.x.vocabulary_size", "required, but missing")],
        ),
        (
            {"obs": {"x": {"shape": [96, 96], "type": "rgb"}}, "action": {"shape": [2, 3]}},
            [
                ("obs.x.shape", "expected [channels, height, width] for an image, got [96, 96]"),
                ("action.shape", "expected one number, the size of an action, got [2, 3]"),
            ],
        ),
        *(
            (
                {"obs": {"x": {"shape": shape}}, "action": ACTION},
                [("obs.x.shape", f"expected a list of positive whole numbers, got {show(shape)}")],
            )
            for shape in (2, None, [0], [2.0], [True], ["2"])
        ),
    ],
)
def test_mistakes_are_found_in_the_order_of_the_file(value: Any, problems: list[tuple[str, str]]) -> None:
    assert list(shape_meta_problems(value)) == problems


def test_a_crop_must_lie_in_every_image() -> None:
    assert list(crop_problems(None, PUSHT)) == []
    assert list(crop_problems((96, 96), PUSHT)) == []
    for crop in [(97, 96), (96, 97)]:
        assert list(crop_problems(crop, PUSHT)) == [
            f"{list(crop)} is larger than the image (96, 96) of 'image'; choose at most 96 x 96"
        ]


def test_a_task_is_asked_for_nothing_that_it_does_not_have() -> None:
    asked = {
        "obs": {
            "camera": {"shape": [3, 8, 8], "type": "rgb"},
            "image": {"shape": [3, 48, 48], "type": "rgb"},
            "agent_pos": {"shape": (2,)},
        },
        "action": {"shape": [3]},
    }

    assert list(task_problems(PUSHT, "the table", PUSHT["obs"], [2], "x, y")) == []
    assert list(task_problems(asked, "the table", PUSHT["obs"], [2], "x, y")) == [
        "shape_meta.obs has 'camera', which the table does not give; choose from 'image', 'agent_pos', 'force'",
        "shape_meta.obs.image is rgb [3, 48, 48]; the table gives rgb [3, 96, 96]",
        "shape_meta.action is [3]; actions of the table are [2]: x, y",
    ]
