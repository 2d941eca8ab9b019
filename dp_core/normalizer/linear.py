"""`LinearNormalizer`: the one place that scales data. Made by the data set, owned by the policy, stored in its weights.

``normalized = x * scale + offset``, per key and per dimension. Which range suits an action is decided by the data set
that builds it; what ``x`` is, an image or numbers as they are, by the type of the key (`dp_core.observations`).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict, Unpack, get_args, overload

import numpy as np
import torch
from torch import Tensor, nn

from dp_core.errors import InputError, quoted
from dp_core.normalizer.fields import DEFAULT_KEY, IMAGE, STATS, TENSORS, Field, Fields
from dp_core.normalizer.precision import coarse_entries, constant_entries
from dp_core.observations import IMAGES, NUMBERS, as_float, as_tensor

logger = logging.getLogger(__name__)

Mode = Literal["limits", "gaussian"]
Stats = dict[str, Tensor]
"""The ``min``, ``max``, ``mean`` and ``std`` of the data, each with the shape of ``scale``."""


class FitOptions(TypedDict, total=False):
    """Options of `SingleFieldLinearNormalizer.create_fit`."""

    last_n_dims: int
    dtype: torch.dtype
    mode: Mode
    output_max: float
    output_min: float
    range_eps: float
    fit_offset: bool


class SingleFieldLinearNormalizer(nn.Module):
    """Scales one field: ``x * scale + offset``. Made by one of the ``create_`` methods."""

    params_dict: Field

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.params_dict = field

    @classmethod
    def create_fit(
        cls,
        data: Any,
        *,
        last_n_dims: int = 1,
        dtype: torch.dtype = torch.float32,
        mode: Mode = "limits",
        output_max: float = 1.0,
        output_min: float = -1.0,
        range_eps: float = 1e-4,
        fit_offset: bool = True,
    ) -> SingleFieldLinearNormalizer:
        """Fit to ``data``, which is read where it lies if it has ``dtype`` already.

        Args:
            data: tensor, array, or whatever `numpy.asarray` takes (zarr); leading dimensions are samples.
            last_n_dims: number of trailing dimensions that have statistics of their own; 0 for one number over all.
            mode: ``limits`` maps [min, max] to [output_min, output_max]; ``gaussian`` to mean 0 and deviation 1.
            range_eps: dimensions with a smaller range (``gaussian``: deviation) are constant: shifted, not scaled.
            fit_offset: False keeps zero at zero.

        Raises:
            InputError: there is no data, it is not finite, or float32 cannot tell its values apart.
        """
        if mode not in get_args(Mode):
            raise InputError(f"normalizer: mode '{mode}' is not one of {quoted(get_args(Mode))}")
        given = _as_tensor(data)
        given = given.reshape(-1, given.shape[-last_n_dims:].numel() if last_n_dims else 1)
        if not len(given):
            raise InputError("normalizer: there is no data to fit; expected at least one sample")
        flat = given.to(dtype)
        stats = {
            "max": flat.amax(0),
            "mean": flat.mean(0),
            "min": flat.amin(0),
            "std": flat.std(0, correction=min(1, len(flat) - 1)),
        }
        if not torch.isfinite(stats["mean"]).all():
            raise InputError("normalizer: the data has NaN or infinite values; remove them before fitting")
        low, high = _limits(given)
        if problem := coarse_entries(low, high, range_eps):
            raise InputError(f"normalizer: {problem}")
        if mode == "limits" and fit_offset:
            field = cls.create_range(stats, output_max=output_max, output_min=output_min, range_eps=range_eps)
            field.params_dict.remark = constant_entries(low, high, range_eps)
        else:
            reach = torch.maximum(stats["min"].abs(), stats["max"].abs())
            # The deviation of what is constant, far from zero, is what summing it up rounds.
            deviation = torch.where(stats["min"] == stats["max"], 0, stats["std"])
            size, target = (reach, min(abs(output_min), abs(output_max))) if mode == "limits" else (deviation, 1.0)
            scale = target / torch.where(_is_constant(size, range_eps), target, size)
            offset = -stats["mean"] * scale if mode == "gaussian" and fit_offset else torch.zeros_like(scale)
            remark = constant_entries(torch.zeros(len(size)), size.cpu(), range_eps)
            field = cls.create_manual(scale, offset, stats, remark=remark)
        field.params_dict.key_type, field.params_dict.meaning = "low_dim", NUMBERS
        return field

    @classmethod
    def create_range(
        cls, stats: Mapping[str, Any], *, output_max: float = 1.0, output_min: float = -1.0, range_eps: float = 1e-7
    ) -> SingleFieldLinearNormalizer:
        """Map [min, max] of ``stats`` (see `array_to_stats`) to [output_min, output_max].

        Dimensions with a range below ``range_eps`` are shifted to the middle of the output, not scaled. Where float32
        has few numbers in a range, the normalizer that the field goes to says so.
        """
        low, high = _as_tensor(stats["min"], torch.float32), _as_tensor(stats["max"], torch.float32)
        constant = _is_constant(high - low, range_eps)
        scale = (output_max - output_min) / torch.where(constant, output_max - output_min, high - low)
        offset = torch.where(constant, (output_max + output_min) / 2 - low, output_min - scale * low)
        exact_low, exact_high = (_as_tensor(stats[name], torch.float64).cpu() for name in ("min", "max"))
        remarks = (say(exact_low, exact_high, range_eps) for say in (constant_entries, coarse_entries))
        return cls.create_manual(scale, offset, stats, remark="; ".join(filter(None, remarks)))

    @classmethod
    def create_manual(
        cls, scale: Any, offset: Any, input_stats: Mapping[str, Any], *, remark: str = ""
    ) -> SingleFieldLinearNormalizer:
        """Use known numbers, all of the same shape (D,).

        Args:
            remark: see `remark`.

        Raises:
            InputError: shapes differ, a statistic is absent, or what is scaled could not be scaled back.
        """
        given = {"offset": offset, "scale": scale}
        given |= {f"input_stats.{name}": input_stats[name] for name in STATS if name in input_stats}
        tensors = {name: _as_tensor(value, torch.float32).clone() for name, value in given.items()}
        if missing := [name for name in TENSORS if name not in tensors]:
            raise InputError(f"normalizer: {quoted(missing)} missing; expected {quoted(STATS)} in the statistics")
        if len({tensor.shape for tensor in tensors.values()}) != 1:
            shapes = ", ".join(f"'{name}' {tuple(tensor.shape)}" for name, tensor in tensors.items())
            raise InputError(f"normalizer: shapes differ: {shapes}; expected one shape (D,) for all")
        if not (tensors["scale"].isfinite() & (tensors["scale"] != 0) & tensors["offset"].isfinite()).all():
            raise InputError(
                "normalizer: a scale is zero or not finite, or an offset is not finite; check the statistics"
            )
        field = cls(Field(tensors))
        field.params_dict.remark = remark
        return field

    @classmethod
    def create_identity(cls) -> SingleFieldLinearNormalizer:
        """Leave a field of any size as it is; its statistics are nominal, those of [-1, 1]."""
        stats = {"min": [-1.0], "max": [1.0], "mean": [0.0], "std": [1.0]}
        return cls.create_manual([1.0], [0.0], stats)

    @classmethod
    def create_image(cls) -> SingleFieldLinearNormalizer:
        """Map images to [-1, 1]; the statistics are those of uniformly distributed values in [0, 1]."""
        stats = {name: [IMAGE[f"input_stats.{name}"]] for name in STATS}
        field = cls.create_manual([IMAGE["scale"]], [IMAGE["offset"]], stats)
        field.params_dict.key_type, field.params_dict.meaning = "rgb", IMAGES
        return field

    @property
    def scale(self) -> Tensor:
        """The factors, float32 (D,), or (1,) for a field of any size."""
        return self.params_dict.scale

    @property
    def offset(self) -> Tensor:
        """The offsets, added after scaling; float32, of the shape of `scale`."""
        return self.params_dict.offset

    @property
    def remark(self) -> str:
        """What was taken for constant when the field was made, in words; the normalizer that it goes to logs this."""
        return self.params_dict.remark

    @property
    def input_stats(self) -> Stats:
        """The statistics of the data that the field was fitted to, in raw units."""
        return {name: getattr(self.params_dict.input_stats, name) for name in STATS}

    def normalize(self, x: Tensor | np.ndarray) -> Tensor:
        """Scale raw values (..., D) to float (..., D); see `LinearNormalizer.normalize`."""
        return _normalize(x, self.params_dict, "the data")

    def unnormalize(self, x: Tensor | np.ndarray) -> Tensor:
        """Convert normalised values (..., D) back to raw units, float (..., D)."""
        return _unnormalize(x, self.params_dict, "the data")

    def forward(self, x: Tensor | np.ndarray) -> Tensor:
        """Scale raw values (..., D), as `normalize` does."""
        return self.normalize(x)


class LinearNormalizer(nn.Module):
    """Scales a dictionary of fields, each with its own numbers; a bare tensor is a single field without a name.

    State-dict names are the original's: ``params_dict.<key>.{offset,scale}`` and
    ``params_dict.<key>.input_stats.{max,mean,min,std}``. Loading takes over the fields of the state dict, whatever was
    there before, onto the device that this module was moved to. The tensors are buffers: data constants, which no
    optimizer has to skip.

    Keys of modalities that are not scaled, such as ids and text, have no field: they come out of `normalize` as
    networks get them, and out of `unnormalize` unchanged.

    The names have no place for what a key is. ``shape_meta`` says it; without, it is known of fields that
    `SingleFieldLinearNormalizer.create_image` or ``create_fit`` made, and of loaded ones that have the numbers of the
    former.
    """

    params_dict: Fields

    def __init__(self, shape_meta: Mapping[str, Any] | None = None) -> None:
        """Create a normalizer without fields.

        Args:
            shape_meta: says which keys are images, and what else; a policy always gives it.
        """
        super().__init__()
        self.params_dict = Fields(shape_meta)

    def fit(self, data: Any, **options: Unpack[FitOptions]) -> None:
        """Fit every field of ``data``, a dictionary or a bare array, with the same options; of keys that are scaled.

        Raises:
            InputError: see `SingleFieldLinearNormalizer.create_fit`.
        """
        fields = data if isinstance(data, Mapping) else {DEFAULT_KEY: data}
        for key, values in fields.items():
            if key in self.params_dict.unscaled:
                continue
            try:
                self[key] = SingleFieldLinearNormalizer.create_fit(values, **options)
            except InputError as error:
                raise InputError(f"'{key}': {error}" if isinstance(data, Mapping) else str(error)) from error

    def keys(self) -> list[str]:
        """List the fields that have statistics."""
        return self.params_dict.names()

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __getitem__(self, key: str) -> SingleFieldLinearNormalizer:
        """Return one field, which shares its tensors with this normalizer.

        Raises:
            InputError: it has no statistics.
        """
        return SingleFieldLinearNormalizer(self.params_dict.get([key])[0])

    def __setitem__(self, key: str, field: SingleFieldLinearNormalizer) -> None:
        """Store a copy of ``field`` on this normalizer's device, and log what was taken for constant in its making."""
        stored = copy.deepcopy(field.params_dict)
        if stored.remark:
            logger.warning("normalizer: '%s': %s", key, stored.remark)
            stored.remark = ""
        self.params_dict.set(key, stored)

    @overload
    def normalize(self, x: Tensor | np.ndarray) -> Tensor: ...
    @overload
    def normalize(self, x: Mapping[str, Tensor | np.ndarray]) -> dict[str, Tensor]: ...
    def normalize(self, x: Any) -> Tensor | dict[str, Tensor]:
        """Scale raw values; the result has the same structure and shapes, and is float.

        Images travel as uint8 and become float here, in [0, 1], before scale and offset apply; see
        `dp_core.observations`, also for the other forms they may have.

        Args:
            x: (..., D), or a dictionary of such. Tensors must be on this normalizer's device.

        Raises:
            InputError: a key has no statistics, or a value is on another device, has another size, or is no image.
        """
        return self._apply_fields(_normalize, x, self._unscaled)

    @overload
    def unnormalize(self, x: Tensor | np.ndarray) -> Tensor: ...
    @overload
    def unnormalize(self, x: Mapping[str, Tensor | np.ndarray]) -> dict[str, Tensor]: ...
    def unnormalize(self, x: Any) -> Tensor | dict[str, Tensor]:
        """Convert normalised values back to raw units: the inverse of `normalize` for float values.

        Args:
            x: (..., D), or a dictionary of such. Tensors must be on this normalizer's device.

        Raises:
            InputError: a key has no statistics, or a value is on another device or has another size.
        """
        return self._apply_fields(_unnormalize, x, lambda key, values: values)

    def forward(self, x: Any) -> Any:
        """Scale raw values, as `normalize` does."""
        return self.normalize(x)

    def _apply_fields(
        self, scale: Callable[[Any, Field, str], Tensor], x: Any, keep: Callable[[str, Any], Any]
    ) -> Tensor | dict[str, Any]:
        """Apply ``scale`` to what has a field, and ``keep`` to what is not scaled."""
        if not isinstance(x, Mapping):
            return scale(x, self.params_dict.get([DEFAULT_KEY])[0], "the data")
        scaled = [key for key in x if key not in self.params_dict.unscaled]
        fields = dict(zip(scaled, self.params_dict.get(scaled), strict=True))
        return {
            key: scale(values, fields[key], f"'{key}'") if key in fields else keep(key, values)
            for key, values in x.items()
        }

    def _unscaled(self, key: str, values: Any) -> Any:
        """Convert what is not scaled to what networks get."""
        meaning = self.params_dict.unscaled[key]
        received = meaning.received(values, f"normalizer: '{key}'", self.params_dict.device)
        if not isinstance(received, Tensor):
            return meaning.convert(received)
        return as_float(received, meaning, f"normalizer: '{key}'")


