"""The data set of block pushing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_blockpush.config import BlockPushDatasetConfig, BlockPushRunnerConfig
from dp_blockpush.dataset import BlockPushDataset
from dp_core import Slot
from dp_replay.buffer import ReplayBuffer

SHAPE_META = {"obs": {"obs": {"shape": [16], "type": "low_dim"}}, "action": {"shape": [2]}}
WINDOW = {"horizon": 5, "n_obs_steps": 3, "n_action_steps": 1}
X, Y, ANGLES = [0, 3, 6, 8, 10, 13], [1, 4, 7, 9, 11, 14], [2, 5, 12, 15]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two episodes of 7 and 9 steps."""
    rng = np.random.default_rng(0)
    buffer = ReplayBuffer()
    for n_steps in (7, 9):
        obs, action = rng.normal(size=(n_steps, 16)), rng.normal(size=(n_steps, 2))
        buffer.append({"obs": obs.astype(np.float32), "action": action.astype(np.float32)})
    return buffer.save(tmp_path / "mine.zarr")


def make_dataset(path: Path, **options: Any) -> BlockPushDataset:
    return BlockPushDataset(BlockPushDatasetConfig(path=path, **WINDOW, **options), shape_meta=SHAPE_META)


def test_an_item_is_three_observations_and_five_actions(path):
    dataset = make_dataset(path)
    stored = ReplayBuffer.load(path)
    item = dataset[2]

    assert len(dataset) == (7 - 5 + 2 + 1) + (9 - 5 + 2 + 1)
    np.testing.assert_array_equal(item["obs"]["obs"], stored["obs"][:3])
    np.testing.assert_array_equal(item["action"], stored["action"][:5])
    np.testing.assert_array_equal(dataset[0]["obs"]["obs"], stored["obs"][[0, 0, 0]])


def test_where_the_effector_was_sent_can_be_hidden(path):
    shown, hidden = make_dataset(path), make_dataset(path, obs_eef_target=False)
    others = [index for index in range(16) if index not in (8, 9)]

    assert not hidden[3]["obs"]["obs"][:, 8:10].any()
    assert torch.equal(hidden[3]["obs"]["obs"][:, others], shown[3]["obs"]["obs"][:, others])
    normalized = hidden.get_normalizer()["obs"].normalize(hidden[3]["obs"]["obs"])
    assert not normalized[:, 8:10].any()


def test_every_entry_is_scaled_by_its_own_limits(path):
    values = ReplayBuffer.load(path)["obs"]
    normalized = make_dataset(path).get_normalizer()["obs"].normalize(values)

    np.testing.assert_allclose(normalized.amin(0), -1, atol=1e-5)
    np.testing.assert_allclose(normalized.amax(0), 1, atol=1e-5)


def test_entries_of_a_kind_can_share_their_scale(path):
    normalizer = make_dataset(path, use_manual_normalizer=True).get_normalizer()
    stored = ReplayBuffer.load(path)
    field = normalizer["obs"]
    for group in (X, Y, ANGLES):
        low, high = stored["obs"][:, group].min(), stored["obs"][:, group].max()
        np.testing.assert_allclose(field.scale[group], 2 / (high - low), rtol=1e-6)
        np.testing.assert_allclose(field.offset[group], -1 - 2 / (high - low) * low, rtol=1e-5)

    np.testing.assert_allclose(field.input_stats["min"], stored["obs"].min(0))
    np.testing.assert_allclose(field.input_stats["std"], stored["obs"].std(0), rtol=1e-6)
    np.testing.assert_allclose(normalizer["action"].normalize(stored["action"]).amax(0), 1, atol=1e-5)


@pytest.mark.parametrize(("shared", "entries"), [(True, []), (False, ["obs"])])
def test_what_is_taken_for_constant_is_said_of_the_scale_that_is_used(path, caplog, shared, entries):
    dataset = make_dataset(path, use_manual_normalizer=shared)
    dataset._data["obs"][:, 6] = torch.linspace(0, 5e-5, len(dataset._data["obs"]))  # other x move

    with caplog.at_level(logging.WARNING):
        dataset.get_normalizer()

    assert [message.split("'")[1] for message in caplog.messages] == entries


def test_a_missing_file_is_said_with_its_source(tmp_path):
    config = BlockPushDatasetConfig(path=tmp_path / "no.zarr", **WINDOW)

    assert list(config.preflight()) == [
        (
            "path",
            f"'{tmp_path}/no.zarr' does not exist; get it with 'dp-data download blockpush', or give the path of a "
            "replay buffer",
        )
    ]


def test_what_block_pushing_does_not_give_is_refused(path):
    shape_meta = {
        "obs": {"obs": {"shape": [20], "type": "low_dim"}, "state": {"shape": [5], "type": "low_dim"}},
        "action": {"shape": [3]},
    }
    config = BlockPushDatasetConfig(path=path, **WINDOW)

    assert [message for _, message in config.check(shape_meta=shape_meta)] == [
        "shape_meta.obs.obs is low_dim [20]; block pushing gives low_dim [16]",
        "shape_meta.obs has 'state', which block pushing does not give; choose from 'obs'",
        "shape_meta.action is [3]; actions of block pushing are [2]: x, y",
    ]


def test_the_runner_shows_what_the_data_set_shows(path, registry):
    dataset = BlockPushDatasetConfig(path=path, **WINDOW, obs_eef_target=False)
    slot = Slot(component=registry.resolve("dataset", "blockpush"), config=dataset)
    runner = BlockPushRunnerConfig(n_obs_steps=3, n_action_steps=1)

    assert list(runner.check(shape_meta=SHAPE_META, dataset=slot)) == [
        ("obs_eef_target", "true, but dataset.obs_eef_target is false; choose the same")
    ]
