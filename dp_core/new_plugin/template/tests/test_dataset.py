"""The rules of data sets, and what is special about this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_core.errors import DataError
from dp_core.registry import Registry
from dp_core.testing import DatasetConformance

BLOCK = {"name": "kestrel", "horizon": 4, "n_obs_steps": 2, "n_action_steps": 2, "n_val_episodes": 0}
SHAPE_META = {"obs": {"joints": {"shape": [1]}}, "action": {"shape": [1]}}


class TestRules(DatasetConformance):
    """Shapes, batches, steps, validation, normalizer: every rule for images and for states."""

    component = "kestrel"
    configs = ({}, {"n_val_episodes": 2})

    @staticmethod
    def record(folder: Path, episodes: list[dict[str, Any]]) -> dict[str, Any]:
        """Write known episodes, so that it shows which steps are in which window."""
        for number, episode in enumerate(episodes):
            np.savez(folder / f"{number}.npz", **episode)
        return {"path": folder}


def test_windows_repeat_the_first_and_the_last_step_of_an_episode(tmp_path: Path) -> None:
    for number, steps in enumerate([range(5), range(10, 13)]):
        column = np.array(steps, np.float32)[:, None]
        np.savez(tmp_path / f"{number}.npz", joints=column, action=column)
    dataset = Registry.discover().build("dataset", {**BLOCK, "path": str(tmp_path)}, shape_meta=SHAPE_META)

    actions = [dataset[index]["action"][:, 0].tolist() for index in range(len(dataset))]
    assert actions == [[0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 4], [10, 10, 11, 12], [10, 11, 12, 12]]
    assert dataset[0]["obs"]["joints"][:, 0].tolist() == [0, 0]


def test_a_file_of_another_shape_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", joints=np.zeros((5, 2)), action=np.zeros((5, 1)))
    with pytest.raises(DataError) as caught:
        Registry.discover().build("dataset", {**BLOCK, "path": str(tmp_path)}, shape_meta=SHAPE_META)

    assert str(caught.value) == f"{tmp_path}/0.npz: 'joints': found shape (5, 2); expected shape (steps, 1)"


def test_a_file_whose_arrays_do_not_belong_together_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", joints=np.zeros((6, 1)), action=np.zeros((5, 1)))
    with pytest.raises(DataError) as caught:
        Registry.discover().build("dataset", {**BLOCK, "path": str(tmp_path)}, shape_meta=SHAPE_META)

    assert (
        str(caught.value) == f"{tmp_path}/0.npz: found steps: 'joints' 6, 'action' 5; expected the same number of all"
    )


def test_a_flag_is_a_number_also_where_it_is_stored_as_images_are(tmp_path: Path) -> None:
    flag = np.array([[0], [1], [1], [0]], np.uint8)
    np.savez(tmp_path / "0.npz", joints=flag, action=flag)
    dataset = Registry.discover().build("dataset", {**BLOCK, "path": str(tmp_path)}, shape_meta=SHAPE_META)

    normalized = dataset.get_normalizer().normalize(dataset[1]["obs"])
    assert normalized["joints"][:, 0].tolist() == [-1, 1]
