"""What the built-in modalities take, keep and refuse; the rules that all keep are in the conformance class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dp_core.errors import DataError, InputError
from dp_core.interfaces import BaseModality, modality_of
from dp_core.normalizer import LinearNormalizer
from dp_core.shape_meta import shape_meta_problems

DEPTH = (
    "expected depth: whole numbers of units from 0 on, with metres in a unit as 'scale' in shape_meta, or finite "
    "floats from 0 on, in metres; give pixels without a reading the value 0"
)
IDS = "expected ids: whole numbers from 0 to 7, as vocabulary_size says"
SPECS: dict[str, dict[str, Any]] = {
    "rgb": {"shape": [3, 4, 5], "type": "rgb"},
    "depth": {"shape": [1, 4, 5], "type": "depth"},
    "low_dim": {"shape": [2], "type": "low_dim"},
    "points": {"shape": [6, 4], "type": "points"},
    "tokens": {"shape": [3], "type": "tokens", "vocabulary_size": 8},
    "text": {"shape": [], "type": "text"},
}
SHAPE_META = {"obs": SPECS, "action": {"shape": [2]}}


def modality(name: str) -> BaseModality:
    return modality_of(SHAPE_META, name)


def test_each_says_which_shapes_are_legal() -> None:
    wrong = {
        "rgb": [4, 5],
        "depth": [3, 4, 5],
        "points": [6, 2],
        "text": [1],
        "a.depth": [1, 4, 5],
    }
    obs = {name: {**SPECS[name.rpartition(".")[2]], "shape": shape} for name, shape in wrong.items()}

    assert list(shape_meta_problems({"obs": obs, "action": {"shape": [2]}})) == [
        ("obs.rgb.shape", "expected [channels, height, width] for an image, got [4, 5]"),
        ("obs.depth.shape", "expected [1, height, width] for a depth image, got [3, 4, 5]"),
        ("obs.points.shape", "expected [points, 3 or more], x, y and z first, got [6, 2]"),
        ("obs.text.shape", "expected [], one string at each step, got [1]"),
        ("obs.a.depth", "the key of a camera names a part of the encoder and has no dots; write 'a_depth'"),
    ]
    assert list(shape_meta_problems(SHAPE_META)) == []


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("rgb", np.full((2, 3, 4, 5), 9997, np.uint16), "with values from 9997 to 9997; expected uint8, whole numbers"),
        ("depth", np.full((2, 1, 4, 5), -3), f"it is int64 with values from -3 to -3; {DEPTH}"),
        ("depth", np.full((2, 1, 4, 5), 2**40), f"it is int64 with values from 1.09951e+12 to 1.09951e+12; {DEPTH}"),
        ("depth", np.full((2, 1, 4, 5), -0.5), f"it is float32 with values from -0.5 to -0.5; {DEPTH}"),
        ("depth", np.ones((2, 1, 4, 5), bool), f"it is bool; {DEPTH}"),
        ("depth", np.full((2, 4, 5), np.inf), "it has NaN or infinite values, first in step 0; fix or remove them"),
        (
            "low_dim",
            np.array([["a", "b"]]),
            "it has strings; expected numbers; of sentences, the type in shape_meta is",
        ),
        ("tokens", np.full((2, 3), 8), f"it has values from 8 to 8; {IDS}"),
        ("tokens", np.full((2, 3), -1), f"it has values from -1 to -1; {IDS}"),
        ("tokens", np.zeros((2, 3)), f"it is float64; {IDS}"),
        ("text", np.zeros(2), "it is float64; expected strings"),
        ("text", np.array(["go", None], dtype=object), "it has None in it; expected strings"),
        ("points", np.zeros((2, 5, 4)), r"it has shape (5, 4) in each step; shape_meta says (6, 4)"),
    ],
)
def test_what_cannot_be_is_not_stored(name: str, values: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        modality(name).stored(values, "it")

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "largest", "stored"),
    [
        (np.uint8, 255, np.uint8),
        (np.uint16, 65535, np.uint16),
        (np.int64, 200, np.uint8),
        (np.int64, 65535, np.uint16),
        (np.int64, 65536, np.int32),
        (np.int32, 7, np.int32),
        (np.float16, 7, np.float32),
        (np.float64, 7, np.float32),
    ],
)
def test_depth_is_stored_without_loss_in_the_smallest_form(dtype: Any, largest: int, stored: Any) -> None:
    values = np.zeros((2, 1, 4, 5), dtype)
    values[1, 0, 2, 3] = largest

    for form in (values, values[:, 0], np.moveaxis(values, 1, -1)):
        kept = modality("depth").stored(form, "it")
        assert (kept.dtype, kept.shape, kept[1, 0, 2, 3]) == (stored, (2, 1, 4, 5), largest)


def test_the_statistics_of_depth_are_those_of_all_pixels_in_metres() -> None:
    values = np.random.default_rng(0).integers(0, 5000, (600, 1, 4, 5), dtype=np.uint16)
    metres = values / 1000

    field = modality("depth").fit(torch.from_numpy(values))

    found = {name: float(value) for name, value in field.input_stats.items()}
    expected = {"min": metres.min(), "max": metres.max(), "mean": metres.mean(), "std": metres.std(ddof=1)}
    assert found == pytest.approx(expected, rel=1e-5)
    assert field.normalize(torch.from_numpy(metres)).aminmax() == pytest.approx((-1, 1), abs=1e-5)


def test_points_keep_their_geometry() -> None:
    values = torch.rand(50, 6, 4) * torch.tensor([2.0, 0.5, 0.1, 255]) + torch.tensor([10.0, -3, 0, 0])

    field = modality("points").fit(values)

    scaled = field.normalize(values)
    assert len(set(field.scale[:3].tolist())) == 1
    assert scaled[..., 0].aminmax() == pytest.approx((-1, 1), abs=1e-5)
    assert scaled[..., 1].abs().max() == pytest.approx(0.25, abs=0.01), "centred, and not stretched"
    assert scaled[..., 3].aminmax() == pytest.approx((-1, 1), abs=1e-5)


def test_points_that_are_all_in_one_place_are_moved_to_the_middle() -> None:
    values = torch.full((3, 6, 4), 5.0)

    assert torch.equal(modality("points").fit(values).normalize(values), torch.zeros(3, 6, 4))


def test_points_too_far_from_zero_for_float32_are_refused() -> None:
    values = np.random.default_rng(0).random((20, 6, 4)) * 0.01 + 4e6

    with pytest.raises(DataError, match="too far from zero for float32"):
        modality("points").stored(values, "it")
    with pytest.raises(InputError, match="too far from zero for float32"):
        modality("points").fit(torch.from_numpy(values))


def test_what_is_not_scaled_goes_through_the_normalizer_unchanged() -> None:
    normalizer = LinearNormalizer(SHAPE_META)
    normalizer.fit({"low_dim": torch.rand(9, 2), "tokens": torch.ones(9, 3), "text": np.array(["go"] * 9)})
    sentences = np.array([["go", "stop"]], dtype=object)
    given = {"tokens": torch.tensor([[1, 7, 0]], dtype=torch.int16), "text": sentences, "low_dim": torch.rand(1, 2)}

    scaled = normalizer.normalize(given)
    back = normalizer.unnormalize({**scaled})

    assert normalizer.keys() == ["low_dim"]
    assert (scaled["tokens"].dtype, scaled["tokens"].tolist()) == (torch.int64, [[1, 7, 0]])
    assert scaled["text"].tolist() == [["go", "stop"]]
    assert back["text"] is scaled["text"]
    assert torch.equal(back["tokens"], scaled["tokens"])
    with pytest.raises(InputError, match=r"^normalizer: 'tokens' is tokens, which is not scaled; set no field for it$"):
        normalizer["tokens"] = normalizer["low_dim"]
    with pytest.raises(InputError, match=r"^normalizer: 'tokens' is torch.float32; expected ids: whole numbers"):
        normalizer.normalize({"tokens": torch.rand(1, 3)})


def test_statistics_of_a_key_that_is_not_scaled_are_unexpected_in_a_state_dict() -> None:
    former = LinearNormalizer({"obs": {"tokens": {"shape": [3]}}, "action": {"shape": [2]}})
    former.fit({"tokens": torch.rand(9, 3)})

    with pytest.raises(RuntimeError, match="Unexpected key"):
        LinearNormalizer(SHAPE_META).load_state_dict(former.state_dict())


def test_a_normalizer_that_does_not_know_a_modality_does_not_guess_its_unit() -> None:
    known = LinearNormalizer(SHAPE_META)
    known["depth"] = modality("depth").fit(torch.randint(0, 500, (9, 1, 4, 5)))
    ignorant = LinearNormalizer()
    ignorant.load_state_dict(known.state_dict())

    with pytest.raises(InputError) as caught:
        ignorant.normalize({"depth": torch.ones(1, 1, 4, 5)})

    assert str(caught.value) == (
        "normalizer: 'depth' is of the type 'depth', and nothing says what its values mean; build the normalizer as "
        "LinearNormalizer(shape_meta)"
    )


def test_text_is_taken_in_every_form_that_holds_strings() -> None:
    text = modality("text")
    forms = (
        np.array([["go", "stop"]]),
        np.array([["go", "stop"]], dtype=np.dtypes.StringDType()),
        np.array([["go", "stop"]], dtype=object),
        [["go", "stop"]],
    )

    for form in forms:
        received = text.received(form, "obs: 'text'")
        assert (received.dtype, received.tolist()) == (object, [["go", "stop"]])
        assert {type(value) for value in received.flat} == {str}
    for wrong, said in (("go", "is a str"), ([["go", 1]], "has 1 in it"), (torch.zeros(1, 2), "is a Tensor")):
        with pytest.raises(InputError) as caught:
            text.received(wrong, "obs: 'text'")
        assert str(caught.value) == (f"obs: 'text' {said}; expected strings, (B, T) in an array of numpy or in lists")
