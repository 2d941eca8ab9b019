"""What an observation means: the type of its key decides, everywhere; what has no meaning is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dp_core.errors import InputError
from dp_core.observations import IMAGES, NUMBERS, ObservationCheck, as_float, as_tensor

SHAPE_META = {"obs": {"image": {"shape": [1, 1, 2], "type": "rgb"}, "grip": {"shape": [1]}}, "action": {"shape": [1]}}
DTYPES = [torch.uint8, torch.int8, torch.int16, torch.int64, torch.float16, torch.float64, torch.float32]
EXPECTED = (
    "expected an image: uint8 or other whole numbers in 0..255, bool, or floats in [0, 1]; divide floats in 0..255 by "
    "255, and clip what interpolation overshot"
)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool])
def test_a_number_is_the_same_in_every_type(dtype) -> None:
    values = as_float(torch.tensor([0, 1]).to(dtype), NUMBERS, "'grip'")

    assert (values.dtype, values.tolist()) == (torch.float32, [0, 1])


@pytest.mark.parametrize(
    "image",
    [
        torch.tensor([0, 255], dtype=torch.uint8),
        torch.tensor([0, 255], dtype=torch.int16),
        torch.tensor([0, 255]),
        torch.tensor([0.0, 1.0]),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        torch.tensor([False, True]),
    ],
    ids=lambda image: str(image.dtype),
)
def test_black_and_white_are_the_same_in_every_form(image) -> None:
    values = as_float(image, IMAGES, "'image'")

    assert (values.dtype, values.tolist()) == (torch.float32, [0, 1])


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (torch.tensor([0.0, 255.0]), "torch.float32 with values from 0 to 255"),
        (torch.tensor([-1.0, 1.0]), "torch.float32 with values from -1 to 1"),
        (torch.tensor([0.5, torch.nan]), "torch.float32 with values from nan to nan"),
        (torch.tensor([0, 256]), "torch.int64 with values from 0 to 256"),
        (torch.tensor([-1, 3], dtype=torch.int8), "torch.int8 with values from -1 to 3"),
    ],
)
def test_what_is_no_image_is_refused_wherever_it_is_given(image, found) -> None:
    with pytest.raises(InputError) as converted:
        as_float(image, IMAGES, "'image'")
    with pytest.raises(InputError) as checked:
        ObservationCheck({"image": image}, SHAPE_META)

    assert str(converted.value) == f"'image' is {found}; {EXPECTED}"
    assert str(checked.value) == f"predict_action: 'image' is {found}; {EXPECTED}"


def test_the_rounding_of_interpolation_is_no_other_range() -> None:
    assert as_float(torch.tensor([-1e-6, 1 + 1e-6]), IMAGES, "'image'").shape == (2,)


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        as_float(torch.ones(1, dtype=torch.complex64), NUMBERS, "'grip'")

    assert str(caught.value) == (
        "'grip' is torch.complex64; expected finite numbers; check the sensor or the message that they come from"
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_numbers_that_are_none_are_found(value, dtype) -> None:
    obs = {"image": torch.zeros(2, 1, 1, 2), "grip": torch.tensor([[0.5], [value]], dtype=dtype)}
    low, high = {"nan": ("nan", "nan"), "inf": ("0.5", "inf"), "-inf": ("-inf", "0.5")}[str(value)]

    with pytest.raises(InputError) as caught:
        ObservationCheck(obs, SHAPE_META)

    assert str(caught.value) == (
        f"predict_action: 'grip' is {dtype} with values from {low} to {high}; expected finite numbers; check the "
        "sensor or the message that they come from"
    )


@pytest.mark.parametrize("obs", [{}, {"grip": torch.zeros(0, 1)}, {"image": torch.zeros(1, 2, dtype=torch.uint8)}])
def test_where_there_is_nothing_to_find_nothing_is_found(obs) -> None:
    ObservationCheck(obs, SHAPE_META).finish()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_host_goes_on_and_is_told_at_the_end() -> None:
    grip = torch.tensor([torch.nan], device="cuda")
    slow = torch.rand(4096, 4096, device="cuda")
    ObservationCheck({"grip": slow}, SHAPE_META).finish()  # memory for the answer is there from now on
    torch.cuda.synchronize()
    idle = torch.cuda.Event()
    torch.cuda._sleep(100_000_000)
    idle.record()

    check = ObservationCheck({"grip": grip, "image": slow}, SHAPE_META)

    assert not idle.query()
    with pytest.raises(InputError, match=r"'grip' is torch.float32 with values from nan to nan"):
        check.finish()


def test_away_from_the_cpu_the_range_of_images_is_not_waited_for() -> None:
    assert as_float(torch.tensor([0.0, 255.0], device="meta"), IMAGES, "'image'").is_meta


NUMPY = np.array([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    "given",
    [NUMPY, NUMPY.astype(">f4"), NUMPY.astype(">i2"), NUMPY[:, ::-1].copy()[:, ::-1], NUMPY.tolist()],
    ids=["array", "floats of another byte order", "integers of another byte order", "flipped", "list"],
)
def test_an_array_of_numbers_is_taken_in_whatever_way_it_lies_in_memory(given) -> None:
    assert as_tensor(given, "'pos'").tolist() == NUMPY.tolist()


def test_an_array_of_other_things_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        as_tensor(np.array(["open"]), "'grip'")

    assert str(caught.value) == "'grip' is of numpy's type <U4; expected numbers"


def test_a_finite_number_that_float32_takes_for_infinite_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        ObservationCheck({"grip": torch.tensor([-1e39], dtype=torch.float64)}, SHAPE_META)

    assert str(caught.value) == (
        "predict_action: 'grip' is torch.float64 with values from -1e+39 to -1e+39; expected finite numbers; check the "
        "sensor or the message that they come from"
    )


def test_arrays_are_looked_at_like_tensors() -> None:
    with pytest.raises(InputError):
        ObservationCheck({"grip": np.array([np.nan])}, SHAPE_META)
