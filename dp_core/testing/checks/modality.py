"""The rules of modalities, see `BaseModality`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dp_core.errors import DataError, DpError
from dp_core.interfaces import BaseModality
from dp_core.normalizer import SingleFieldLinearNormalizer
from dp_core.observations import Raw
from dp_core.testing.case import Case
from dp_core.testing.checks.description import options_survive_a_config_file
from dp_core.testing.checks.modules import pickled
from dp_core.testing.samples import generator

_COUNT = 12


def it_is_built_as_its_kind_is(case: Case) -> None:
    """Check that ``target(config, shape=...)`` returns a `BaseModality` of that shape, which says what is legal."""
    modality = case.build()
    if not isinstance(modality, BaseModality):
        case.fail(f"returned a {type(modality).__name__}; expected a BaseModality", "inherit from it")
    if modality.shape != tuple(case.setting.runtime["shape"]):
        case.fail(f"its shape is {modality.shape}; expected that which it was built with", "call super().__init__")
    if not isinstance(getattr(modality, "expected", None), str):
        case.fail("it has no 'expected'", "say in words what is legal; messages end with it")


def samples_are_legal(case: Case) -> None:
    """Check that `sample` draws (count, *shape) of legal values from its generator, and the same ones again."""
    modality = case.build()
    state = torch.get_rng_state()
    sample = _sample(case, modality)
    if not torch.equal(state, torch.get_rng_state()):
        case.fail("sample draws from torch's global state", "pass generator=generator to what draws")
    if not _is_equal(sample, _sample(case, modality)):
        case.fail("two samples from equal generators differ", "draw from the generator alone")
    if isinstance(sample, Tensor):
        _require_legal(case, modality, sample, "a sample")


def what_is_stored_means_the_same(case: Case) -> None:
    """Check that `stored` keeps the meaning of samples, leaves them alone, and takes its own results unchanged."""
    modality = case.build()
    raw = np.asarray(_sample(case, modality))
    before = raw.copy()
    stored = _stored(case, modality, raw)
    if not np.array_equal(raw, before):
        case.fail("stored changes the values that it is given", "copy what is to be changed")
    if stored.shape != raw.shape:
        case.fail(f"of samples {raw.shape}, {stored.shape} is stored; expected the same shape", "keep (N, *shape)")
    if not _is_equal(_stored(case, modality, stored), stored):
        case.fail("what is stored is stored differently the second time", "take values of that form as they are")
    if stored.dtype.kind != "O" and not _is_close(_converted(modality, stored), _converted(modality, raw)):
        case.fail(
            "convert gives other numbers for what is stored than for the samples",
            "let stored and convert agree on the unit of each data type",
        )


def networks_get_what_is_promised(case: Case) -> None:
    """Check that `convert` gives float32 where it is scaled, and whatever is not scaled keeps its shape."""
    modality = case.build()
    sample = _sample(case, modality)
    kept = sample.clone() if isinstance(sample, Tensor) else sample.copy()
    converted = modality.convert(modality.received(sample, "the sample"))
    if not _is_equal(sample, kept):
        case.fail("convert changes the values that it is given", "write to a copy")
    if tuple(converted.shape) != tuple(sample.shape):
        case.fail(
            f"convert gave {tuple(converted.shape)} for {tuple(sample.shape)}; expected the same", "keep the shape"
        )
    if not modality.is_scaled:
        return
    if not isinstance(converted, Tensor) or converted.dtype != torch.float32 or not converted.isfinite().all():
        case.fail("convert did not give finite float32", "convert to dtype, or set is_scaled = False")
    if modality.convert(sample, torch.float64).dtype != torch.float64:
        case.fail("convert(values, torch.float64) is of another type", "convert to the dtype that is asked for")


def its_scale_fits_its_data(case: Case) -> None:
    """Check that `fit` scales samples to finite numbers of about 1, and back, without changing them."""
    modality = case.build()
    if not modality.is_scaled:
        return
    stored = torch.from_numpy(_stored(case, modality, np.asarray(_sample(case, modality))))
    kept = stored.clone()
    field = modality.fit(stored)
    if not torch.equal(stored, kept):
        case.fail("fit changes the data", "work on a copy")
    if not isinstance(field, SingleFieldLinearNormalizer):
        case.fail(
            f"fit returned a {type(field).__name__}; expected a SingleFieldLinearNormalizer",
            "return one that its create_... methods make, or set is_scaled = False",
        )
    raw = modality.convert(stored).float()
    scaled = field.normalize(raw)
    if not scaled.isfinite().all() or not 0.05 < scaled.abs().max() < 20:
        case.fail(
            f"scaled samples go from {scaled.min():.3g} to {scaled.max():.3g}; expected about -1 to 1",
            "fit to what convert gives, not to what is stored",
        )
    if not torch.allclose(field.unnormalize(scaled), raw, rtol=1e-3, atol=1e-3 * float(raw.abs().max())):
        case.fail("scaling back gives other numbers", "choose scales that float32 can undo")


def what_is_none_of_it_is_refused(case: Case) -> None:
    """Check that `stored` refuses another shape, and NaN, with a `DataError`."""
    modality = case.build()
    stored = _stored(case, modality, np.asarray(_sample(case, modality)))
    wrong = {"(N, 7, *shape)": np.repeat(stored[:, None], 7, axis=1)}
    if stored.dtype.kind == "f":
        wrong["NaN"] = np.full_like(stored, np.nan)
    for what, values in wrong.items():
        try:
            modality.stored(values, "the data")
        except DataError:
            continue
        except DpError as error:
            case.fail(f"of {what}, stored raises {type(error).__name__}", "raise DataError")
        case.fail(f"{what} is stored", "raise DataError, with what was found and what is expected")


def it_can_be_pickled(case: Case) -> None:
    """Check that what is unpickled, in a worker process for example, converts alike."""
    modality = case.build()
    sample = modality.received(_sample(case, modality), "the sample")
    if not _is_equal(pickled(case, modality).convert(sample), modality.convert(sample)):
        case.fail("what was pickled converts differently", "keep no state beside config and shape")


def encoders_can_be_tried_with_it(case: Case) -> None:
    """Check that `normalized_sample` draws what an encoder is given: (count, *shape), or a list of count."""
    modality = case.build()
    sample = modality.normalized_sample(_COUNT, generator())
    shape = (len(sample), *np.shape(sample)[1:])
    if shape != (_COUNT, *modality.shape):
        case.fail(f"normalized_sample drew {shape}; expected {(_COUNT, *modality.shape)}", "draw count observations")
    if modality.is_scaled and sample.dtype != torch.float32:
        case.fail(f"normalized_sample drew {sample.dtype}; expected torch.float32", "convert to float32")


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    samples_are_legal,
    what_is_stored_means_the_same,
    networks_get_what_is_promised,
    its_scale_fits_its_data,
    what_is_none_of_it_is_refused,
    it_can_be_pickled,
    encoders_can_be_tried_with_it,
)


def _sample(case: Case, modality: BaseModality) -> Raw:
    sample = modality.sample(_COUNT, generator())
    if tuple(sample.shape) != (_COUNT, *modality.shape):
        case.fail(
            f"sample({_COUNT}, ...) drew {tuple(sample.shape)}; expected {(_COUNT, *modality.shape)}",
            "draw (count, *shape)",
        )
    return sample


def _stored(case: Case, modality: BaseModality, values: NDArray[Any]) -> NDArray[Any]:
    try:
        return modality.stored(values, "the sample")
    except DpError as error:
        case.fail(f"stored refuses samples: {error}", "draw in sample what may be recorded")


def _require_legal(case: Case, modality: BaseModality, values: Tensor, what: str) -> None:
    if not modality.accepts(values.dtype):
        case.fail(f"{what} is {values.dtype}, which accepts() refuses", "draw in sample what may be recorded")
    limits = modality.limits(values.dtype)
    wide = values.double()
    if limits is not None and not (wide.min() >= limits[0] and wide.max() <= limits[1]):
        case.fail(
            f"{what} goes from {wide.min():.6g} to {wide.max():.6g}; limits({values.dtype}) are {limits}",
            "draw in sample what is legal, or widen the limits",
        )


def _converted(modality: BaseModality, values: NDArray[Any]) -> Tensor:
    converted: Tensor = modality.convert(torch.from_numpy(values))
    return converted


def _is_close(value: Tensor, other: Tensor) -> bool:
    return value.dtype == other.dtype and torch.allclose(value.double(), other.double(), rtol=1e-3, atol=1e-2)


def _is_equal(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.dtype == other.dtype and torch.equal(value, other)
    return bool(np.array_equal(value, other))
