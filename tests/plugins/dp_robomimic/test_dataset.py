"""Demonstrations in robomimic's format, from small files written here."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from dp_core.errors import DataError
from dp_core.normalizer import SingleFieldLinearNormalizer, array_to_stats
from dp_robomimic.config import RobomimicDatasetConfig, RobomimicRunnerConfig
from dp_robomimic.rotations import actions_to_policy, actions_to_simulation, axis_angle_from_6d, axis_angle_to_6d

h5py = pytest.importorskip("h5py", reason="pip install 'dp-core[robomimic]'")
pytest.importorskip("zarr", reason="pip install 'dp-core[replay]'")

from dp_robomimic.dataset import RobomimicDataset  # noqa: E402 -- it imports h5py
from dp_robomimic.demonstrations import open_demonstrations  # noqa: E402

LENGTHS = [7, 9, 8, *[6] * 8]  # more than ten, so that demo_10 comes after demo_9
SHAPES = {"object": (10,), "robot0_eef_pos": (3,), "robot0_eef_quat": (4,), "robot0_gripper_qpos": (2,)}
IMAGE_META = {
    "obs": {
        "agentview_image": {"shape": [3, 6, 8], "type": "rgb"},
        "robot0_eef_pos": {"shape": [3]},
        "robot0_eef_quat": {"shape": [4]},
        "robot0_gripper_qpos": {"shape": [2]},
    },
    "action": {"shape": [7]},
}
LOW_DIM_META = {"obs": {"obs": {"shape": [19], "type": "low_dim"}}, "action": {"shape": [7]}}


def with_actions(shape_meta: dict[str, Any], size: int) -> dict[str, Any]:
    return {**shape_meta, "action": {"shape": [size]}}


def write_file(path: Path, n_arms: int = 1) -> dict[str, np.ndarray]:
    """Write episodes in another order than that of their numbers; returns all steps in the order of the numbers."""
    rng = np.random.default_rng(0)
    written: dict[str, list[np.ndarray]] = {}
    with h5py.File(path, "w") as file:
        for number in reversed(range(len(LENGTHS))):
            length = LENGTHS[number]
            episode = file.create_group(f"data/demo_{number}")
            arrays = {f"obs/{key}": rng.normal(size=(length, *shape)) for key, shape in SHAPES.items()}
            arrays["obs/agentview_image"] = rng.integers(0, 256, (length, 6, 8, 3), np.uint8)
            arrays["actions"] = rng.normal(size=(length, 7 * n_arms))
            for key, values in arrays.items():
                episode[key] = values
                written.setdefault(key, []).insert(0, values)
    return {key: np.concatenate(values) for key, values in written.items()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DP_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.hdf5"


def config(path: Path, **options: Any) -> RobomimicDatasetConfig:
    return RobomimicDatasetConfig(**{"path": path, "horizon": 4, "n_obs_steps": 2, "n_action_steps": 2} | options)


# -- windows ----------------------------------------------------------------------------------------------------------


def test_a_window_holds_what_the_file_does_in_the_order_of_the_episodes_numbers(path: Path) -> None:
    written = write_file(path)
    dataset = RobomimicDataset(config(path), shape_meta=IMAGE_META)

    assert len(dataset) == sum(length - 1 for length in LENGTHS)  # one step early, one late
    item = dataset[1]
    assert item["action"].dtype == torch.float32
    np.testing.assert_array_equal(item["action"], written["actions"][0:4].astype(np.float32))
    np.testing.assert_array_equal(item["obs"]["robot0_eef_pos"], written["obs/robot0_eef_pos"][0:2].astype(np.float32))
    assert item["obs"]["agentview_image"].dtype == torch.uint8
    expected = np.moveaxis(written["obs/agentview_image"][0:2], -1, 1)
    np.testing.assert_array_equal(item["obs"]["agentview_image"], expected)
    last = dataset[len(dataset) - 1]
    np.testing.assert_array_equal(last["action"][2], written["actions"][-1].astype(np.float32))
    np.testing.assert_array_equal(last["action"][3], written["actions"][-1].astype(np.float32))


def test_obs_keys_are_joined_in_their_order(path: Path) -> None:
    written = write_file(path)
    keys = ["object", "robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"]
    dataset = RobomimicDataset(config(path, obs_keys=keys), shape_meta=LOW_DIM_META)

    expected = np.concatenate([written[f"obs/{key}"][:2] for key in keys], axis=1).astype(np.float32)
    np.testing.assert_array_equal(dataset[1]["obs"]["obs"], expected)


def test_training_and_validation_share_no_episode(path: Path) -> None:
    write_file(path)
    dataset = RobomimicDataset(config(path, val_ratio=0.2, max_train_episodes=3), shape_meta=IMAGE_META)
    held_out = dataset.get_validation_dataset()
    trained = {tuple(dataset[i]["action"][1].tolist()) for i in range(len(dataset))}
    validated = {tuple(held_out[i]["action"][1].tolist()) for i in range(len(held_out))}

    assert len(dataset) + len(held_out) < sum(length - 1 for length in LENGTHS)
    assert not trained & validated


# -- rotations --------------------------------------------------------------------------------------------------------


def test_six_numbers_are_the_first_two_rows_of_the_matrix() -> None:
    """A quarter turn about z, half a turn about x, and none; by hand."""
    rotations = np.array([[0, 0, np.pi / 2], [np.pi, 0, 0], [0, 0, 0]])
    expected = np.array([[0, -1, 0, 1, 0, 0], [1, 0, 0, 0, -1, 0], [1, 0, 0, 0, 1, 0]])

    np.testing.assert_allclose(axis_angle_to_6d(rotations), expected, atol=1e-15)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 1.0, 3.0, np.pi - 1e-6, np.pi])
def test_rotations_come_back_at_every_angle(angle: float) -> None:
    axes = np.random.default_rng(1).normal(size=(50, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    there = axis_angle_to_6d(angle * axes)
    back = axis_angle_from_6d(there)

    # Both directions of half a turn are the same rotation.
    np.testing.assert_allclose(axis_angle_to_6d(back), there, atol=1e-12)
    if angle < 3.1:
        np.testing.assert_allclose(back, angle * axes, atol=1e-9)


def test_six_numbers_that_are_no_rotation_are_taken_for_one_near() -> None:
    """Rows are scaled and made orthogonal, the first keeps its direction (Gram and Schmidt)."""
    np.testing.assert_allclose(axis_angle_from_6d(np.array([2.0, 0, 0, 5, 3, 0])), np.zeros(3), atol=1e-12)


def test_rotations_agree_with_scipy() -> None:
    scipy = pytest.importorskip("scipy.spatial.transform")
    rotations = np.random.default_rng(2).normal(size=(100, 3)) * 3
    expected = scipy.Rotation.from_rotvec(rotations)

    rows = axis_angle_to_6d(rotations)
    np.testing.assert_allclose(rows, expected.as_matrix()[:, :2].reshape(-1, 6), atol=1e-12)
    np.testing.assert_allclose(axis_angle_from_6d(rows), expected.as_rotvec(), atol=1e-9)


@pytest.mark.parametrize("n_arms", [1, 2])
def test_absolute_actions_get_ten_numbers_per_arm_and_come_back(path: Path, n_arms: int) -> None:
    written = write_file(path, n_arms)["actions"]
    dataset = RobomimicDataset(config(path, abs_action=True), shape_meta=with_actions(IMAGE_META, 10 * n_arms))
    action = dataset[1]["action"].numpy()

    assert action.shape == (4, 10 * n_arms)
    for arm in range(n_arms):
        np.testing.assert_allclose(action[:, 10 * arm : 10 * arm + 3], written[:4, 7 * arm : 7 * arm + 3], atol=1e-6)
        np.testing.assert_allclose(action[:, 10 * arm + 9], written[:4, 7 * arm + 6], atol=1e-6)
    again = actions_to_policy(actions_to_simulation(action, "rotation_6d"), "rotation_6d")
    np.testing.assert_allclose(again, action, atol=1e-6)


def test_absolute_actions_can_keep_axis_and_angle(path: Path) -> None:
    written = write_file(path)["actions"]
    dataset = RobomimicDataset(config(path, abs_action=True, rotation_rep="axis_angle"), shape_meta=IMAGE_META)

    np.testing.assert_array_equal(dataset[1]["action"], written[:4].astype(np.float32))
    np.testing.assert_array_equal(actions_to_simulation(written, "axis_angle"), written)


# -- normalizer -------------------------------------------------------------------------------------------------------


def numbers(field: SingleFieldLinearNormalizer) -> tuple[np.ndarray, np.ndarray]:
    return field.scale.numpy(), field.offset.numpy()


def test_images_positions_and_quaternions_are_scaled_as_in_the_original(path: Path) -> None:
    written = write_file(path)
    normalizer = RobomimicDataset(config(path), shape_meta=IMAGE_META).get_normalizer()

    for key in ("robot0_eef_pos", "robot0_gripper_qpos"):
        values = written[f"obs/{key}"].astype(np.float32)
        low, high = values.min(0), values.max(0)
        scale, offset = numbers(normalizer[key])
        np.testing.assert_allclose(scale, 2 / (high - low), rtol=1e-6)
        np.testing.assert_allclose(offset, -1 - 2 / (high - low) * low, rtol=1e-5, atol=1e-6)
    for key in ("robot0_eef_quat", "action"):
        scale, offset = numbers(normalizer[key])
        assert (scale == 1).all()
        assert (offset == 0).all()
    stats = array_to_stats(written["actions"].astype(np.float32))
    for name, values in normalizer["action"].input_stats.items():
        np.testing.assert_allclose(values, stats[name], rtol=1e-6)
    assert numbers(normalizer["agentview_image"]) == (2, -1)


def test_joined_observations_are_divided_by_their_largest_number(path: Path) -> None:
    written = write_file(path)
    keys = list(SHAPES)
    normalizer = RobomimicDataset(config(path, obs_keys=keys), shape_meta=LOW_DIM_META).get_normalizer()
    largest = max(np.abs(written[f"obs/{key}"]).max() for key in keys)

    scale, offset = numbers(normalizer["obs"])
    np.testing.assert_allclose(scale, np.full(19, 1 / largest), rtol=1e-6)
    assert (offset == 0).all()


def test_joined_observations_that_are_always_zero_are_left_as_they_are(path: Path) -> None:
    write_file(path)
    with h5py.File(path, "r+") as file:
        for number in range(len(LENGTHS)):
            file[f"data/demo_{number}/obs/object"][...] = 0
    shape_meta = {**LOW_DIM_META, "obs": {"obs": {"shape": [10]}}}

    normalizer = RobomimicDataset(config(path, obs_keys=["object"]), shape_meta=shape_meta).get_normalizer()

    scale, offset = numbers(normalizer["obs"])
    assert (scale.tolist(), offset.tolist()) == ([1] * 10, [0] * 10)


@pytest.mark.parametrize("n_arms", [1, 2])
def test_of_absolute_actions_only_positions_are_scaled(path: Path, n_arms: int) -> None:
    written = write_file(path, n_arms)["actions"].astype(np.float32)
    shape_meta = with_actions(IMAGE_META, 10 * n_arms)
    normalizer = RobomimicDataset(config(path, abs_action=True), shape_meta=shape_meta).get_normalizer()
    scale, offset = numbers(normalizer["action"])

    for arm in range(n_arms):
        positions = written[:, 7 * arm : 7 * arm + 3]
        expected = 2 / (positions.max(0) - positions.min(0))
        np.testing.assert_allclose(scale[10 * arm : 10 * arm + 3], expected, rtol=1e-6)
        np.testing.assert_allclose(offset[10 * arm : 10 * arm + 3], -1 - expected * positions.min(0), atol=1e-5)
        assert (scale[10 * arm + 3 : 10 * arm + 10] == 1).all()
        assert (offset[10 * arm + 3 : 10 * arm + 10] == 0).all()
    nominal = {name: values[-1].item() for name, values in normalizer["action"].input_stats.items()}
    assert nominal == {"min": -1, "max": 1, "mean": 0, "std": 1}


def test_the_legacy_normalizer_has_one_factor(path: Path) -> None:
    write_file(path)
    options = config(path, abs_action=True, use_legacy_normalizer=True)
    dataset = RobomimicDataset(options, shape_meta=with_actions(IMAGE_META, 10))
    scale, offset = numbers(dataset.get_normalizer()["action"])
    largest = max(np.abs(dataset[i]["action"].numpy()).max() for i in range(len(dataset)))

    np.testing.assert_allclose(scale, np.full(10, 1 / largest), rtol=1e-6)
    assert (offset == 0).all()


# -- cache ------------------------------------------------------------------------------------------------------------


def test_images_are_unpacked_once_and_again_when_the_file_changes(path: Path, cache: Path) -> None:
    write_file(path)
    first = RobomimicDataset(config(path), shape_meta=IMAGE_META)[0]["obs"]["agentview_image"]
    made = sorted(cache.iterdir())
    times = [entry.stat().st_mtime_ns for entry in made]
    second = RobomimicDataset(config(path, abs_action=True), shape_meta=with_actions(IMAGE_META, 10))

    assert [entry.suffix for entry in made] == [".npy"]
    assert torch.equal(second[0]["obs"]["agentview_image"], first)
    assert [entry.stat().st_mtime_ns for entry in sorted(cache.iterdir())] == times
    with h5py.File(path, "a") as file:
        file["data/demo_0/obs/agentview_image"][...] = 7
    changed = RobomimicDataset(config(path), shape_meta=IMAGE_META)[0]["obs"]["agentview_image"]
    assert (changed == 7).all()


def test_a_damaged_cache_is_made_again(path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_file(path)
    first = RobomimicDataset(config(path), shape_meta=IMAGE_META)[0]["obs"]["agentview_image"].clone()
    [made] = cache.iterdir()
    made.write_bytes(made.read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        again = RobomimicDataset(config(path), shape_meta=IMAGE_META)[0]["obs"]["agentview_image"]

    assert torch.equal(again, first)
    assert "the images are unpacked again" in caplog.text


def test_what_fails_while_unpacking_leaves_nothing_behind(path: Path, cache: Path) -> None:
    write_file(path)
    with h5py.File(path, "a") as file:
        del file["data/demo_10/obs/agentview_image"]

    with pytest.raises(DataError) as caught:
        RobomimicDataset(config(path), shape_meta=IMAGE_META)

    assert str(caught.value) == (
        f"{path}: '/data/demo_10' has no 'obs/agentview_image'; choose from 'object', 'robot0_eef_pos', "
        "'robot0_eef_quat', 'robot0_gripper_qpos'"
    )
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize("use_cache", [True, False])
def test_floats_are_images_in_the_unit_range_unless_one_of_them_is_larger(
    path: Path, white: int, use_cache: bool
) -> None:
    write_file(path)
    with h5py.File(path, "r+") as file:
        for number, length in enumerate(LENGTHS):
            del file[f"data/demo_{number}/obs/agentview_image"]
            last = number == len(LENGTHS) - 1
            masks = np.full((length, 6, 8, 3), white if last else 1, np.float32)
            file[f"data/demo_{number}/obs/agentview_image"] = masks

    dataset = RobomimicDataset(config(path, use_cache=use_cache), shape_meta=IMAGE_META)

    first, last = (dataset[index]["obs"]["agentview_image"].unique().tolist() for index in (0, len(dataset) - 1))
    assert (first, last) == ([255 if white == 1 else 1], [255])


def test_without_a_place_for_the_cache_images_are_held_in_memory(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = write_file(path)
    (tmp_path / "a file").touch()
    monkeypatch.setenv("DP_CACHE_DIR", str(tmp_path / "a file"))
    with caplog.at_level(logging.WARNING):
        images = RobomimicDataset(config(path), shape_meta=IMAGE_META)[1]["obs"]["agentview_image"]

    np.testing.assert_array_equal(images, np.moveaxis(written["obs/agentview_image"][:2], -1, 1))
    assert "'agentview_image' cannot be kept in" in caplog.text


def test_the_cache_can_be_left_out(path: Path, cache: Path) -> None:
    written = write_file(path)
    images = RobomimicDataset(config(path, use_cache=False), shape_meta=IMAGE_META)[1]["obs"]["agentview_image"]

    np.testing.assert_array_equal(images, np.moveaxis(written["obs/agentview_image"][:2], -1, 1))
    assert not cache.exists()


# -- mistakes ---------------------------------------------------------------------------------------------------------


def test_other_files_are_refused(path: Path) -> None:
    path.write_text("no")
    with pytest.raises(DataError) as damaged:
        RobomimicDataset(config(path), shape_meta=IMAGE_META)
    with h5py.File(path, "w") as file:
        file.create_group("data")
    with pytest.raises(DataError) as empty:
        RobomimicDataset(config(path), shape_meta=IMAGE_META)

    assert str(damaged.value) == (
        f"{path}: is not a complete HDF5 file (file signature not found); if it was downloaded or copied, do it again"
    )
    assert str(empty.value) == f"{path}: has no 'data/demo_<number>'; expected demonstrations in robomimic's format"


def why_not(path: Path) -> str:
    with pytest.raises(DataError) as caught, open_demonstrations(path):
        pass
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_file_that_was_cut_is_said_with_its_sizes(path: Path) -> None:
    write_file(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:5000])

    assert why_not(path) == (
        f"is not a complete HDF5 file (truncated file: eof = 5000, sblock->base_addr = 0, stored_eof = {len(whole)}); "
        "if it was downloaded or copied, do it again"
    )


def test_a_folder_is_said_with_the_reason_of_the_system(path: Path) -> None:
    path.mkdir()

    assert why_not(path) == "cannot be opened (Is a directory)"


WRITER = """
import h5py, sys
file = h5py.File(sys.argv[1], "a", libver="latest")
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def writer_of(path: Path) -> Iterator[None]:
    """Another process that has the file open."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        try:
            yield
        finally:
            writer.kill()


def test_a_file_that_another_process_writes_is_not_called_incomplete(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file["data/demo_0/actions"] = [[0.0] * 7]

    with writer_of(path):
        locked = why_not(path)
    left_open = why_not(path)  # as its writer was killed

    assert locked == (
        f"another process has it open for writing (unable to lock file, errno = {errno.EAGAIN}, error message = "
        f"'{os.strerror(errno.EAGAIN)}'); close it there, or, where the file system knows no locks, set "
        "HDF5_USE_FILE_LOCKING=FALSE"
    )
    assert left_open == (
        "it is open for writing, or its writer never closed it (file is already open for write (may use <h5clear file> "
        "to clear file consistency flags)); close it there, or, if that program is gone, run h5clear -s on the file"
    )


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 3)}, {"chunks": (2, 3), "compression": "gzip"}])
@pytest.mark.parametrize("n_written", [0, 4])
def test_what_was_made_and_never_written_is_not_read_as_zeros(
    path: Path, options: dict[str, Any], n_written: int
) -> None:
    write_file(path)
    with h5py.File(path, "a") as file:
        del file["data/demo_3/obs/robot0_eef_pos"]
        made = file.create_dataset("data/demo_3/obs/robot0_eef_pos", (6, 3), "f8", **options)
        if options and n_written:
            made[:n_written] = 1

    with pytest.raises(DataError) as caught:
        RobomimicDataset(config(path), shape_meta=IMAGE_META)

    assert str(caught.value) == (
        f"{path}: '/data/demo_3/obs/robot0_eef_pos' was never written, or in part only, and reads as 0.0; record or "
        "convert it again, or delete the episode"
    )


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 3), "compression": "gzip"}])
def test_zeros_that_were_written_are_read(path: Path, options: dict[str, Any]) -> None:
    write_file(path)
    with h5py.File(path, "a") as file:
        del file["data/demo_0/obs/robot0_eef_pos"]
        file.create_dataset("data/demo_0/obs/robot0_eef_pos", data=np.zeros((7, 3)), **options)

    assert not RobomimicDataset(config(path), shape_meta=IMAGE_META)[1]["obs"]["robot0_eef_pos"].any()


def test_episodes_of_another_shape_are_refused(path: Path) -> None:
    write_file(path)
    with h5py.File(path, "a") as file:
        del file["data/demo_4/obs/agentview_image"]
        file["data/demo_4/obs/agentview_image"] = np.zeros((6, 12, 8, 3), np.uint8)

    with pytest.raises(DataError) as caught:
        RobomimicDataset(config(path), shape_meta=IMAGE_META)

    assert str(caught.value) == (
        f"{path}: '/data/demo_4/obs/agentview_image' has shape (12, 8, 3) in each step, but in the first episode it is "
        "(6, 8, 3)"
    )


def test_groups_that_are_no_demonstrations_are_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_file(path)
    with h5py.File(path, "a") as file:
        file["data/demo_12_failed/actions"] = np.zeros((5, 7))
        file["data/notes"] = "hello"

    with open_demonstrations(path) as opened:
        assert opened.n_episodes == len(LENGTHS)

    assert caplog.messages == [
        f"{path}: left out of 'data' is what is not called 'demo_<number>': 'demo_12_failed', 'notes'"
    ]


def test_sizes_other_than_those_of_shape_meta_are_refused(path: Path) -> None:
    write_file(path)
    small = {**IMAGE_META, "obs": {"agentview_image": {"shape": [3, 5, 5], "type": "rgb"}}}
    with pytest.raises(DataError) as image:
        RobomimicDataset(config(path), shape_meta=small)
    with pytest.raises(DataError) as action:
        RobomimicDataset(config(path), shape_meta=with_actions(IMAGE_META, 6))

    assert str(image.value) == (
        f"{path}: 'obs/agentview_image' has images of shape (6, 8, 3); shape_meta says (3, 5, 5), "
        "expected that or (5, 5, 3)"
    )
    assert str(action.value) == f"{path}: 'action' has shape (7,) in each step; shape_meta says (6,)"


def test_a_start_that_is_not_there_and_an_unknown_environment_are_reported(path: Path) -> None:
    write_file(path)
    with open_demonstrations(path) as file:
        with pytest.raises(DataError) as start:
            file.first_state(99)
        with pytest.raises(DataError) as environment:
            _ = file.env_args

    assert str(start.value) == f"{path}: has 11 episodes; there is no start number 99"
    assert str(environment.value) == (
        f"{path}: does not say which environment it is from: 'data' has no usable 'env_args'"
    )


def test_what_does_not_fit_shape_meta_is_found_before_anything_is_read() -> None:
    dataset = config(Path("absent.hdf5"), obs_keys=["object"], abs_action=True)
    runner = RobomimicRunnerConfig(path=Path("absent.hdf5"), n_obs_steps=2, n_action_steps=8)
    odd = attrs.evolve(runner, render_hw=(255, 256), render_obs_key="agentview", n_train=0, n_test=0)

    assert list(dataset.check(LOW_DIM_META)) == [
        (
            "abs_action",
            "gives 10 numbers per arm with rotation_rep 'rotation_6d', but shape_meta.action is [7]; "
            "expected a multiple",
        )
    ]
    assert list(dataset.check(with_actions(IMAGE_META, 10))) == [
        (
            "obs_keys",
            "joins observations to one vector 'obs', but shape_meta.obs has 'agentview_image', 'robot0_eef_pos', "
            "'robot0_eef_quat', 'robot0_gripper_qpos'; let it have 'obs' alone, or set obs_keys: null",
        )
    ]
    assert list(runner.check(IMAGE_META)) == []
    assert list(odd.check(IMAGE_META)) == [
        ("n_test", "n_train and n_test are both 0; evaluate at least one episode"),
        ("render_hw", "[255, 256] is odd, which the video format does not allow"),
        ("", "'agentview' is no camera of robosuite; expected its name and '_image'"),
    ]
    assert [name for name, _ in (*dataset.preflight(), *runner.preflight())] == ["path", "path"]
