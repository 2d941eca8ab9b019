"""The data set of the Franka kitchen: both layouts, written here as their tools write them."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_core import Slot
from dp_core.errors import DataError
from dp_kitchen.config import KitchenDatasetConfig, KitchenRunnerConfig
from dp_kitchen.dataset import KitchenDataset, load_arrays
from dp_kitchen.mujoco_logs import read_log
from dp_kitchen.state import NOISE_AMPLITUDE

SHAPE_META = {"obs": {"obs": {"shape": [60], "type": "low_dim"}}, "action": {"shape": [9]}}
WINDOW = {"horizon": 4, "n_obs_steps": 2, "n_action_steps": 2}
LENGTHS = (5, 8)


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Two episodes of 5 and 8 steps, padded to 8, as the original reads them."""
    rng = np.random.default_rng(0)
    observations, actions = rng.normal(size=(2, 8, 60)), rng.normal(size=(2, 8, 9))
    mask = (np.arange(8) < np.array(LENGTHS)[:, None]).astype(np.float64)
    save_arrays(tmp_path / "arrays", observations, actions, mask)
    return tmp_path / "arrays"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Two logs of 200 and 321 records, which are 5 and 9 steps; folders and names in no particular order."""
    rng = np.random.default_rng(0)
    for name, n_records in (("b/first.mjl", 321), ("a/second.mjl", 200)):
        write_log(tmp_path / "logs" / name, rng.normal(size=(n_records, 30)), rng.normal(size=(n_records, 9)))
    return tmp_path / "logs"


def save_arrays(folder: Path, observations: Any, actions: Any, mask: Any) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "observations_seq.npy", observations)
    np.save(folder / "actions_seq.npy", actions)
    np.save(folder / "existence_mask.npy", mask)


def write_log(path: Path, qpos: Any, ctrl: Any, n_mocap: int = 1, n_sensor: int = 2, n_user: int = 3) -> None:
    """Write a log as MuJoCo's teleoperation does."""
    n_records, nv, name = len(qpos), 29, b"kitchen"
    header = struct.pack("<7i", qpos.shape[1], nv, ctrl.shape[1], n_mocap, n_sensor, n_user, len(name))
    columns = [np.arange(n_records)[:, None] * 0.002, qpos, np.full((n_records, nv), 7.0), ctrl]
    records = np.hstack([*columns, np.full((n_records, 7 * n_mocap + n_sensor + n_user), 8.0)])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + name + records.astype("<f4").tobytes())


def make_dataset(path: Path, **options: Any) -> KitchenDataset:
    return KitchenDataset(KitchenDatasetConfig(path=path, **WINDOW, **options), shape_meta=SHAPE_META)


def problems_of(config: KitchenDatasetConfig | KitchenRunnerConfig, **context: Any) -> list[tuple[str, str]]:
    return list(config.check(shape_meta=SHAPE_META, **context))


# -- arrays -----------------------------------------------------------------------------------------------------------


def test_arrays_give_the_steps_that_exist(arrays):
    dataset = make_dataset(arrays)
    observations, actions = np.load(arrays / "observations_seq.npy"), np.load(arrays / "actions_seq.npy")
    item = dataset[1]

    assert len(dataset) == sum(length - 4 + 1 + 1 + 1 for length in LENGTHS)
    assert item["obs"]["obs"].shape == (2, 60)
    assert item["action"].shape == (4, 9)
    assert item["obs"]["obs"].dtype == item["action"].dtype == torch.float32
    np.testing.assert_array_equal(item["obs"]["obs"], observations[0, :2].astype(np.float32))
    np.testing.assert_array_equal(item["action"], actions[0, :4].astype(np.float32))


def test_windows_repeat_the_first_and_the_last_step(arrays):
    dataset = make_dataset(arrays)
    actions = np.load(arrays / "actions_seq.npy").astype(np.float32)

    np.testing.assert_array_equal(dataset[0]["action"], actions[0, [0, 0, 1, 2]])
    np.testing.assert_array_equal(dataset[-1]["action"], actions[1, [5, 6, 7, 7]])


def test_arrays_whose_first_dimension_is_time_are_the_same_episodes(arrays, tmp_path):
    """As they were first published; the original would read them as nonsense."""
    names = ("observations_seq.npy", "actions_seq.npy", "existence_mask.npy")
    save_arrays(tmp_path / "time", *(np.load(arrays / name).swapaxes(0, 1) for name in names))
    expected, turned = load_arrays(arrays), load_arrays(tmp_path / "time")

    assert turned.episode_ends.tolist() == expected.episode_ends.tolist() == [5, 13]
    for key in ("obs", "action"):
        np.testing.assert_array_equal(turned[key], expected[key])


