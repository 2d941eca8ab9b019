"""`LinearNormalizer`: the one place that scales data. Made by the data set, owned by the policy, stored in its weights.

``normalized = x * scale + offset``, per key and per dimension. What data means (which keys are images, which range
suits an action) is decided by the data set that builds it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypedDict, Unpack, cast, get_args, overload

import numpy as np
import torch
from torch import Tensor, nn

from dp_core.errors import InputError

Mode = Literal["limits", "gaussian"]
Stats = dict[str, Tensor]
"""``min``, ``max``, ``mean`` and ``std`` of the data, each with the shape of ``scale``."""

STATS = ("max", "mean", "min", "std")
"""Order of the original's state dict."""
_TENSORS = ("offset", "scale", *(f"input_stats.{name}" for name in STATS))
_DEFAULT_KEY = "_default"


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

    params_dict: _Field

    def __init__(self, field: _Field) -> None:
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
            InputError: there is no data, or it is not finite.
        """
        if mode not in get_args(Mode):
            raise InputError(f"normalizer: mode '{mode}' is not one of {_quoted(get_args(Mode))}")
        flat = _as_tensor(data, dtype)
        flat = flat.reshape(-1, flat.shape[-last_n_dims:].numel() if last_n_dims else 1)
        count = len(flat)
        if not count:
            raise InputError("normalizer: there is no data to fit; expected at least one sample")
        stats = {
            "max": flat.amax(0),
            "mean": flat.mean(0),
            "min": flat.amin(0),
            "std": flat.std(0, correction=min(1, len(flat) - 1)),
        }
        if not torch.isfinite(stats["mean"]).all():
            raise InputError("normalizer: the data has NaN or infinite values; remove them before fitting")
        if mode == "limits" and fit_offset:
            return cls.create_range(stats, output_max=output_max, output_min=output_min, range_eps=range_eps)
        if mode == "limits":
            reach = torch.maximum(stats["min"].abs(), stats["max"].abs())
            target = min(abs(output_min), abs(output_max))
            scale = target / torch.where(reach < range_eps, target, reach)
        else:
            scale = 1 / torch.where(stats["std"] < range_eps, 1, stats["std"])
        offset = -stats["mean"] * scale if mode == "gaussian" and fit_offset else torch.zeros_like(scale)
        return cls.create_manual(scale, offset, stats)

    @classmethod
    def create_range(
        cls, stats: Mapping[str, Any], *, output_max: float = 1.0, output_min: float = -1.0, range_eps: float = 1e-7
    ) -> SingleFieldLinearNormalizer:
        """Map [min, max] of ``stats`` (see `array_to_stats`) to [output_min, output_max].

        Dimensions with a range below ``range_eps`` are shifted to the middle of the output, not scaled.
        """
        low, high = _as_tensor(stats["min"]), _as_tensor(stats["max"])
        constant = high - low < range_eps
        scale = (output_max - output_min) / torch.where(constant, output_max - output_min, high - low)
        offset = torch.where(constant, (output_max + output_min) / 2 - low, output_min - scale * low)
        return cls.create_manual(scale, offset, stats)

    @classmethod
    def create_manual(cls, scale: Any, offset: Any, input_stats: Mapping[str, Any]) -> SingleFieldLinearNormalizer:
        """Use numbers that are known. All have the same shape (D,).

        Raises:
            InputError: shapes differ, or a statistic is absent.
        """
        given = {"offset": offset, "scale": scale}
        given |= {f"input_stats.{name}": input_stats[name] for name in STATS if name in input_stats}
        tensors = {name: _as_tensor(value).clone() for name, value in given.items()}
        if missing := [name for name in _TENSORS if name not in tensors]:
            raise InputError(f"normalizer: {_quoted(missing)} missing; expected {_quoted(STATS)} in the statistics")
        if len({tensor.shape for tensor in tensors.values()}) != 1:
            shapes = ", ".join(f"'{name}' {tuple(tensor.shape)}" for name, tensor in tensors.items())
            raise InputError(f"normalizer: shapes differ: {shapes}; expected one shape (D,) for all")
        return cls(_Field(tensors))

    @classmethod
    def create_identity(cls) -> SingleFieldLinearNormalizer:
        """Leave a field of any size as it is; its statistics are nominal, those of [-1, 1]."""
        stats = {"min": [-1.0], "max": [1.0], "mean": [0.0], "std": [1.0]}
        return cls.create_manual([1.0], [0.0], stats)

    @classmethod
    def create_image(cls) -> SingleFieldLinearNormalizer:
        """Map images in [0, 1] to [-1, 1]; the statistics are those of uniformly distributed values."""
        stats = {"min": [0.0], "max": [1.0], "mean": [0.5], "std": [12**-0.5]}
        return cls.create_manual([2.0], [-1.0], stats)

    @property
    def scale(self) -> Tensor:
        """(D,), or (1,) for a field of any size."""
        return self.params_dict.scale

    @property
    def offset(self) -> Tensor:
        """As `scale`."""
        return self.params_dict.offset

    @property
    def input_stats(self) -> Stats:
        """Of the data it was fitted to, in raw units."""
        return {name: getattr(self.params_dict.input_stats, name) for name in STATS}

    def normalize(self, x: Tensor | np.ndarray) -> Tensor:
        """Scale raw values (..., D); see `LinearNormalizer.normalize`."""
        return _normalize(x, self.params_dict, "the data")

    def unnormalize(self, x: Tensor | np.ndarray) -> Tensor:
        """Bring values (..., D) back to raw units."""
        return _unnormalize(x, self.params_dict, "the data")

    def forward(self, x: Tensor | np.ndarray) -> Tensor:
        """Same as `normalize`."""
        return self.normalize(x)


class LinearNormalizer(nn.Module):
    """Scales a dictionary of fields, each with its own numbers; a bare tensor is a single field without a name.

    State-dict names are the original's: ``params_dict.<key>.{offset,scale}`` and
    ``params_dict.<key>.input_stats.{max,mean,min,std}``. Loading takes over the fields of the state dict, whatever was
    there before, onto the device that this module was moved to. The tensors are buffers: data constants, which no
    optimizer has to skip.
    """

    params_dict: _Fields

    def __init__(self) -> None:
        super().__init__()
        self.params_dict = _Fields()

    def fit(self, data: Any, **options: Unpack[FitOptions]) -> None:
        """Fit every field of ``data``, a dictionary or a bare array, with the same options."""
        fields = data if isinstance(data, Mapping) else {_DEFAULT_KEY: data}
        for key, values in fields.items():
            self[key] = SingleFieldLinearNormalizer.create_fit(values, **options)

    def keys(self) -> list[str]:
        """Fields that have statistics."""
        return self.params_dict.names()

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __getitem__(self, key: str) -> SingleFieldLinearNormalizer:
        """One field; shares its tensors with this normalizer."""
        return SingleFieldLinearNormalizer(self.params_dict.get([key])[0])

    def __setitem__(self, key: str, field: SingleFieldLinearNormalizer) -> None:
        """Store a copy of ``field`` on this normalizer's device."""
        self.params_dict.set(key, copy.deepcopy(field.params_dict))

    @overload
    def normalize(self, x: Tensor | np.ndarray) -> Tensor: ...
    @overload
    def normalize(self, x: Mapping[str, Tensor | np.ndarray]) -> dict[str, Tensor]: ...
    def normalize(self, x: Any) -> Tensor | dict[str, Tensor]:
        """Scale raw values; what comes out has the same structure and shapes, and is float.

        Images travel as uint8 and become float here: uint8 values are divided by 255 before scale and offset apply.

        Args:
            x: (..., D), or a dictionary of such. Tensors must be on this normalizer's device.

        Raises:
            InputError: a key has no statistics, or a value is on another device or has another size.
        """
        return self._apply_fields(_normalize, x)

    @overload
    def unnormalize(self, x: Tensor | np.ndarray) -> Tensor: ...
    @overload
    def unnormalize(self, x: Mapping[str, Tensor | np.ndarray]) -> dict[str, Tensor]: ...
    def unnormalize(self, x: Any) -> Tensor | dict[str, Tensor]:
        """Bring values back to raw units: the inverse of `normalize` for float values."""
        return self._apply_fields(_unnormalize, x)

    def forward(self, x: Any) -> Any:
        """Same as `normalize`."""
        return self.normalize(x)

    def _apply_fields(self, function: Callable[[Any, _Field, str], Tensor], x: Any) -> Tensor | dict[str, Tensor]:
        if not isinstance(x, Mapping):
            return function(x, self.params_dict.get([_DEFAULT_KEY])[0], "the data")
        fields = self.params_dict.get(x)
        return {
            key: function(values, field, f"'{key}'") for (key, values), field in zip(x.items(), fields, strict=True)
        }