def array_to_stats(data: Any) -> dict[str, np.ndarray]:
    """Compute statistics (D,) over the first dimension of (N, D), for `SingleFieldLinearNormalizer.create_range`.

    The deviation is that of the population (ddof 0), other than the sample deviation that ``create_fit`` stores.
    """
    array = np.asarray(data)
    return {"min": array.min(0), "max": array.max(0), "mean": array.mean(0), "std": array.std(0)}


def _normalize(x: Tensor | np.ndarray, field: Field, name: str) -> Tensor:
    meaning = field.meaning
    if meaning is None and field.key_type is not None:
        raise InputError(
            f"normalizer: {name} is of the type '{field.key_type}', and nothing says what its values mean; "
            "build the normalizer as LinearNormalizer(shape_meta)"
        )
    values = as_float(_on_device(x, field, name), meaning, f"normalizer: {name}", field.scale.dtype)
    scale, offset = (_aligned(tensor, values, name) for tensor in (field.scale, field.offset))
    return values * scale + offset


def _unnormalize(x: Tensor | np.ndarray, field: Field, name: str) -> Tensor:
    values = _on_device(x, field, name).to(field.scale.dtype)
    scale, offset = (_aligned(tensor, values, name) for tensor in (field.scale, field.offset))
    return (values - offset) / scale


