"""What the README shows works: its plugin is extracted, installed in a folder, and trains."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dp_core.config.presets import Presets
from dp_core.runs import start
from dp_replay.buffer import ReplayBuffer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def write_plugin(folder: Path) -> None:
    """Every block that starts with a file name, and the metadata that pip would write from pyproject.toml."""
    for block in (*code_blocks("toml"), *code_blocks("python")):
        if name := re.match(r"# (\S+\.(?:py|toml))\n", block):
            path = folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block)
    (folder / "dp_blur" / "__init__.py").touch()
    metadata = folder / "dp_blur-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: dp-blur\nVersion: 0.1\n")
    entry_points = re.search(r'\[project\.entry-points\."dp_core\.plugins"\]\n(.*)', code_blocks("toml")[0])
    assert entry_points
    line = entry_points[1].replace('"', "")
    (metadata / "entry_points.txt").write_text(f"[dp_core.plugins]\n{line}\n")


def dp_run(*arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(path)!r}); from dp_core.cli.run import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )


def test_the_plugin_is_listed_and_trains(tmp_path: Path) -> None:
    write_plugin(tmp_path)
    listed = dp_run("--list", "encoder", path=tmp_path)
    trained = dp_run(
        "configs/smoke.yaml", "policy.encoder=blur", "runner=null", f"output_dir={tmp_path / 'run'}", path=tmp_path
    )

    assert re.search(r"^  blur +dp-blur 0\.1 +rounds what it sees$", listed.stdout, re.MULTILINE)
    assert trained.returncode == 0, trained.stderr
    assert "name: dp-blur/blur" in (tmp_path / "run" / "config.resolved.yaml").read_text()


def test_the_plugin_is_as_short_as_promised() -> None:
    blocks = [block for block in code_blocks("python") if block.startswith("# dp_blur/")]
    lines = [line for block in blocks for line in block.splitlines() if line.strip() and not line.startswith("#")]

    assert len(lines) <= 25


def test_every_config_and_file_it_names_exists() -> None:
    names = set(re.findall(r"configs/[\w/]+\.yaml", README)) | set(re.findall(r"\]\(([\w./-]+)\)", README))

    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []
    assert set(re.findall(r"dp-run ([a-z][\w/]*)(?=[\s`])", README)) - {p.name for p in Presets().all()} == set()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config of one's own demonstrations, beside two episodes that its example has written."""
    monkeypatch.chdir(tmp_path)
    episode = (np.zeros((20, 3, 120, 160), np.uint8), np.zeros((20, 7), np.float32), np.zeros((20, 7), np.float32))
    code = next(block for block in code_blocks("python") if block.startswith("from dp_replay"))
    exec(code, {"my_episodes": [episode, episode]})
    path = tmp_path / "mine.yaml"
    path.write_text(next(block for block in code_blocks("yaml") if block.startswith("# mine.yaml")))
    return path


def test_its_example_writes_demonstrations_that_its_config_reads(config: Path, tmp_path: Path) -> None:
    checked = dp_run("--check", str(config), path=tmp_path)

    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith(f"{config}: ok")
    assert ReplayBuffer.load("mine.zarr", keys=["joints", "action"]).n_episodes == 2


def test_its_policy_acts_on_the_observations_of_that_config(config: Path) -> None:
    """Trained for one step, with smaller networks."""
    small = ["policy.encoder={name: cnn}", "policy.denoiser={name: unet1d, down_dims: [8, 16], n_groups: 4}"]
    short = ["training.num_epochs=1", "training.max_train_steps=1", "training.device=cpu", "dataloader.batch_size=2"]
    workspace = start(config, [*small, *short, "callbacks.topk=null"])
    code = next(block for block in code_blocks("python") if block.startswith("from dp_core import load_policy"))
    code = code.replace("runs/.../checkpoints/latest.ckpt", str(workspace.get_checkpoint_path()))
    read = {"images": torch.zeros(1, 2, 3, 120, 160, dtype=torch.uint8), "angles": torch.zeros(1, 2, 7)}

    exec(code, read)

    assert read["action"].shape == (1, 8, 7)