def array_to_stats(data: Any) -> dict[str, np.ndarray]:
    """Statistics over the first dimension of (N, D), as `SingleFieldLinearNormalizer.create_range` takes them.

    The deviation is that of the population (ddof 0), other than the sample deviation that ``create_fit`` stores.
    """
    array = np.asarray(data)
    return {"min": array.min(0), "max": array.max(0), "mean": array.mean(0), "std": array.std(0)}


class _Stats(nn.Module):
    """The leaf that gives the statistics their names in the state dict."""


class _Field(nn.Module):
    """The tensors of one field, under the names of the original's state dict."""

    offset: Tensor
    scale: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.input_stats = _Stats()
        for name in _TENSORS:
            owner = self.input_stats if "." in name else self
            owner.register_buffer(name.rpartition(".")[2], tensors[name])


class _Fields(nn.Module):
    """Fields by key. Bypasses ``add_module``, so that a key may have any name, a method's or one with dots included."""

    _marker: Tensor
    """Empty; knows the device when there are no fields yet."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_marker", torch.empty(0), persistent=False)

    def names(self) -> list[str]:
        return list(self._modules)

    def get(self, keys: Iterable[str]) -> list[_Field]:
        keys = list(keys)
        if unknown := [key for key in keys if key not in self._modules]:
            raise InputError(self._no_statistics(unknown))
        return [cast(_Field, self._modules[key]) for key in keys]

    def set(self, key: str, field: _Field) -> None:
        self._modules[key] = field.to(self._marker.device)

    def _no_statistics(self, unknown: list[str]) -> str:
        if not self._modules:
            return "normalizer: is empty; call set_normalizer(dataset.get_normalizer()), or load a checkpoint, first"
        wanted = "a bare tensor" if unknown == [_DEFAULT_KEY] else _quoted(unknown)
        return f"normalizer: no statistics for {wanted}; expected {_quoted(self._modules)}; fit it on every key in use"

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        """Make the fields that the state dict has; torch then loads each as usual."""
        incoming: dict[str, dict[str, Tensor]] = {}
        foreign = []
        for name, tensor in state_dict.items():
            if not name.startswith(prefix):
                continue
            suffix = next((suffix for suffix in _TENSORS if name.endswith(f".{suffix}")), None)
            if suffix is None:
                foreign.append(name)
            else:
                key = name[len(prefix) :].removesuffix(f".{suffix}")
                incoming.setdefault(key, {})[suffix] = tensor
        # What lies below a field is reported by that field.
        owned = tuple(f"{prefix}{key}." for key in incoming)
        unexpected_keys.extend(name for name in foreign if not name.startswith(owned))
        if not incoming:
            return  # a state dict without a normalizer leaves this one alone; torch reports what is missing
        fields = {key: self._field_for(key, tensors) for key, tensors in incoming.items()}
        self._modules.clear()
        self._modules.update(fields)

    def _field_for(self, key: str, tensors: dict[str, Tensor]) -> _Field:
        """The field there is if it fits, so that its tensors keep their identity, else a new one full of NaN."""
        present = self._modules.get(key)
        if present is not None:
            there = present.state_dict()
            if all(there[name].shape == t.shape and there[name].dtype == t.dtype for name, t in tensors.items()):
                return cast(_Field, present)
        absent_like = next(iter(tensors.values()))
        return _Field(
            {
                name: torch.full_like(tensors.get(name, absent_like), torch.nan, device=self._marker.device)
                for name in _TENSORS
            }
        )


def _normalize(x: Tensor | np.ndarray, field: _Field, name: str) -> Tensor:
    values = _as_float(x, field, name)
    if x.dtype in (torch.uint8, np.uint8):
        values = values / 255
    scale, offset = (_aligned(tensor, values, name) for tensor in (field.scale, field.offset))
    return values * scale + offset


def _unnormalize(x: Tensor | np.ndarray, field: _Field, name: str) -> Tensor:
    values = _as_float(x, field, name)
    scale, offset = (_aligned(tensor, values, name) for tensor in (field.scale, field.offset))
    return (values - offset) / scale


def _as_float(x: Tensor | np.ndarray, field: _Field, name: str) -> Tensor:
    """Convert to the type of the statistics. Never moves a tensor: the copy would hide in every step."""
    scale = field.scale
    if not isinstance(x, Tensor):
        return _as_tensor(x, scale.dtype).to(scale.device)
    if x.device != scale.device:
        raise InputError(
            f"normalizer: {name} is on {x.device}, the normalizer on {scale.device}; "
            "move the data to the policy's device"
        )
    return x.to(scale.dtype)


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


def _as_tensor(value: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """Without a copy where memory and dtype allow it; the result is only read."""
    if isinstance(value, Tensor):
        return value.detach().to(dtype)
    with warnings.catch_warnings():
        # A read-only array (memory map) makes torch warn of writes that do not happen.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(value)).to(dtype)


def _quoted(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)
