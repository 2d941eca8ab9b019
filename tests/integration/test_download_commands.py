"""What a config lacks on a machine is put where it looks for it by the command that the message names."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dp_core.cli.data import main
from dp_core.config import preflight
from dp_core.registry import Registry
from dp_core.run_config import load_config

h5py = pytest.importorskip("h5py", reason="pip install 'dp-core[robomimic]'")
pytest.importorskip("zarr", reason="pip install 'dp-core[replay]'")

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = sorted(
    path for pattern in ("robomimic/*", "kitchen_*", "blockpush_*") for path in CONFIGS.glob(f"{pattern}.yaml")
)
POLICY = CONFIGS / "policy" / "paper_lowdim_unet.yaml"
OTHER_TASKS = ["robomimic/can_lowdim", "robomimic/transport_lowdim", "kitchen_lowdim", "blockpush_lowdim_abs"]
"""Those that no preset extends: the other kind of actions."""
EVERY_KEY = [
    *("object", "agentview_image", "sideview_image", "shouldercamera0_image", "shouldercamera1_image"),
    *(f"robot{arm}_{key}" for arm in (0, 1) for key in ("eye_in_hand_image", "eef_pos", "eef_quat", "gripper_qpos")),
]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All published archives in one, with the smallest contents that are complete."""
    from dp_replay.buffer import ReplayBuffer

    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for demonstrations, number in {"ph": 200, "mh": 300}.items():
            file = robomimic_file(folder / f"{demonstrations}.hdf5", number)
            for task in ("lift", "can", "square", "transport", "tool_hang"):
                for name in ("image", "image_abs", "low_dim", "low_dim_abs"):
                    archive.write(file, f"robomimic/datasets/{task}/{demonstrations}/{name}.hdf5")
        for name in ("all_init_qpos", "all_init_qvel", "observations_seq", "actions_seq", "existence_mask"):
            content = io.BytesIO()
            np.save(content, np.ones((566, 1), np.float32))
            archive.writestr(f"kitchen/{name}.npy", content.getvalue())
        archive.writestr("kitchen/kitchen_demos_multitask/microwave/log.mjl", "log")
        for name in ("multimodal_push_seed.zarr", "multimodal_push_seed_abs.zarr"):
            data = {"obs": np.zeros((1000, 16), np.float32), "action": np.zeros((1000, 2), np.float32)}
            ReplayBuffer(data, np.arange(1, 1001)).save(folder / name)
            for path in (folder / name).rglob("*"):
                archive.write(path, f"block_pushing/{path.relative_to(folder)}")
    return folder / "all.zip"


def robomimic_file(path: Path, n_demonstrations: int) -> Path:
    """All demonstrations are links to one."""
    with h5py.File(path, "w") as file:
        for key in ("actions", "states", *(f"obs/{key}" for key in EVERY_KEY)):
            file[f"data/demo_0/{key}"] = np.zeros((1, 1))
        for number in range(1, n_demonstrations):
            file[f"data/demo_{number}"] = file["data/demo_0"]
        file["data"].attrs["env_args"] = json.dumps({"env_name": "Any", "env_kwargs": {}})
    return path


@pytest.mark.parametrize("name", [*(str(path.relative_to(CONFIGS).with_suffix("")) for path in PRESETS), *OTHER_TASKS])
def test_the_command_that_is_named_gets_what_is_missing(name, registry, archive, tmp_path, monkeypatch, capsys):
    config = CONFIGS / f"{name}.yaml"
    if name in OTHER_TASKS:
        config = tmp_path / "config.yaml"
        config.write_text(f"extends: [{POLICY}, {CONFIGS / 'task' / name}.yaml]\n")
    config = load_config(registry, config)
    monkeypatch.chdir(tmp_path)
    commands = named_commands(config)

    for command in commands:
        assert main([*shlex.split(command), "--source", str(archive)]) == 0

    assert commands
    assert named_commands(config) == set()


def named_commands(config) -> set[str]:
    """Other messages say which packages are missing on this machine."""
    messages = " ".join(problem.message for problem in preflight(config))
    return set(re.findall(r"'dp-data (download .*?)'", messages))


def test_the_commands_are_listed_without_importing_anything_heavy():
    program = (
        "import sys; from dp_core.cli.data import main; main(['--list']); "
        "assert not {'torch', 'numpy', 'h5py', 'zarr', 'omegaconf', 'tqdm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.stderr == ""
    assert {f"dp-data download {name}" for name in ("blockpush", "kitchen", "pusht", "robomimic")} <= set(
        done.stdout.splitlines()
    )
