"""The rules of data sets, see `BaseDataset`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp_core.errors import quoted
from dp_core.interfaces import BaseDataset, modality_of
from dp_core.shape_meta import keys_of_type, obs_type
from dp_core.testing.case import Case, NotChecked
from dp_core.testing.checks import episodes
from dp_core.testing.checks.description import options_survive_a_config_file
from dp_core.testing.checks.modules import pickled
from dp_core.testing.samples import clone, differences, random_states

_COUNT = 4
"""Windows that are looked at."""
_SEED = "draw with numpy.random.default_rng(config.seed), not from a global generator"


def it_is_built_as_its_kind_is(case: Case) -> None:
    """Check that the target is called as ``target(config, shape_meta=...)``."""
    _built(case)


def windows_have_the_shapes_of_the_task(case: Case) -> None:
    """Check that a window is ``{"obs": {key: (T, *shape)}, "action": (Tp, Da)}``, with the keys of `shape_meta`."""
    _check_windows(case, _filled(case), "a window")


def validation_windows_are_alike(case: Case) -> None:
    """Check that the validation data set is a `BaseDataset` whose windows, if any, look like those for training."""
    validation = _built(case).get_validation_dataset()
    if not isinstance(validation, BaseDataset):
        case.fail(
            f"get_validation_dataset returned a {type(validation).__name__}; expected a BaseDataset",
            "return one without windows where nothing is held out",
        )
    if len(validation):
        _check_windows(case, validation, "a validation window")


def a_batch_is_its_windows(case: Case) -> None:
    """Check that ``dataset.__getitems__(indices)`` is what the single windows are, stacked."""
    dataset = _filled(case)
    indices = list(range(min(_COUNT, len(dataset))))[::-1]
    one_by_one = _stacked([dataset[index] for index in indices])
    if different := list(differences(dataset.__getitems__(indices), one_by_one)):
        case.fail(
            f"windows {indices} as a batch differ from each alone in {quoted(different)}; expected the same",
            "let __getitem__ and __getitems__ read through the same function",
        )


def reading_is_repeatable(case: Case) -> None:
    """Check that reading a window twice gives the same, and draws nothing from the global random states."""
    dataset = _filled(case)
    state = random_states()
    first, second = dataset[0], dataset[0]
    if different := list(differences(first, second)):
        case.fail(
            f"a window read twice differs in {quoted(different)}; expected the same",
            "augment in the encoder, not in the data set",
        )
    if list(differences(state, random_states())):
        case.fail(
            "reading a window drew from the global random state; expected no draw",
            "augment in the encoder; for noise of the data, draw once in the constructor, from a generator of its own",
        )


def it_is_the_same_every_time(case: Case) -> None:
    """Check that, built twice, it has the same windows for training and the same for validation, as resuming needs."""
    built = [_filled(case, seed) for seed in (0, 1)]
    validation = [dataset.get_validation_dataset() for dataset in built]
    for name, (first, second) in {"training": built, "validation": validation}.items():
        if len(first) != len(second):
            case.fail(f"built twice, it has {len(first)} and {len(second)} windows for {name}; expected as many", _SEED)
        if len(first) and (different := list(differences(*(_some(dataset) for dataset in (first, second))))):
            case.fail(f"built twice, it has other windows for {name}, in {quoted(different)}; expected the same", _SEED)


def a_window_is_a_copy(case: Case) -> None:
    """Check that whoever changes a window or a batch does not change the data."""
    dataset = _filled(case)
    reads: tuple[Callable[[], Any], ...] = (lambda: dataset[0], lambda: dataset.__getitems__([0]))
    for read in reads:
        before = clone(read())
        _overwrite(read())
        if different := list(differences(before, read())):
            case.fail(
                f"changing a window in place changed the data of {quoted(different)}; expected a copy",
                "index with a list or call .clone()",
            )


def the_normalizer_covers_the_task(case: Case) -> None:
    """Check that the normalizer has finite statistics for all that is scaled, and maps images to [-1, 1]."""
    dataset = _filled(case)
    normalizer, window = dataset.get_normalizer(), dataset[0]
    images = keys_of_type(case.shape_meta, "rgb")
    scaled_obs = {key: value for key, value in window["obs"].items() if modality_of(case.shape_meta, key).is_scaled}
    for key, value in {**scaled_obs, "action": window["action"]}.items():
        if key not in normalizer:
            case.fail(
                f"the normalizer has no statistics of '{key}'; expected one for every key of shape_meta and 'action'",
                "fit it to every array: normalizer[key] = SingleFieldLinearNormalizer.create_fit(values)",
            )
        is_image = key in images
        if is_image:
            value = torch.tensor([0.0, 1.0]).reshape(2, *[1] * value.ndim).expand(2, *value.shape)
        scaled = normalizer[key].normalize(value)
        if not scaled.isfinite().all():
            case.fail(f"normalised, '{key}' is not finite; expected numbers", "do not divide by ranges of zero")
        if is_image and (scaled.min(), scaled.max()) != (-1, 1):
            case.fail(
                f"normalised, '{key}' goes from {scaled.min():g} to {scaled.max():g}; expected images in [-1, 1]",
                "use SingleFieldLinearNormalizer.create_image(); encoders convert from there",
            )


def it_can_be_pickled(case: Case) -> None:
    """Check that what is unpickled, by worker processes, has the same windows."""
    dataset = _filled(case)
    if different := list(differences(dataset[0], pickled(case, dataset)[0])):
        case.fail(
            f"what was pickled has other windows, in {quoted(different)}; expected the same",
            "leave nothing out in __getstate__",
        )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    windows_have_the_shapes_of_the_task,
    validation_windows_are_alike,
    a_batch_is_its_windows,
    reading_is_repeatable,
    it_is_the_same_every_time,
    a_window_is_a_copy,
    *episodes.CHECKS,
    the_normalizer_covers_the_task,
    it_can_be_pickled,
)


def _built(case: Case, seed: int = 0) -> Any:
    dataset = case.build(seed)
    if len(dataset):
        case.require_its_task(dataset[0].get("obs", {}))
    return dataset


def _filled(case: Case, seed: int = 0) -> Any:
    dataset = _built(case, seed)
    if not len(dataset):
        raise NotChecked("the data set has no windows")
    return dataset


def _some(dataset: Any) -> Any:
    """Read windows from all over a data set."""
    return dataset.__getitems__(list(range(0, len(dataset), max(1, len(dataset) // _COUNT))))


def _check_windows(case: Case, dataset: Any, name: str) -> None:
    shape_meta, window = case.shape_meta, dataset[0]
    obs = window.get("obs", {})
    if obs.keys() != shape_meta["obs"].keys() or window.keys() != {"obs", "action"}:
        case.fail(
            f"{name} has {quoted(window)} with the observations {quoted(obs)}; "
            f"expected 'obs', 'action' with {quoted(shape_meta['obs'])}",
            "return the keys of shape_meta and no others",
        )
    for key, value in {**obs, "action": window["action"]}.items():
        spec = shape_meta["obs"].get(key, shape_meta["action"])
        expected = tuple(spec["shape"])
        if key in obs and obs_type(shape_meta, key) not in ("rgb", "low_dim"):
            _check_other(case, key, value, name)
            continue
        dtype = torch.uint8 if key in obs and obs_type(shape_meta, key) == "rgb" else torch.float32
        if not isinstance(value, Tensor) or tuple(value.shape[1:]) != expected or value.dtype != dtype:
            found = f"{tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            case.fail(
                f"'{key}' of {name} is {found}; expected {('T', *expected)}, {dtype}".replace("'T'", "T"),
                "convert while loading: images to uint8 (T, C, H, W), everything else to float32",
            )
    horizon = getattr(case.slot().config, "horizon", len(window["action"]))
    if len(window["action"]) != horizon:
        case.fail(
            f"{name} has {len(window['action'])} actions; expected those of the whole horizon, {horizon}",
            "repeat the first or last step where a window reaches over the border of an episode",
        )


def _check_other(case: Case, key: str, value: Any, name: str) -> None:
    """Check a key whose modality decides what travels: tensors of a type that it accepts, or arrays of what is none."""
    modality, expected = modality_of(case.shape_meta, key), tuple(case.shape_meta["obs"][key]["shape"])
    is_legal = modality.accepts(value.dtype) if isinstance(value, Tensor) else isinstance(value, np.ndarray)
    if not is_legal or tuple(value.shape[1:]) != expected:
        found = f"{tuple(value.shape)}, {value.dtype}" if hasattr(value, "dtype") else type(value).__name__
        case.fail(
            f"'{key}' of {name} is {found}; expected {('T', *expected)}; {modality.expected}".replace("'T'", "T"),
            "return what modality_of(shape_meta, key).stored(...) made of the recording",
        )


def _stacked(windows: list[dict[str, Any]]) -> dict[str, Any]:
    def joined(values: list[Any]) -> Any:
        return torch.stack(values) if isinstance(values[0], Tensor) else np.stack(values)

    obs = {key: joined([window["obs"][key] for window in windows]) for key in windows[0]["obs"]}
    return {"obs": obs, "action": torch.stack([window["action"] for window in windows])}


def _overwrite(tree: Any) -> None:
    for value in (*tree["obs"].values(), tree["action"]):
        if isinstance(value, Tensor):
            value.fill_(value.flatten()[0].item() + 1)
        else:
            value.fill("")
