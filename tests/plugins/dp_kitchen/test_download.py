"""``dp-data download kitchen`` from an archive made here; test_archive.py has those on a server."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dp_core.errors import DataError

pytest.importorskip("zarr", reason="pip install 'dp-core[kitchen]'")

from dp_kitchen.download import check_logs, download
from dp_kitchen.download_cli import main

SHAPES = {
    "all_init_qpos.npy": (566, 30),
    "all_init_qvel.npy": (566, 29),
    "observations_seq.npy": (2, 566, 60),
    "actions_seq.npy": (2, 566, 9),
    "existence_mask.npy": (2, 566),
}
LOGS = "kitchen/kitchen_demos_multitask"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "kitchen.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in SHAPES.items():
            content = io.BytesIO()
            np.save(content, np.ones(shape, np.float32))
            archive.writestr(f"kitchen/{name}", content.getvalue())
        archive.writestr(f"{LOGS}/microwave/first.mjl", "log")
        archive.writestr(f"{LOGS}/kettle/second.mjl", "log")
        archive.writestr("kitchen/not_needed.npy", "")
    return path


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_command_gets_logs_and_starts(archive, tmp_path, capsys):
    command = ["--output", str(tmp_path), "--source"]

    assert main([*command, str(archive)]) == 0
    assert main([*command, "nowhere"]) == 0

    starts = [f"kitchen/{name}" for name in list(SHAPES)[:2]]
    assert files_below(tmp_path) == {*starts, f"{LOGS}/microwave/first.mjl", f"{LOGS}/kettle/second.mjl"}
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/{starts[0]}: an array (566, 30), 0.1 MB",
        f"{tmp_path}/{starts[1]}: an array (566, 29), 0.1 MB",
        f"{tmp_path}/{LOGS}: 2 logs, 0.0 MB",
        f"{tmp_path}/{starts[0]}: is there already, with an array (566, 30)",
        f"{tmp_path}/{starts[1]}: is there already, with an array (566, 29)",
        f"{tmp_path}/{LOGS}: is there already, with 2 logs",
    ]


def test_the_command_gets_arrays_and_starts(archive, tmp_path):
    assert main(["--no-abs-action", "--output", str(tmp_path), "--source", str(archive)]) == 0

    assert files_below(tmp_path) == {f"kitchen/{name}" for name in SHAPES}


def test_another_number_of_demonstrations_is_said(archive, tmp_path):
    with pytest.raises(DataError) as caught:
        list(download(tmp_path, abs_action=False, source=str(archive), n_demonstrations=600))

    assert str(caught.value) == (
        f"{archive}: has shape (2, 566, 60); expected 600 demonstrations; "
        f"nothing was written to '{tmp_path}/kitchen/observations_seq.npy'"
    )


def test_a_folder_without_logs_is_said(tmp_path):
    with pytest.raises(DataError) as caught:
        check_logs(tmp_path)

    assert str(caught.value) == f"{tmp_path}: has no .mjl logs"
