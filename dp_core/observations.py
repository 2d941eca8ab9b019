"""The meaning of observations. The type of a key in `shape_meta` decides, for data sets and policies alike.

Images (``rgb``) are whole numbers in 0..255, bool (black and white) or floats in [0, 1]; they become floats in [0, 1].
Low-dimensional keys are numbers of any type, taken as they are. The type of the numbers alone tells nothing: a gripper
flag may be uint8 as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp_core.errors import InputError
from dp_core.shape_meta import obs_type

LARGEST = 255
"""The value of white in images of whole numbers."""
UNIT_TOLERANCE = 1e-3
"""A quarter of a grey level: interpolation rounds, so that images in [0, 1] come out a little larger."""
_LARGEST_NUMBER = torch.finfo(torch.float32).max
"""What is beyond becomes infinite where normalizers take it, be it finite as float64."""
_EXPECTED = {
    "rgb": "expected an image: uint8 or other whole numbers in 0..255, bool, or floats in [0, 1]; "
    "divide floats in 0..255 by 255, and clip what interpolation overshot",
    "low_dim": "expected finite numbers; check the sensor or the message that they come from",
}


def as_tensor(values: Any, name: str, device: torch.device | str = "cpu") -> Tensor:
    """Take a tensor as it is, and bring arrays of numpy, or what can become one, to ``device``.

    Without a copy where memory allows it: what comes out is only to be read.

    Args:
        name: for messages.

    Raises:
        InputError: there is something other than numbers in it.
    """
    if isinstance(values, Tensor):
        return values
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise InputError(f"{name} is of numpy's type {array.dtype}; expected numbers")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # torch knows this order of bytes alone
    if min(array.strides, default=0) < 0:  # flipped, as when BGR is made RGB: torch has no such memory
        array = array.copy()
    with warnings.catch_warnings():
        # A read-only array (memory map) makes torch warn of writes that do not happen.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)


def as_float(values: Tensor, type_: str | None, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert raw values to floats that scale and offset apply to: images in [0, 1], numbers as they are.

    Args:
        type_: of the key, ``"rgb"`` or ``"low_dim"``; None if nobody said.
        name: of the key, for messages.

    Raises:
        InputError: such values have no meaning for this type. Ranges are looked at on the CPU only, as a GPU would have
            to be waited for; `ObservationCheck` looks everywhere.
    """
    if values.is_complex():
        raise InputError(f"{name} is {values.dtype}; {_EXPECTED[type_ or 'low_dim']}")
    if type_ is None and values.dtype == torch.uint8:
        raise InputError(
            f"{name} is torch.uint8, and nothing says whether that is an image or a number; "
            "build the normalizer as LinearNormalizer(shape_meta)"
        )
    if type_ != "rgb":
        return values.to(dtype)
    if values.device.type == "cpu" and _has_range_to_check(values, type_):
        _refuse_bad(name, type_, values.dtype, *(float(limit) for limit in _limits(values)))
    return values.to(dtype) if _is_unit(values) else values.to(dtype) / LARGEST


class ObservationCheck:
    """Finds NaN, infinite values and images out of range without making the host wait for a GPU.

    On a GPU, making it starts the search, and `finish` gives its result when the host has launched everything that
    comes after; anywhere else, the search is over when it is made::

        check = ObservationCheck(obs, shape_meta)
        actions = ...  # sample
        check.finish()
        return actions
    """

    def __init__(self, obs: Mapping[str, Tensor], shape_meta: Mapping[str, Any]) -> None:
        """Start the search for values that no policy may see.

        Args:
            obs: raw, of any shapes, tensors all on one device. What is no key of ``shape_meta`` is taken for numbers.

        Raises:
            InputError: see `finish`.
        """
        types = {key: obs_type(shape_meta, key) if key in shape_meta["obs"] else "low_dim" for key in obs}
        given = {key: as_tensor(value, f"predict_action: '{key}'") for key, value in obs.items()}
        looked_at = {key: value for key, value in given.items() if _has_range_to_check(value, types[key])}
        self._looked_at = [(key, types[key], value.dtype) for key, value in looked_at.items()]
        self._event: torch.cuda.Event | None = None
        if not looked_at:
            return
        limits = torch.stack([limit for value in looked_at.values() for limit in _limits(value)])
        self._limits = torch.empty_like(limits, device="cpu", pin_memory=limits.is_cuda)
        self._limits.copy_(limits, non_blocking=limits.is_cuda)
        if limits.is_cuda:
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(limits.device))
        else:
            self.finish()

    def finish(self) -> None:
        """Wait for the search, and raise if it found anything.

        Raises:
            InputError: an observation is NaN or infinite, or an image is out of range.
        """
        if self._event is not None:
            self._event.synchronize()
        if not self._looked_at:
            return
        limits = self._limits.tolist()
        for (key, type_, dtype), low, high in zip(self._looked_at, limits[::2], limits[1::2], strict=True):
            _refuse_bad(f"predict_action: '{key}'", type_, dtype, low, high)


def _has_range_to_check(values: Tensor, type_: str) -> bool:
    """Tell whether some values of this data type are not legal."""
    if type_ == "rgb":
        return values.dtype not in (torch.uint8, torch.bool)
    return values.is_floating_point()


def _is_unit(values: Tensor) -> bool:
    """Tell whether images of this data type go up to 1."""
    return values.is_floating_point() or values.dtype == torch.bool


def _limits(values: Tensor) -> tuple[Tensor, Tensor]:
    """Find the smallest and the largest value, each a scalar: NaN if there is one, 0 if there are no values."""
    if not values.numel():
        return values.new_zeros((), dtype=torch.float32), values.new_zeros((), dtype=torch.float32)
    low, high = torch.aminmax(values if values.is_floating_point() else values.float())
    return low, high


def _refuse_bad(name: str, type_: str, dtype: torch.dtype, low: float, high: float) -> None:
    if type_ != "rgb":
        is_good = low >= -_LARGEST_NUMBER and high <= _LARGEST_NUMBER  # false for NaN, too
    elif dtype.is_floating_point:
        is_good = low >= -UNIT_TOLERANCE and high <= 1 + UNIT_TOLERANCE
    else:
        is_good = low >= 0 and high <= LARGEST
    if not is_good:
        raise InputError(f"{name} is {dtype} with values from {low:.6g} to {high:.6g}; {_EXPECTED[type_]}")
