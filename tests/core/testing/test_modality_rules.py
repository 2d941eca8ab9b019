"""Faults of modalities are named by the rule that they break."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
import torch

from dp_core import Component
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import DataError
from dp_core.interfaces import BaseModality
from dp_core.registry import Registry
from dp_core.testing.case import Case, ConformanceError
from dp_core.testing.checks.modality import CHECKS
from dp_core.testing.examples import of_shape


@attrs.frozen(kw_only=True)
class Options:
    """None."""


class Sound(BaseModality):
    """Numbers from 0 to 1."""

    expected = "expected numbers"

    def stored(self, values: Any, name: str, *, range_eps: float = 1e-4) -> Any:
        if values.shape[1:] != self.shape or not np.isfinite(values).all():
            raise DataError(f"{name}: {self.expected}")
        return np.ascontiguousarray(values, dtype=np.float32)

    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        return 0, 1

    def convert(self, values: Any, dtype: torch.dtype = torch.float32) -> Any:
        return values.to(dtype)

    def sample(self, count: int, generator: torch.Generator) -> Any:
        return torch.rand(count, *self.shape, generator=generator)


class DrawsGlobally(Sound):
    def sample(self, count: int, generator: torch.Generator) -> Any:
        return torch.rand(count, *self.shape)


class DrawsWhatIsIllegal(Sound):
    def sample(self, count: int, generator: torch.Generator) -> Any:
        return 9 * super().sample(count, generator)


class StoresAnotherUnit(Sound):
    def stored(self, values: Any, name: str, *, range_eps: float = 1e-4) -> Any:
        return super().stored(values, name) / 2


class Rounds(Sound):
    def convert(self, values: Any, dtype: torch.dtype = torch.float32) -> Any:
        return values.to(torch.float16)


class ChangesItsInput(Sound):
    def convert(self, values: Any, dtype: torch.dtype = torch.float32) -> Any:
        return values.mul_(2).to(dtype)


class FitsNothing(Sound):
    def fit(self, values: Any, *, range_eps: float = 1e-4) -> Any:
        return None


class TakesAnything(Sound):
    def stored(self, values: Any, name: str, *, range_eps: float = 1e-4) -> Any:
        return np.ascontiguousarray(values, dtype=np.float32)


class IsSilent(Sound):
    expected = None  # type: ignore[assignment]


def broken(cls: type) -> dict[str, str]:
    """The rules that a modality breaks, and what is said."""
    component = Component(
        kind="modality", name="wrong", target=f"{__name__}:{cls.__name__}", config=Options, summary=""
    )
    case = Case(
        component=component,
        registry=Registry([PluginRecord("wrong", "local", "", "ok", (component,))]),
        setting=of_shape((3,)),
        title="a vector",
    )
    found = {}
    for check in CHECKS:
        try:
            check(case)
        except ConformanceError as error:
            found[check.__name__] = str(error).removeprefix("modality 'wrong' for a vector: ")
    return found


def test_a_sound_one_breaks_none() -> None:
    assert broken(Sound) == {}


@pytest.mark.parametrize(
    ("cls", "rule", "message"),
    [
        (
            IsSilent,
            "it_is_built_as_its_kind_is",
            "it has no 'expected'; say in words what is legal; messages end with it",
        ),
        (
            DrawsGlobally,
            "samples_are_legal",
            "sample draws from torch's global state; pass generator=generator to what draws",
        ),
        (DrawsWhatIsIllegal, "samples_are_legal", "draw in sample what is legal, or widen the limits"),
        (
            StoresAnotherUnit,
            "what_is_stored_means_the_same",
            "what is stored is stored differently the second time; take values of that form as they are",
        ),
        (
            Rounds,
            "networks_get_what_is_promised",
            "convert did not give finite float32; convert to dtype, or set is_scaled = False",
        ),
        (
            ChangesItsInput,
            "networks_get_what_is_promised",
            "convert changes the values that it is given; write to a copy",
        ),
        (
            FitsNothing,
            "its_scale_fits_its_data",
            "fit returned a NoneType; expected a SingleFieldLinearNormalizer; return one that its create_... methods "
            "make, or set is_scaled = False",
        ),
        (
            TakesAnything,
            "what_is_none_of_it_is_refused",
            "(N, 7, *shape) is stored; raise DataError, with what was found and what is expected",
        ),
    ],
)
def test_a_fault_is_named(cls: type, rule: str, message: str) -> None:
    assert message in broken(cls)[rule]
