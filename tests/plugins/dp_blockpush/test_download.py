"""``dp-data download blockpush`` from an archive made here; test_archive.py has those on a server."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dp_core.errors import DataError

pytest.importorskip("zarr", reason="pip install 'dp-core[blockpush]'")

from dp_blockpush.config import BlockPushDatasetConfig
from dp_blockpush.download import download
from dp_blockpush.download_cli import main
from dp_replay.buffer import ReplayBuffer


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The buffer with steps has 1000 demonstrations, that with positions has 3."""
    folder = tmp_path_factory.mktemp("archive") / "block_pushing"
    for name, lengths in {"multimodal_push_seed": [2] * 1000, "multimodal_push_seed_abs": [2] * 3}.items():
        data = {"obs": np.zeros((sum(lengths), 16), np.float32), "action": np.ones((sum(lengths), 2), np.float32)}
        ReplayBuffer(data, np.cumsum(lengths)).save(folder / f"{name}.zarr")
    return Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))


def test_the_command_says_what_it_has_got_and_does_not_fetch_it_twice(archive, tmp_path, capsys):
    command = ["--output", str(tmp_path), "--source"]

    assert main([*command, str(archive)]) == 0
    assert main([*command, "nowhere"]) == 0

    target = tmp_path / "block_pushing" / "multimodal_push_seed.zarr"
    megabytes = sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) / 1e6
    assert capsys.readouterr().out.splitlines() == [
        f"{target}: 1000 demonstrations, 2000 steps, {megabytes:.1f} MB",
        f"{target}: is there already, with 1000 demonstrations, 2000 steps",
    ]
    assert len(ReplayBuffer.load(target)["action"]) == 2000


def test_another_number_of_demonstrations_is_said(archive, tmp_path):
    with pytest.raises(DataError) as caught:
        list(download(tmp_path, abs_action=True, source=str(archive)))

    target = tmp_path / "block_pushing" / "multimodal_push_seed_abs.zarr"
    assert str(caught.value) == (f"{archive}: has 3 demonstrations; expected 1000; nothing was written to '{target}'")
    assert list(target.parent.iterdir()) == []


def test_a_missing_buffer_is_said_with_the_command_that_gets_it():
    path = Path("elsewhere/block_pushing/multimodal_push_seed_abs.zarr")
    config = BlockPushDatasetConfig(path=path, horizon=4, n_obs_steps=2, n_action_steps=2)

    assert list(config.preflight()) == [
        (
            "path",
            f"'{path}' does not exist; get it with 'dp-data download blockpush --abs-action --output elsewhere', or "
            "give the path of a replay buffer",
        )
    ]