def test_what_hardly_moves_is_shifted_and_not_scaled_and_named(arrays, caplog):
    observations, actions = np.load(arrays / "observations_seq.npy"), np.load(arrays / "actions_seq.npy")
    observations[..., 9] = np.linspace(1.0, 1.049, 16).reshape(2, 8)
    save_arrays(arrays, observations, actions, np.ones((2, 8)))
    with caplog.at_level(logging.WARNING):
        normalizer = make_dataset(arrays).get_normalizer()
    low, high = observations[..., 0].min(), observations[..., 0].max()

    assert caplog.messages == [
        "normalizer: 'obs': entry 9 of 60 is taken for constant, shifted and not scaled: the range, at most 0.049, is "
        "below range_eps 0.05; choose a smaller one if such changes matter"
    ]
    assert make_dataset(arrays, range_eps=0.04).get_normalizer()["obs"].scale[9] == pytest.approx(2 / 0.049, rel=1e-5)
    assert normalizer["obs"].scale[9] == 1
    assert normalizer["obs"].offset[9] == pytest.approx(-1.0)
    assert normalizer["obs"].scale[0] == pytest.approx(2 / (high - low), rel=1e-5)
    assert normalizer["obs"].offset[0] == pytest.approx(-1 - 2 / (high - low) * low, rel=1e-5)
    assert normalizer["action"].normalize(torch.from_numpy(actions)).abs().max() == pytest.approx(1)


def test_validation_episodes_are_held_out(arrays):
    dataset = make_dataset(arrays, val_ratio=0.5)
    validation = dataset.get_validation_dataset()

    assert sorted([len(dataset), len(validation)]) == [4, 7]


def test_arrays_that_do_not_belong_together_are_refused(arrays):
    np.save(arrays / "actions_seq.npy", np.zeros((2, 7, 9)))

    with pytest.raises(DataError) as caught:
        make_dataset(arrays)
    assert str(caught.value) == (
        f"{arrays}: shapes do not match: 'observations_seq.npy' (2, 8, 60), 'actions_seq.npy' (2, 7, 9), "
        "'existence_mask.npy' (2, 8); expected the same first two numbers"
    )


def test_a_mask_with_holes_is_refused(arrays):
    np.save(arrays / "existence_mask.npy", np.eye(2, 8))

    with pytest.raises(DataError) as caught:
        make_dataset(arrays)
    assert str(caught.value) == (
        f"{arrays}: 'existence_mask.npy' is not a mask: expected ones, then zeros, for every episode"
    )


@pytest.mark.parametrize("number", [np.nan, 0.5, 2])
def test_a_mask_of_other_numbers_than_0_and_1_is_refused(arrays, number):
    mask = np.load(arrays / "existence_mask.npy")
    mask[0, 4] = number
    np.save(arrays / "existence_mask.npy", mask)

    with pytest.raises(DataError) as caught:
        make_dataset(arrays)
    assert str(caught.value) == (
        f"{arrays}: 'existence_mask.npy' has other numbers than 0 and 1, so it is not a mask of steps"
    )


def test_a_damaged_array_is_named(arrays):
    path = arrays / "actions_seq.npy"
    path.write_bytes(path.read_bytes()[:300])

    with pytest.raises(
        DataError, match=r"actions_seq\.npy: cannot be read \(.*\); expected an array of numbers, whole"
    ):
        make_dataset(arrays)


# -- logs -------------------------------------------------------------------------------------------------------------


def test_logs_give_every_fortieth_record_in_the_order_of_their_names(logs):
    dataset = make_dataset(logs, abs_action=True)
    second, first = read_log(logs / "a" / "second.mjl"), read_log(logs / "b" / "first.mjl")
    all_steps = torch.cat([dataset[index]["action"][:1] for index in range(1, 4)])

    assert (len(second.qpos), len(first.qpos)) == (200, 321)
    np.testing.assert_array_equal(all_steps, second.ctrl[:120:40])
    np.testing.assert_array_equal(dataset[-1]["action"][2], first.ctrl[320])
    obs = dataset[1]["obs"]["obs"]
    np.testing.assert_array_equal(obs[:, :30], second.qpos[:80:40])
    assert not obs[:, 30:].any()


def test_a_log_is_read_as_it_was_written(tmp_path):
    qpos, ctrl = np.random.default_rng(1).normal(size=(2, 3, 35))
    write_log(tmp_path / "log.mjl", qpos, ctrl, n_mocap=2, n_sensor=0, n_user=0)
    log = read_log(tmp_path / "log.mjl")

    np.testing.assert_array_equal(log.qpos, qpos.astype(np.float32))
    np.testing.assert_array_equal(log.ctrl, ctrl.astype(np.float32))


def test_noise_is_drawn_once_from_the_seed(logs):
    exact = make_dataset(logs, abs_action=True)
    noisy = make_dataset(logs, abs_action=True, robot_noise_ratio=0.1)
    again = make_dataset(logs, abs_action=True, robot_noise_ratio=0.1)
    drawn = np.random.default_rng(42).uniform(-1, 1, (5, 30))
    expected = exact[1]["obs"]["obs"].numpy().copy()
    expected[:, :30] += 0.1 * NOISE_AMPLITUDE * drawn[:2]

    np.testing.assert_allclose(noisy[1]["obs"]["obs"], expected, atol=1e-7)
    assert torch.equal(noisy[1]["obs"]["obs"], again[1]["obs"]["obs"])
    assert torch.equal(noisy[1]["obs"]["obs"], noisy[1]["obs"]["obs"])
    assert torch.equal(noisy[1]["action"], exact[1]["action"])


