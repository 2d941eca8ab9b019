"""What is appended is kept exactly, or refused in one line that says where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_core.errors import DataError
from dp_replay.buffer import ReplayBuffer


def refused(episode: Any, once: Any = None, before: Any = None) -> str:
    buffer = ReplayBuffer()
    if before is not None:
        buffer.append(before)
    with pytest.raises(DataError) as caught:
        buffer.append(episode, once)
    assert buffer.n_episodes == (before is not None)
    return str(caught.value)


def test_a_key_is_once_in_all_episodes_or_in_none() -> None:
    assert refused({"pos": [[1.0]]}, {"g": [1.0, 2.0]}, before={"pos": [[1.0]], "g": [[1.0, 2.0]]}) == (
        "'g' is observed once in episode 1 and at each step before; choose one of them for all episodes"
    )


NO_NAME = (
    "cannot be the name of an array; expected at most 255 bytes without slashes and control characters, not only "
    "dots, and not 'zarr.json'; rename it"
)


@pytest.mark.parametrize(
    "key", ["a/b", "", "..", "../../evil", "a\\b", "a\0", "\ud800", "zarr.json", "ö" * 128], ids=ascii
)
def test_what_cannot_be_the_name_of_an_array_is_no_key(tmp_path: Path, key: str) -> None:
    assert refused({"a": [1.0], key: [1.0]}) == refused({"a": [1.0]}, {key: 1.0}) == f"episode 0: {key!r} {NO_NAME}"

    with pytest.raises(DataError) as caught:
        ReplayBuffer({key: np.zeros(1)}, [1]).save(path := tmp_path / "a.zarr")
    assert str(caught.value) == f"{path}: {key!r} {NO_NAME}"
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_a_string() -> None:
    assert refused({1: [1.0]}) == "episode 0: the key 1 is int; expected the name of an array, a string"


@pytest.mark.parametrize("episode", [None, 3, "pos"])
def test_an_episode_is_arrays_by_key(episode: Any) -> None:
    message = f"episode 0: is {type(episode).__name__}; expected arrays by key, such as {{'action': array}}"

    assert refused(episode) == message


@pytest.mark.parametrize(
    ("values", "types"), [(["a", 1], "int and str"), (["a", b"b"], "bytes and str"), (["a", None], "NoneType and str")]
)
def test_strings_are_not_mixed_with_what_would_become_strings(values: Any, types: str) -> None:
    assert refused({"told": values}) == f"episode 0: 'told' mixes {types}; expected only numbers, or only strings"


@pytest.mark.parametrize("name", ["a.zarr", "a.zarr.zip"])
def test_text_is_kept_to_its_last_character(tmp_path: Path, name: str) -> None:
    buffer = ReplayBuffer()
    buffer.append({"told": ["b\0", "\0", "a\0c", "ö"], "said": [np.array("a")] * 4}, {"task": "b\0"})
    again = ReplayBuffer.load(buffer.save(tmp_path / name))

    for each in (buffer, again):
        assert each["told"].tolist() == ["b\0", "\0", "a\0c", "ö"]
        assert each["said"].tolist() == ["a"] * 4
        assert each["task"].tolist() == ["b\0"]


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    message = (
        "'told' has a text with '\\ud800', half of a character, which UTF-8 cannot hold; correct it, such as with "
        "text.encode(errors='replace').decode()"
    )

    assert refused({"told": ["a", "b\ud800"]}) == f"episode 0: {message}"
    with pytest.raises(DataError) as caught:
        ReplayBuffer({"told": np.array(["\ud800"], dtype=object)}, [1]).save(tmp_path / "a.zarr")
    assert str(caught.value) == message


@pytest.mark.parametrize("make", [np.zeros, torch.zeros], ids=["arrays", "tensors"])
def test_the_step_that_has_another_shape_is_said(make: Any) -> None:
    assert refused({"cloud": [make((4, 3)), make((4, 3)), make((5, 3))]}) == (
        "episode 0: 'cloud' has shape (5, 3) in step 2, and (4, 3) in step 0; all steps must have one shape: pad or "
        "sample them to it"
    )


def test_a_step_that_has_no_shape_is_said() -> None:
    assert refused({"cloud": [[[1.0], [2.0]], [[1.0], [2.0, 3.0]]]}) == (
        "episode 0: 'cloud' has parts of different shapes in step 1; all steps must have one shape: pad or sample them "
        "to it"
    )


def test_rows_of_what_is_once_in_an_episode_are_not_called_steps() -> None:
    assert refused({"pos": [1.0]}, {"goal": [[1.0], [2.0, 3.0]]}) == (
        "episode 0: 'goal' has shape (2,) in row 1, and (1,) in row 0; all rows must have one shape: pad or sample "
        "them to it"
    )
    assert refused({"pos": [1.0]}, 5) == "episode 0: once is int; expected arrays by key, such as {'goal': array}"


@pytest.mark.parametrize("in_list", [False, True])
def test_tensors_are_kept_exactly_without_their_gradient(in_list: bool) -> None:
    values = torch.tensor([[1.0, 0.1], [2.0, 3e38]], requires_grad=True)
    rounded = values.detach().bfloat16()
    buffer = ReplayBuffer()
    buffer.append({"a": list(values) if in_list else values, "b": list(rounded) if in_list else rounded})

    np.testing.assert_array_equal(buffer["a"], values.detach().numpy(), strict=True)
    np.testing.assert_array_equal(buffer["b"], rounded.float().numpy(), strict=True)


def test_a_tensor_that_is_no_array_is_said() -> None:
    assert refused({"a": torch.zeros(2, dtype=torch.float8_e5m2)}) == (
        "episode 0: 'a' is a tensor of torch.float8_e5m2, torch.strided, for which NumPy has no array; convert it, "
        "such as with tensor.float() or tensor.to_dense()"
    )
