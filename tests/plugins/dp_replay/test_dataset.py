"""`replay`: windows over anybody's replay buffer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_core.errors import DataError
from dp_replay.buffer import ReplayBuffer
from dp_replay.config import ReplayConfig, WindowOptions
from dp_replay.dataset import ReplayDataset, ReplayFileDataset
from dp_replay.sampler import get_val_mask

SHAPE_META: dict[str, Any] = {
    "obs": {
        "front": {"shape": [3, 4, 5], "type": "rgb"},
        "pos": {"shape": [2], "type": "low_dim"},
        "points": {"shape": [3, 2]},
    },
    "action": {"shape": [2]},
}
LENGTHS = (12, 9, 15, 10)


def make_buffer(**replaced: np.ndarray) -> ReplayBuffer:
    """The position counts steps; everything else is random."""
    random = np.random.default_rng(0)
    n = sum(LENGTHS)
    data = {
        "front": random.integers(0, 256, (n, 4, 5, 3), dtype=np.uint8),
        "pos": np.stack([np.arange(n), np.zeros(n)], axis=1),
        "points": random.random((n, 3, 2)),
        "action": random.random((n, 2), dtype=np.float32) * 512,
        "unused": np.zeros(n),
    }
    return ReplayBuffer(data | replaced, np.cumsum(LENGTHS))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_buffer().save(tmp_path_factory.mktemp("replay") / "mine.zarr.zip")


def make_dataset(path: Path, shape_meta: dict[str, Any] = SHAPE_META, **options: Any) -> ReplayFileDataset:
    config = ReplayConfig(path=path, **{"horizon": 8, "n_obs_steps": 2, "n_action_steps": 4, **options})
    return ReplayFileDataset(config, shape_meta=shape_meta)


def episodes_of(dataset: ReplayDataset) -> set[int]:
    """Which episodes the windows come from."""
    steps = [float(dataset[i]["obs"]["pos"][1, 0]) for i in range(len(dataset))]
    return set(np.searchsorted(np.cumsum(LENGTHS), steps, side="right").tolist())


def error_of(path: Path, shape_meta: dict[str, Any] = SHAPE_META, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        make_dataset(path, shape_meta, **options)
    return str(caught.value)


def test_an_item_has_the_shapes_and_types_of_the_contract(path):
    item = make_dataset(path)[0]

    assert {key: (tuple(value.shape), value.dtype) for key, value in item["obs"].items()} == {
        "front": ((2, 3, 4, 5), torch.uint8),
        "pos": ((2, 2), torch.float32),
        "points": ((2, 3, 2), torch.float32),
    }
    assert (tuple(item["action"].shape), item["action"].dtype) == ((8, 2), torch.float32)


def test_observations_of_the_whole_window_are_an_option(path):
    assert make_dataset(path, full_obs_horizon=True)[0]["obs"]["front"].shape == (8, 3, 4, 5)


def test_a_batch_equals_its_items_one_by_one(path):
    dataset = make_dataset(path)
    indices = [5, 0, len(dataset) - 1, 5]

    batch = dataset.__getitems__(indices)

    for row, index in enumerate(indices):
        item = dataset[index]
        assert torch.equal(batch["action"][row], item["action"])
        for key, value in item["obs"].items():
            assert torch.equal(batch["obs"][key][row], value)


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")],
        ),
    ],
)
def test_demonstrations_can_be_held_on_a_device_and_batches_are_the_same_there(path, device):
    dataset, held = make_dataset(path, val_ratio=0.25), make_dataset(path, val_ratio=0.25)
    before = held.get_validation_dataset()

    assert held.keep_on_device(torch.device(device))

    for plain, moved in ((dataset, held), (dataset.get_validation_dataset(), before)):
        batch, expected = moved.__getitems__([2, 0]), plain.__getitems__([2, 0])
        assert batch["action"].device.type == device
        assert torch.equal(batch["action"].cpu(), expected["action"])
        for key, value in expected["obs"].items():
            assert torch.equal(batch["obs"][key].cpu(), value)


def test_what_does_not_fit_on_a_gpu_stays_where_it_is(path, monkeypatch):
    dataset = make_dataset(path)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))

    assert not dataset.keep_on_device(torch.device("cuda"))
    assert dataset[0]["action"].device.type == "cpu"


def test_windows_hold_what_was_recorded(path):
    buffer = make_buffer()
    item = make_dataset(path)[3]  # steps 2 and 3 are observed, the action reaches to step 9

    np.testing.assert_array_equal(item["obs"]["front"], np.moveaxis(buffer["front"][2:4], -1, 1))
    np.testing.assert_array_equal(item["action"], buffer["action"][2:10])


def test_now_is_every_step_from_the_first_to_the_last_with_enough_steps_after_it(path):
    dataset = make_dataset(path)

    now = {int(dataset[i]["obs"]["pos"][1, 0]) for i in range(len(dataset))}

    # A window reaches 6 steps beyond now, of which 3 may lie behind the end of the episode.
    last = [end - (8 - 2 - 4 + 1) for end in np.cumsum(LENGTHS)]
    starts = [0, *np.cumsum(LENGTHS)[:-1]]
    assert now == {step for start, end in zip(starts, last, strict=True) for step in range(start, end)}


def test_validation_has_the_episodes_held_out_also_when_training_is_limited(path):
    dataset = make_dataset(path, val_ratio=0.25, max_train_episodes=1)
    validation = dataset.get_validation_dataset()

    trained, held_out = episodes_of(dataset), episodes_of(validation)
    assert (len(trained), len(held_out)) == (1, 1)
    assert trained.isdisjoint(held_out)


def test_without_a_ratio_nothing_is_held_out(path):
    assert len(make_dataset(path).get_validation_dataset()) == 0


def test_the_normalizer_has_limits_of_every_entry_and_the_range_of_images(path):
    buffer = make_buffer()
    normalizer = make_dataset(path, val_ratio=0.25).get_normalizer()

    assert sorted(normalizer.keys()) == ["action", "front", "points", "pos"]
    action = normalizer["action"].normalize(buffer["action"])
    torch.testing.assert_close(action.amin(0), torch.full((2,), -1.0))
    torch.testing.assert_close(action.amax(0), torch.full((2,), 1.0))
    points = normalizer["points"].normalize(buffer["points"])
    torch.testing.assert_close(points.amax(0), torch.full((3, 2), 1.0))
    image = normalizer["front"].normalize(torch.tensor([0, 255], dtype=torch.uint8))
    assert image.tolist() == [-1, 1]


def test_a_buffer_without_a_key_of_shape_meta_is_one_line(path):
    shape_meta = {**SHAPE_META, "obs": {**SHAPE_META["obs"], "wrist": {"shape": [3, 4, 5], "type": "rgb"}}}

    assert error_of(path, shape_meta) == (
        f"{path}: has no 'wrist'; choose from 'action', 'front', 'points', 'pos', 'unused'"
    )


def test_another_shape_than_that_of_shape_meta_is_one_line(path):
    shape_meta = {**SHAPE_META, "action": {"shape": [7]}}

    assert error_of(path, shape_meta) == f"{path}: 'action' has shape (2,) in each step; shape_meta says (7,)"


def test_values_that_are_not_finite_are_one_line(tmp_path):
    action = np.zeros((sum(LENGTHS), 2))
    action[17, 1] = np.nan
    path = make_buffer(action=action).save(tmp_path / "a.zarr")

    assert error_of(path) == (f"{path}: 'action' has NaN or infinite values, first in step 17; fix or remove them")


def in_memory(
    shape_meta: dict[str, Any] = SHAPE_META, range_eps: float = 1e-4, **replaced: np.ndarray
) -> ReplayDataset:
    data = {"front": np.moveaxis(make_buffer()["front"], -1, 1), **replaced}
    config = WindowOptions(horizon=8, n_obs_steps=2, n_action_steps=4, range_eps=range_eps)
    return ReplayDataset(config, make_buffer(**data), shape_meta=shape_meta, source="memory")


@pytest.mark.parametrize("stored", ["uint16", "int64", "float64", "unit", "bool", "HWC"])
def test_images_mean_the_same_in_memory_as_in_files(tmp_path, stored):
    images = np.moveaxis(make_buffer()["front"] // 128 * 255, -1, 1)
    given = {
        "unit": (images / 255).astype(np.float32),
        "bool": images > 0,
        "HWC": np.moveaxis(images, 1, -1),
    }.get(stored, images.astype(stored if stored not in ("unit", "HWC") else np.uint8))

    dataset = in_memory(front=given)
    read = make_dataset(make_buffer(front=given).save(tmp_path / "a.zarr"))

    for each in (dataset, read):
        front = each[0]["obs"]["front"]
        assert front.dtype == torch.uint8
        np.testing.assert_array_equal(front[1], images[0])
        assert each.get_normalizer().normalize({"front": front})["front"].unique().tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.full((46, 3, 4, 5), 5000, np.uint16),
            "memory: 'front' has uint16 images with values from 5000 to 5000; expected uint8, whole numbers in 0..255, "
            "or [0, 1]",
        ),
        (
            np.zeros((46, 3, 9, 9), np.uint8),
            "memory: 'front' has images of shape (3, 9, 9); shape_meta says (3, 4, 5), expected that or (4, 5, 3)",
        ),
        (np.zeros((46, 3, 4, 5), np.complex64), "memory: 'front' has complex64 images; expected numbers"),
    ],
)
def test_what_is_no_image_in_memory_is_refused(images, message):
    with pytest.raises(DataError) as caught:
        in_memory(front=images)

    assert str(caught.value) == message


def test_uint8_images_are_not_copied():
    images = np.zeros((46, 3, 4, 5), np.uint8)

    assert np.shares_memory(in_memory(front=images)._data["front"].numpy(), images)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int64, np.float64])
def test_a_flag_is_a_number_whatever_its_type(dtype):
    flag = np.arange(46)[:, None].repeat(2, axis=1) % 2
    normalizer = in_memory(pos=flag.astype(dtype)).get_normalizer()

    assert normalizer.normalize({"pos": torch.tensor([0, 1]).to(torch.uint8)})["pos"].tolist() == [-1, 1]


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_what_float32_cannot_hold_is_refused_before_it_is_lost(dtype):
    stamps = (1_700_000_000 + np.arange(46)[:, None] * np.array([0, 10])).astype(dtype)

    with pytest.raises(DataError) as caught:
        in_memory(pos=stamps)

    assert str(caught.value) == (
        "memory: 'pos': entry 1 of 2 is too far from zero for float32: entry 1 goes from 1700000000 to 1700000450, a "
        "range of 450, where numbers are 203 apart; subtract an origin, such as its first value, from the data and "
        "from what the policy will be given, or choose a range_eps above the range of what does not matter"
    )


def test_what_was_coarse_when_it_was_stored_is_refused_with_its_key():
    counts = (4.5e6 + np.arange(46)[:, None] % 2 * np.ones(2)).astype(np.float32)

    with pytest.raises(DataError, match=r"^memory: 'pos': normalizer: entries 0, 1 of 2 are too far from zero"):
        in_memory(pos=counts).get_normalizer()


@pytest.mark.parametrize(("offset", "said"), [(0.0, "5e-05"), (1.0, "4.99e-05"), (1e4, "5e-05")])
def test_what_is_taken_for_constant_is_said_once_however_far_from_zero(caplog, offset, said):
    force = offset + np.linspace(0, [5e-5, 1e2], 46)

    with caplog.at_level(logging.WARNING):
        in_memory(pos=force).get_normalizer()

    assert [message.partition(":")[2] for message in caplog.messages] == [
        f" 'pos': entry 0 of 2 is taken for constant, shifted and not scaled: the range, at most {said}, is below "
        "range_eps 0.0001; choose a smaller one if such changes matter"
    ]


def test_the_option_makes_small_ranges_count(caplog):
    force = np.linspace(0, [5e-5, 1e2], 46)

    with caplog.at_level(logging.WARNING):
        normalizer = in_memory(pos=force, range_eps=1e-6).get_normalizer()

    assert caplog.messages == []
    torch.testing.assert_close(normalizer["pos"].normalize(force[[0, -1]]), torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))


def test_episodes_that_are_all_too_short_are_one_line(path):
    assert error_of(path, horizon=32) == (
        f"{path}: there is no window to train on: the longest of 4 episodes has 15 steps; horizon 32 needs at least 28"
    )


def test_some_episodes_that_are_too_short_are_a_warning(path, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = make_dataset(path, horizon=14)

    assert caplog.messages == [
        f"{path}: episodes shorter than 10 steps have no window and are not used: 1 of 4 for training, 9 of 46 steps "
        "(19.6%)"
    ]
    assert len(dataset) == (12 - 9) + (15 - 9) + (10 - 9)


def test_held_out_episodes_that_are_too_short_are_a_warning(path, caplog):
    seed = next(seed for seed in range(100) if get_val_mask(4, 0.25, seed).tolist() == [False, True, False, False])

    with caplog.at_level(logging.WARNING):
        dataset = make_dataset(path, horizon=14, val_ratio=0.25, seed=seed)

    assert len(dataset.get_validation_dataset()) == 0
    assert caplog.messages == [
        f"{path}: episodes shorter than 10 steps have no window and are not used: 1 of 1 held out, 9 of 9 steps "
        "(100.0%)"
    ]


@pytest.mark.parametrize(
    ("n_episodes", "val_ratio", "n_held_out", "said"),
    [
        (
            4,
            1.0,
            3,
            "val_ratio 1 of 4 episodes is all of them; 3 are held out, and 1 is trained on; choose a smaller val_ratio",
        ),
        (
            4,
            0.05,
            1,
            "val_ratio 0.05 of 4 episodes is less than half an episode; 1 is held out, 25.0% of them; "
            "set dataset.val_ratio=0 to hold out none",
        ),
        (
            1,
            0.1,
            0,
            "val_ratio 0.1 of 1 episodes holds out none, as there is nothing else to train on; record more, or set "
            "dataset.val_ratio=0",
        ),
        (4, 0.25, 1, None),
        (4, 0.3, 1, None),
        (4, 0.0, 0, None),
        (1, 0.0, 0, None),
    ],
)
def test_what_is_held_out_is_said_where_it_is_not_what_was_asked_for(
    tmp_path, caplog, n_episodes, val_ratio, n_held_out, said
):
    buffer = make_buffer()
    end = int(np.cumsum(LENGTHS)[n_episodes - 1])
    data = {key: buffer[key][:end] for key in SHAPE_META["obs"] | {"action": None}}
    path = ReplayBuffer(data, buffer.episode_ends[:n_episodes]).save(tmp_path / "a.zarr")

    with caplog.at_level(logging.INFO):
        dataset = make_dataset(path, val_ratio=val_ratio)

    first = f"{path}: {n_episodes - n_held_out} of {n_episodes} episodes for training, {len(dataset)} windows; "
    expected = [f"{first}{n_held_out} held out"]
    assert caplog.messages == expected + ([f"{path}: {said}"] if said else [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 8, "n_obs_steps": 9, "n_action_steps": 1}, "9 is larger than horizon 8; choose at most that"),
        (
            {"horizon": 8, "n_obs_steps": 2, "n_action_steps": 8},
            "8 steps, executed from observation step 2 on, end beyond horizon 8; choose at most 7",
        ),
    ],
)
def test_steps_must_lie_in_the_horizon(options, message):
    with pytest.raises(ValueError) as caught:
        ReplayConfig(path=Path("x.zarr"), **options)

    assert str(caught.value) == message


def test_a_missing_file_is_found_before_the_run():
    config = ReplayConfig(path=Path("x.zarr"), horizon=8, n_obs_steps=2, n_action_steps=4)

    assert list(config.preflight()) == [
        ("path", "'x.zarr' does not exist; give the path of a zarr replay buffer, a folder or a .zip")
    ]


def test_one_step_that_takes_over_the_scale_is_a_warning(tmp_path, caplog):
    buffer = make_buffer()
    points = buffer["points"]
    points[12 + 4, 2, 1] = 1e6
    path = make_buffer(points=points).save(tmp_path / "a.zarr")

    with caplog.at_level(logging.WARNING):
        make_dataset(path)

    others = np.sort(np.delete(points[:, 2, 1], 16))
    assert caplog.messages == [
        f"{path}: 'points': entry 2, 1 is 1e+06 in step 4 of episode 1, far from all but 1 of its 46 values, which lie "
        f"from {others[1]:.6g} to {others[-1]:.6g}; scaled by its limits, they are left "
        f"{(others[-1] - others[1]) / (1e6 - others[0]):.2g} of the range; correct such steps, or leave out the episode"
    ]