def test_logs_that_cannot_be_read_are_named_and_left_out(logs, caplog):
    expected = len(make_dataset(logs, abs_action=True))
    whole = (logs / "a" / "second.mjl").read_bytes()
    (logs / "a" / "cut.mjl").write_bytes(whole[:-4])
    (logs / "a" / "note.mjl").write_text("no log")
    write_log(logs / "a" / "other.mjl", np.zeros((3, 7)), np.zeros((3, 7)))
    caplog.clear()

    with caplog.at_level(logging.WARNING):
        assert len(make_dataset(logs, abs_action=True)) == expected
    assert caplog.messages == [
        f"{logs}/a/cut.mjl: is incomplete: 64796 bytes of records, which have 324 each; copy it again; "
        "this log is left out",
        f"{logs}/a/note.mjl: is not an .mjl log: it does not begin with seven sizes; this log is left out",
        f"{logs}/a/other.mjl: is not of the kitchen: it has 7 positions and 7 controls; expected 30 or more and 9; "
        "this log is left out",
    ]


def test_no_log_that_can_be_read_is_an_error(logs, tmp_path):
    for path in logs.rglob("*.mjl"):
        path.write_bytes(b"")

    with pytest.raises(DataError) as caught:
        make_dataset(logs, abs_action=True)
    assert str(caught.value) == (
        f"{logs}: no .mjl log can be read; the first of 2 says: {logs}/a/second.mjl: is not an .mjl log: "
        "it does not begin with seven sizes"
    )
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path / "nowhere", abs_action=True)
    assert str(caught.value) == f"{tmp_path}/nowhere: no .mjl log can be read; there is none in this folder"


# -- options ----------------------------------------------------------------------------------------------------------


def test_what_is_missing_on_this_machine_is_said_with_its_source(arrays, logs, tmp_path):
    def preflight(path: Path, **options: Any) -> list[tuple[str, str]]:
        return list(KitchenDatasetConfig(path=path, **WINDOW, **options).preflight())

    assert preflight(arrays) == []
    assert preflight(logs, abs_action=True) == []
    assert preflight(arrays, abs_action=True) == [
        ("path", f"'{arrays}' has no .mjl logs; get them with 'dp-data download kitchen'")
    ]
    (arrays / "actions_seq.npy").unlink()
    assert preflight(arrays) == [
        ("path", f"'{arrays}' has no 'actions_seq.npy'; get them with 'dp-data download kitchen --no-abs-action'")
    ]


def test_noise_is_not_added_to_arrays(arrays):
    config = KitchenDatasetConfig(path=arrays, **WINDOW, robot_noise_ratio=0.1)

    assert problems_of(config) == [
        (
            "robot_noise_ratio",
            "0.1 is for logs; the arrays of abs_action: false were recorded with noise; choose 0",
        )
    ]


def test_what_the_kitchen_does_not_give_is_refused(arrays):
    shape_meta = {
        "obs": {"obs": {"shape": [59], "type": "low_dim"}, "image": {"shape": [3, 96, 96], "type": "rgb"}},
        "action": {"shape": [7]},
    }
    config = KitchenDatasetConfig(path=arrays, **WINDOW)

    assert [message for _, message in config.check(shape_meta=shape_meta)] == [
        "shape_meta.obs.obs is low_dim [59]; the kitchen gives low_dim [60]",
        "shape_meta.obs has 'image', which the kitchen does not give; choose from 'obs'",
        "shape_meta.action is [7]; actions of the kitchen are [9]: seven joints and two fingers",
    ]


def test_the_runner_understands_actions_as_the_data_set_does(arrays, registry):
    dataset = KitchenDatasetConfig(path=arrays, **WINDOW, abs_action=True)
    slot = Slot(component=registry.resolve("dataset", "kitchen"), config=dataset)
    runner = KitchenRunnerConfig(n_obs_steps=2, n_action_steps=2, n_train=0)

    assert problems_of(runner, dataset=slot) == [
        ("abs_action", "false, but dataset.abs_action is true; choose the same")
    ]


def test_training_episodes_need_their_starts(tmp_path):
    without = KitchenRunnerConfig(n_obs_steps=2, n_action_steps=2)
    with_folder = KitchenRunnerConfig(n_obs_steps=2, n_action_steps=2, dataset_dir=tmp_path)

    assert problems_of(without) == [
        ("dataset_dir", "null has no starts for n_train 6; name a folder that has, or choose n_train: 0")
    ]
    assert problems_of(with_folder) == []
    assert [message for _, message in with_folder.preflight()] == [
        f"'{tmp_path}' has no 'all_init_qpos.npy', 'all_init_qvel.npy'; get them with 'dp-data download kitchen', "
        "or evaluate with n_train: 0"
    ]
    assert problems_of(KitchenRunnerConfig(n_obs_steps=2, n_action_steps=2, n_train=0)) == []
