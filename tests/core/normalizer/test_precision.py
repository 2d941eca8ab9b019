"""What float32 can tell apart, and what a normalizer takes for constant: said or refused, never silent.

The property: whatever the magnitude and the distance from zero, data are refused, or come back with an error of at
most four thousandths of their range, and of 4 x 2^-23 of their largest number.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from dp_core.errors import InputError
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_core.normalizer.precision import LEVELS, SPACING, coarse_entries, constant_entries

MAGNITUDES = [10.0**exponent for exponent in range(-9, 10)]
DISTANCES = [0.0, 1.0, -30.0, 1e3, -8e3, 1e4, 1e6, 1e9]
"""Of the data from zero, in ranges."""
BOUND = 4 / LEVELS


def fitted(data: np.ndarray) -> SingleFieldLinearNormalizer | None:
    """None if the data were refused."""
    try:
        return SingleFieldLinearNormalizer.create_fit(data, range_eps=0)
    except InputError:
        return None


@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("distance", DISTANCES)
def test_data_come_back_to_the_bound_or_are_refused(magnitude, distance) -> None:
    data = magnitude * (distance + np.random.default_rng(0).random((600, 3)))
    span = np.ptp(data, axis=0)

    field = fitted(data)

    is_fine = np.abs(data).max(axis=0) * SPACING * LEVELS <= span
    assert (field is not None) == is_fine.all()
    if field is not None:
        normalized = field.normalize(data)
        error = np.abs(field.unnormalize(normalized).double().numpy() - data).max(axis=0) / span
        assert error.max() <= BOUND
        assert error.max() <= 4 * (np.abs(data).max(axis=0) * SPACING / span).max()
        assert abs(normalized.abs().max().item() - 1) <= 2 * BOUND


@pytest.mark.parametrize(
    ("low", "span", "dtype"),
    [(4.5e6, 1, np.float64), (1.7e9, 600, np.float64), (16_800_000, 600, np.int64), (4.5e6, 1, np.float32)],
    ids=["4.5e6", "time stamps", "counts", "float32"],
)
def test_numbers_that_would_merge_are_refused_with_what_to_do(low, span, dtype) -> None:
    data = (low + np.linspace(0, span, 601)[:, None]).astype(dtype)
    with pytest.raises(InputError) as caught:
        SingleFieldLinearNormalizer.create_fit(np.concatenate([np.zeros_like(data), data], axis=1))

    assert str(caught.value) == (
        f"normalizer: entry 1 of 2 is too far from zero for float32: entry 1 goes from {low:.10g} to "
        f"{low + span:.10g}, a range of {span}, where numbers are {(low + span) * SPACING:.3g} apart; subtract an "
        "origin, such as its first value, from the data and from what the policy will be given, or choose a range_eps "
        "above the range of what does not matter"
    )


def test_numbers_that_would_merge_are_refused_without_an_offset_too() -> None:
    with pytest.raises(InputError, match=r"^normalizer: entry 0 of 1 is too far from zero for float32"):
        SingleFieldLinearNormalizer.create_fit(np.array([[1.7e9], [1.7e9 + 600]]), fit_offset=False)


def test_what_never_changes_is_not_scaled_by_what_its_deviation_was_rounded_to() -> None:
    field = SingleFieldLinearNormalizer.create_fit(np.full((9, 1), 1.7e9), mode="gaussian")

    assert field.scale.tolist() == [1]


def test_the_field_of_what_is_refused_is_named() -> None:
    with pytest.raises(InputError, match=r"^'stamp': normalizer: entry 0 of 1 is too far from zero for float32"):
        LinearNormalizer().fit({"stamp": np.array([[1.7e9], [1.7e9 + 600]])})


def test_statistics_alone_are_taken_and_what_is_coarse_is_said(caplog) -> None:
    stats = {"min": np.array([7.0]), "max": np.array([7.00001]), "mean": np.array([7.0]), "std": np.array([0.0])}

    with caplog.at_level(logging.WARNING):
        LinearNormalizer()["pos"] = SingleFieldLinearNormalizer.create_range(stats)

    assert caplog.messages == [f"normalizer: 'pos': {coarse_entries(stats['min'], stats['max'], 0)}"]


@pytest.mark.parametrize("offset", [0, 1000.0])
@pytest.mark.parametrize("mode", ["limits", "gaussian"])
def test_what_varies_and_is_taken_for_constant_is_said_once_with_its_key(caplog, mode, offset) -> None:
    data = np.zeros((100, 3))
    data[:, 1] = np.linspace(0, 5e-5, 100) + (offset if mode == "limits" else 0)
    data[:, 2] = np.linspace(0, 1, 100)
    normalizer = LinearNormalizer()

    with caplog.at_level(logging.WARNING):
        normalizer.fit({"force": data}, mode=mode)
        twin = LinearNormalizer()
        twin["force"] = normalizer["force"]

    size = "5e-05" if mode == "limits" else "1.47e-05"
    assert caplog.messages == [
        f"normalizer: 'force': entry 1 of 3 is taken for constant, shifted and not scaled: the range, at most {size}, "
        "is below range_eps 0.0001; choose a smaller one if such changes matter"
    ]


def test_what_never_changes_is_not_worth_a_word_and_no_range_is_too_small_to_scale(caplog) -> None:
    data = np.array([[3.0, 0.0], [3.0, 1e-9]])

    with caplog.at_level(logging.WARNING):
        LinearNormalizer().fit({"force": data}, range_eps=0)
    field = SingleFieldLinearNormalizer.create_fit(data, range_eps=0)

    assert caplog.messages == []
    assert field.normalize(data).tolist() == [[0, -1], [0, 1]]


def test_many_entries_are_counted() -> None:
    said = constant_entries(np.zeros(20), np.full(20, 1e-3), 0.05)

    assert said.startswith("entries 0, 1, 2, 3, 4, 5, 6, 7, ... of 20 are taken for constant")


def test_statistics_can_be_tensors_of_any_precision() -> None:
    stats = {"min": torch.zeros(2).half(), "max": torch.ones(2).half(), "mean": torch.zeros(2), "std": torch.ones(2)}

    assert SingleFieldLinearNormalizer.create_range(stats).scale.tolist() == [2, 2]
