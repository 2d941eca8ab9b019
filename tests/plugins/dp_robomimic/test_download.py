"""``dp-data download robomimic`` from archives made here; test_archive.py has those on a server."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dp_core.errors import DataError
from dp_robomimic.config import RobomimicDatasetConfig

h5py = pytest.importorskip("h5py", reason="pip install 'dp-core[robomimic]'")
pytest.importorskip("zarr", reason="pip install 'dp-core[replay]'")

from dp_robomimic.download import check_file, download  # noqa: E402 -- it imports h5py
from dp_robomimic.download_cli import main  # noqa: E402

CAN = {"task": "can", "demonstrations": "ph", "observations": "low_dim", "abs_action": True}
NAME = "robomimic/datasets/can/ph/low_dim_abs.hdf5"
KEYS = ("object", "robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")


def write_file(path: Path, n_demonstrations: int = 200, keys: tuple[str, ...] = KEYS) -> Path:
    with h5py.File(path, "w") as file:
        for number in range(n_demonstrations):
            for key in ("actions", "states", *(f"obs/{key}" for key in keys)):
                file[f"data/demo_{number}/{key}"] = np.zeros((2, 1))
        file["data"].attrs["env_args"] = json.dumps({"env_name": "PickPlaceCan", "env_kwargs": {}})
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(folder / "robomimic_lowdim.zip", "w") as archive:
        archive.write(write_file(folder / "whole.hdf5"), NAME)
        archive.write(write_file(folder / "few.hdf5", 3), "robomimic/datasets/lift/ph/low_dim.hdf5")
    return folder / "robomimic_lowdim.zip"


def test_the_command_says_what_it_has_got_and_does_not_fetch_it_twice(archive, tmp_path, capsys):
    command = ["--task", "can", "--observations", "low_dim", "--output", str(tmp_path / "data"), "--source"]

    assert main([*command, str(archive)]) == 0
    assert main([*command, "nowhere"]) == 0

    target = tmp_path / "data" / NAME
    megabytes = target.stat().st_size / 1e6
    assert capsys.readouterr().out.splitlines() == [
        f"{target}: 200 demonstrations of PickPlaceCan, {megabytes:.1f} MB",
        f"{target}: is there already, with 200 demonstrations of PickPlaceCan",
    ]


def test_another_number_of_demonstrations_is_said(archive, tmp_path):
    with pytest.raises(DataError) as caught:
        list(download(tmp_path, **CAN | {"task": "lift", "abs_action": False}, source=str(archive)))

    assert str(caught.value) == (
        f"{archive}: has 3 demonstrations; expected 200; "
        f"nothing was written to '{tmp_path}/robomimic/datasets/lift/ph/low_dim.hdf5'"
    )


def test_observations_that_configs_read_must_be_there(tmp_path):
    path = write_file(tmp_path / "file.hdf5", 1, keys=KEYS[1:])

    with pytest.raises(DataError) as state:
        check_file(path, task="can", observations="low_dim", n_expected=1)
    with pytest.raises(DataError) as image:
        check_file(path, task="tool_hang", observations="image", n_expected=1)
    with pytest.raises(DataError) as arm:
        check_file(path, task="transport", observations="image", n_expected=1)

    there_are = "choose from 'robot0_eef_pos', 'robot0_eef_quat', 'robot0_gripper_qpos'"
    assert str(state.value) == f"{path}: '/data/demo_0' has no 'obs/object'; {there_are}"
    assert str(image.value) == f"{path}: '/data/demo_0' has no 'obs/sideview_image'; {there_are}"
    assert str(arm.value) == f"{path}: '/data/demo_0' has no 'obs/robot1_eef_pos'; {there_are}"


def test_demonstrations_that_nobody_recorded_are_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        download(tmp_path, **CAN | {"task": "tool_hang", "demonstrations": "mh"})

    assert str(caught.value) == "there are no demonstrations 'mh' of tool_hang; choose from 'ph'"


@pytest.mark.parametrize(
    ("path", "command"),
    [
        (
            "data/robomimic/datasets/can/mh/image_abs.hdf5",
            "dp-data download robomimic --task can --demonstrations mh --observations image",
        ),
        (
            "/disk/robomimic/datasets/transport/ph/low_dim.hdf5",
            "dp-data download robomimic --task transport --demonstrations ph --observations low_dim --no-abs-action "
            "--output /disk",
        ),
        (
            "robomimic/datasets/lift/ph/image_abs.hdf5",
            "dp-data download robomimic --task lift --demonstrations ph --observations image --output .",
        ),
        ("data/robomimic/datasets/tool_hang/mh/image_abs.hdf5", None),
        ("data/robomimic/datasets/fold/ph/image_abs.hdf5", None),
        ("mine/image_abs.hdf5", None),
    ],
)
def test_a_missing_file_is_said_with_the_command_that_gets_it(path, command):
    config = RobomimicDatasetConfig(path=Path(path), horizon=4, n_obs_steps=2, n_action_steps=2)

    get_it = f"get it with '{command}', or give" if command else "give"
    assert list(config.preflight()) == [
        (
            "path",
            f"'{path}' does not exist; {get_it} the path of a file in robomimic's format (.hdf5), for absolute actions "
            "one whose actions are absolute",
        )
    ]