def _on_device(x: Tensor | np.ndarray, field: Field, name: str) -> Tensor:
    """Make ``x`` a tensor beside the statistics. Never moves a tensor: the copy would hide in every step."""
    device = field.scale.device
    if not isinstance(x, Tensor):
        return as_tensor(x, f"normalizer: {name}", device)
    if x.device != device:
        raise InputError(
            f"normalizer: {name} is on {x.device}, the normalizer on {device}; move the data to the policy's device"
        )
    return x


def _aligned(tensor: Tensor, values: Tensor, name: str) -> Tensor:
    """View scale or offset (D,) in the shape of the trailing dimensions of ``values`` that hold D numbers.

    So that images keep their memory format: nothing is reshaped but these few numbers.
    """
    if tensor.numel() == 1:
        return tensor
    for n_dims in range(1, values.ndim + 1):
        trailing = values.shape[-n_dims:]
        if trailing.numel() == tensor.numel():
            return tensor.reshape(trailing)
    raise InputError(
        f"normalizer: {name} has shape {tuple(values.shape)}; expected {tensor.numel()} values in its last dimension"
    )


def _is_constant(spread: Tensor, range_eps: float) -> Tensor:
    """Tell whether a range is below ``range_eps``, or nothing that can be divided by."""
    return spread < max(range_eps, torch.finfo(spread.dtype).tiny)


def _limits(values: Tensor) -> tuple[Tensor, Tensor]:
    """Find the smallest and largest of (N, D), as float64 on the CPU: what was stored, before any cast to float32."""
    comparable = values if values.is_floating_point() else values.double()
    return comparable.amin(0).double().cpu(), comparable.amax(0).double().cpu()


def _as_tensor(value: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Convert without a copy where memory and dtype allow it; the result is only read."""
    return as_tensor(value, "normalizer: the data").detach().to(dtype)
