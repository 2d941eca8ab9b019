"""The fields of a normalizer: their tensors under the original's names, how they are loaded, and what each key is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from dp_core.errors import InputError, quoted
from dp_core.observations import IMAGES, NUMBERS, Meaning
from dp_core.shape_meta import built_modality, obs_type

STATS = ("max", "mean", "min", "std")
"""The statistics, in the order of the original's state dict."""
TENSORS = ("offset", "scale", *(f"input_stats.{name}" for name in STATS))
DEFAULT_KEY = "_default"
IMAGE = {
    "scale": 2.0, "offset": -1.0,
    "input_stats.min": 0.0, "input_stats.max": 1.0, "input_stats.mean": 0.5, "input_stats.std": 12**-0.5,
}  # fmt: skip
"""The numbers that map images to [-1, 1]; the statistics are those of uniformly distributed values in [0, 1]."""
_TYPES = "types"
_MEANINGS: dict[str, Meaning] = {"rgb": IMAGES, "low_dim": NUMBERS}
"""Of the types that fields have without a `shape_meta`."""


class _Stats(nn.Module):
    """The leaf that gives the statistics their names in the state dict."""


class Field(nn.Module):
    """The tensors of one field, under the names of the original's state dict."""

    offset: Tensor
    scale: Tensor
    key_type: str | None = None
    """The type of the key, as in `shape_meta`; None if nobody has said."""
    meaning: Meaning | None = None
    """What raw values of the key are, as its type says; None if nobody has said."""
    remark: str = ""
    """What to say about how the field was made, once the key is known."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.input_stats = _Stats()
        for name in TENSORS:
            owner = self.input_stats if "." in name else self
            owner.register_buffer(name.rpartition(".")[2], tensors[name])


class Fields(nn.Module):
    """Fields by key; bypasses ``add_module``, so that a key may have any name, even a method's or one with dots."""

    _marker: Tensor
    """Empty; knows the device when there are no fields yet."""
    _types: Mapping[str, str] = {}
    """Of the keys that `shape_meta` names."""

    unscaled: Mapping[str, Meaning] = {}
    """Of keys that have no field: they are not scaled."""
    _meanings: Mapping[str, Meaning] = {}

    def __init__(self, shape_meta: Mapping[str, Any] | None) -> None:
        super().__init__()
        if shape_meta is not None:
            keys = {key: obs_type(shape_meta, key) for key in shape_meta["obs"]}
            meanings: dict[str, Meaning] = {key: built_modality(shape_meta, key) for key in keys}
            self._types = keys | {"action": "low_dim"}
            self._meanings = meanings | {"action": NUMBERS}
            self.unscaled = {key: meaning for key, meaning in meanings.items() if not meaning.is_scaled}
        self.register_buffer("_marker", torch.empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the fields are."""
        return self._marker.device

    def names(self) -> list[str]:
        """List the keys that have a field."""
        return list(self._modules)

    def get(self, keys: Iterable[str]) -> list[Field]:
        """Return the fields of ``keys``, in their order.

        Raises:
            InputError: some have none.
        """
        keys = list(keys)
        if unknown := [key for key in keys if key not in self._modules]:
            raise InputError(self._no_statistics(unknown))
        return [cast(Field, self._modules[key]) for key in keys]

    def set(self, key: str, field: Field) -> None:
        """Put ``field`` in the place of ``key``, on the device of this normalizer.

        Raises:
            InputError: the key is of a modality that is not scaled.
        """
        if key in self.unscaled:
            raise InputError(f"normalizer: '{key}' is {self._types[key]}, which is not scaled; set no field for it")
        field.key_type = self._types.get(key, field.key_type)
        known = field.meaning if field.key_type is None else _MEANINGS.get(field.key_type)
        field.meaning = self._meanings.get(key, known)
        self._modules[key] = field.to(self._marker.device)

    def _no_statistics(self, unknown: list[str]) -> str:
        if not self._modules:
            return "normalizer: is empty; call set_normalizer(dataset.get_normalizer()), or load a checkpoint, first"
        wanted = "a bare tensor" if unknown == [DEFAULT_KEY] else quoted(unknown)
        return f"normalizer: no statistics for {wanted}; expected {quoted(self._modules)}; fit it on every key in use"

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
            suffix = next((suffix for suffix in TENSORS if name.endswith(f".{suffix}")), None)
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
        saved_types = local_metadata.get(_TYPES, {})
        fields = {key: self._field_for(key, tensors) for key, tensors in incoming.items()}
        self._modules.clear()
        for key in [key for key in fields if key in self.unscaled]:
            unexpected_keys.extend(f"{prefix}{key}.{name}" for name in incoming[key])
            del fields[key]
        for key, field in fields.items():
            field.key_type = saved_types.get(key) or _type_by_numbers(incoming[key]) or field.key_type
            self.set(key, field)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Types travel beside the tensors, as torch's versions do: they are lost in a file, and nothing misses them."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, "_metadata"):
            types = {key: field.key_type for key, field in zip(self.names(), self.get(self.names()), strict=True)}
            destination._metadata[prefix[:-1]][_TYPES] = types

    def _field_for(self, key: str, tensors: dict[str, Tensor]) -> Field:
        """The field there is if it fits, so that its tensors keep their identity, else a new one full of NaN."""
        present = self._modules.get(key)
        if present is not None:
            there = present.state_dict()
            if all(there[name].shape == t.shape and there[name].dtype == t.dtype for name, t in tensors.items()):
                return cast(Field, present)
        absent_like = next(iter(tensors.values()))
        return Field(
            {
                name: torch.full_like(tensors.get(name, absent_like), torch.nan, device=self._marker.device)
                for name in TENSORS
            }
        )


def _type_by_numbers(tensors: Mapping[str, Tensor]) -> str | None:
    """``"rgb"`` for the numbers of `IMAGE`, which no data have: 0 and 1 alone do not deviate so little."""
    if any(tensor.shape != (1,) or tensor.is_meta for tensor in tensors.values()):
        return None
    is_image = all(
        name in tensors and torch.equal(tensors[name].cpu(), torch.tensor([value])) for name, value in IMAGE.items()
    )
    return "rgb" if is_image else None
