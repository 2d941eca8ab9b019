"""The meaning of observations. The modality of a key in `shape_meta` decides, for data sets and policies alike.

Images (``rgb``) are whole numbers in 0..255, bool (black and white) or floats in [0, 1]; they become floats in [0, 1].
Low-dimensional keys are numbers of any type, taken as they are. The type of the numbers alone tells nothing: a gripper
flag may be uint8 as well. Other modalities say the same of themselves, see `dp_core.interfaces.BaseModality`.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dp_core.errors import InputError
from dp_core.shape_meta import built_modality

Raw = Tensor | NDArray[Any]
"""Observations as they travel: numbers are tensors; what is none, such as text, stays an array of numpy."""

LARGEST = 255
"""The value of white in images of whole numbers."""
UNIT_TOLERANCE = 1e-3
"""A quarter of a grey level: interpolation rounds, so that images in [0, 1] come out a little larger."""
_LARGEST_NUMBER = torch.finfo(torch.float32).max
"""What is beyond becomes infinite where normalizers take it, be it finite as float64."""
FINITE = (-_LARGEST_NUMBER, _LARGEST_NUMBER)
"""The limits of what may be any number."""


class Meaning(ABC):
    """What raw values stand for: which are legal, and what networks get for them."""

    expected: str
    """What is legal and what to do about anything else; ends a message: ``expected finite numbers; check the ...``."""
    is_scaled: bool = True
    """Whether scale and offset of a normalizer apply to what `convert` gives; if not, it goes to networks as it is."""

    def received(self, values: Any, name: str, device: torch.device | str = "cpu") -> Raw:
        """Take what a policy is handed, (B, T, *shape): a tensor as it is, anything else brought to ``device``.

        Args:
            name: of the key, for messages.

        Raises:
            InputError: it is nothing that this modality can be.
        """
        return as_tensor(values, name, device)

    def accepts(self, dtype: torch.dtype) -> bool:
        """Tell whether values of this data type can be legal at all."""
        return not dtype.is_complex

    @abstractmethod
    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        """Return the smallest and the largest legal value of this data type; None: any value is legal."""

    @abstractmethod
    def convert(self, values: Any, dtype: torch.dtype = torch.float32) -> Any:
        """Convert legal raw values (..., *shape) to floats of ``dtype`` in one unit, whatever they were stored as.

        What is not scaled becomes what an encoder is given.
        """


class Images(Meaning):
    """Pictures: black is 0, white is 255 in whole numbers, and 1 in floats and bools. They become floats in [0, 1]."""

    expected = (
        "expected an image: uint8 or other whole numbers in 0..255, bool, or floats in [0, 1]; "
        "divide floats in 0..255 by 255, and clip what interpolation overshot"
    )

    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        """Return [0, 1], with room for the rounding of interpolation, or 0..255."""
        if dtype in (torch.uint8, torch.bool):
            return None
        return (-UNIT_TOLERANCE, 1 + UNIT_TOLERANCE) if dtype.is_floating_point else (0, LARGEST)

    def convert(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Bring whole numbers to [0, 1]."""
        is_unit = values.is_floating_point() or values.dtype == torch.bool
        return values.to(dtype) if is_unit else values.to(dtype) / LARGEST


class Numbers(Meaning):
    """Finite numbers of any type, as they are."""

    expected = "expected finite numbers; check the sensor or the message that they come from"

    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        """Return `FINITE` for floats."""
        return FINITE if dtype.is_floating_point else None

    def convert(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Change the type alone."""
        return values.to(dtype)


IMAGES = Images()
"""The meaning of images, for modalities that are some."""
NUMBERS = Numbers()
"""The meaning of numbers as they are."""


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


def as_float(values: Tensor, meaning: Meaning | None, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert raw values to floats that scale and offset apply to: images in [0, 1], numbers as they are.

    What is not scaled, ids for example, keeps a type of its own.

    Args:
        meaning: of the key; None if nobody said.
        name: of the key, for messages.

    Raises:
        InputError: such values have no meaning for this key. Ranges are looked at on the CPU only, as a GPU would have
            to be waited for, and NaN is not looked for where any number is legal; `ObservationCheck` does both.
    """
    if meaning is None and values.dtype == torch.uint8:
        raise InputError(
            f"{name} is torch.uint8, and nothing says whether that is an image or a number; "
            "build the normalizer as LinearNormalizer(shape_meta)"
        )
    meaning = meaning or NUMBERS
    if not meaning.accepts(values.dtype):
        raise InputError(f"{name} is {values.dtype}; {meaning.expected}")
    legal = meaning.limits(values.dtype)
    if legal is not None and legal != FINITE and values.device.type == "cpu":
        _refuse_bad(name, meaning, values.dtype, *(float(limit) for limit in _limits(values)))
    converted: Tensor = meaning.convert(values, dtype)
    return converted


class ObservationCheck:
    """Finds NaN, infinite values and images out of range without making the host wait for a GPU.

    On a GPU, making it starts the search, and `finish` gives its result when the host has launched everything that
    comes after; anywhere else, the search is over when it is made::

        check = ObservationCheck(obs, shape_meta)
        actions = ...  # sample
        check.finish()
        return actions
    """

    def __init__(self, obs: Mapping[str, Any], shape_meta: Mapping[str, Any]) -> None:
        """Start the search for values that no policy may see.

        Args:
            obs: raw, of any shapes, tensors all on one device. What is no key of ``shape_meta`` is taken for numbers.

        Raises:
            InputError: see `finish`.
        """
        meanings: dict[str, Meaning] = {
            key: built_modality(shape_meta, key) if key in shape_meta["obs"] else NUMBERS for key in obs
        }
        received = {key: meanings[key].received(value, f"predict_action: '{key}'") for key, value in obs.items()}
        given = {key: value for key, value in received.items() if isinstance(value, Tensor)}
        for key, value in given.items():
            if not meanings[key].accepts(value.dtype):
                raise InputError(f"predict_action: '{key}' is {value.dtype}; {meanings[key].expected}")
        looked_at = {key: value for key, value in given.items() if meanings[key].limits(value.dtype) is not None}
        self._looked_at = [(key, meanings[key], value.dtype) for key, value in looked_at.items()]
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
        for (key, meaning, dtype), low, high in zip(self._looked_at, limits[::2], limits[1::2], strict=True):
            _refuse_bad(f"predict_action: '{key}'", meaning, dtype, low, high)


def _limits(values: Tensor) -> tuple[Tensor, Tensor]:
    """Find the smallest and the largest value, each a scalar: NaN if there is one, 0 if there are no values."""
    if not values.numel():
        return values.new_zeros((), dtype=torch.float32), values.new_zeros((), dtype=torch.float32)
    low, high = torch.aminmax(values if values.is_floating_point() else values.float())
    return low, high


def _refuse_bad(name: str, meaning: Meaning, dtype: torch.dtype, low: float, high: float) -> None:
    limits = meaning.limits(dtype)
    if limits is not None and not (low >= limits[0] and high <= limits[1]):  # so that NaN is found, too
        raise InputError(f"{name} is {dtype} with values from {low:.6g} to {high:.6g}; {meaning.expected}")
