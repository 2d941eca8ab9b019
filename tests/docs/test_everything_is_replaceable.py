"""Every kind can be supplied by others: the examples of docs/plugins, installed by pip, keep their rules and train."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_core import interfaces, load_policy
from dp_core.checkpoint import read_payload
from dp_core.cli.eval import main as dp_eval
from dp_core.cli.run import main as dp_run
from dp_core.component import KINDS
from dp_core.registry import Registry
from dp_core.testing.fakes import installed

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation")
SMALL = ("training.num_epochs=1", "training.max_train_steps=2", "training.max_val_steps=1", "training.device=cpu")


@pytest.fixture(scope="module")
def sources(page: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package of each page, by kind."""
    folder = tmp_path_factory.mktemp("sources")
    return {kind: page(f"plugins/{kind}.md").write_package(folder / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def site(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where pip has installed all of them."""
    folder = tmp_path_factory.mktemp("site-packages")
    command = [*PIP, "install", *OFFLINE, "--target", str(folder), *map(str, sources.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    with installed(folder):
        yield folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the recordings that the page of data sets speaks of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    draw = np.random.default_rng(0)
    for number in range(2):
        episode = {"obs": draw.random(size=(30, 3)), "action": draw.normal(size=(30, 2))}
        np.savez(tmp_path / "recordings" / f"{number}.npz", **episode)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_is_short(kind: str, page: Callable[[str], Any]) -> None:
    files = {path: text for path, text in page(f"plugins/{kind}.md").files().items() if path.startswith("dp_")}
    lines = [line for text in files.values() for line in text.splitlines()[1:] if line.strip()]

    assert len(lines) <= (50 if kind == "modality" else 25), "with a modality comes an encoder for it"
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_says_what_it_is_built_with(kind: str, page: Callable[[str], Any]) -> None:
    """As dp_core.interfaces lists it."""
    listed = re.search(rf"^{kind} +(.+)$", interfaces.__doc__ or "", re.M)
    assert listed
    expected = re.findall(r"\w+", listed[1].partition(";")[0].replace("(none)", "").replace("``", ""))
    row = re.search(r"^\| built as \| `(?:\w+)\((.*?)\)`", page(f"plugins/{kind}.md").text, re.M)
    assert row

    assert re.findall(r"\w+", row[1].replace("=None", ""))[1:] == expected


def test_the_rules_of_their_kinds(site: Path, sources: dict[str, Path]) -> None:
    """By the tests on the pages, with warnings as errors, in a process of their own."""
    tests = [str(next((folder / "tests").glob("test_*.py"))) for folder in sources.values()]
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *tests]
    variables = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False, cwd=site)
    passed = re.search(r"(\d+) passed", done.stdout)

    assert done.returncode == 0, done.stdout + done.stderr
    assert passed
    assert int(passed[1]) > 10 * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_with_the_config_of_its_page(kind: str, site: Path, sources: dict[str, Path], work: Path) -> None:
    if (record := sources[kind] / "record.py").exists():
        exec(record.read_text(), {})
    small = () if kind == "workspace" else (*SMALL, *(() if kind == "runner" else ("runner=null",)))
    assert dp_run([str(sources[kind] / "train.yaml"), *small, "output_dir=run"]) == 0

    manifest = read_payload("run/checkpoints/latest.ckpt")["manifest"]
    own = [name for name in manifest["components"].values() if not name.startswith("dp-core/")]
    (component,) = (c for c in Registry.discover().components(kind) if c.qualified_name in own)
    assert own == [component.qualified_name, *(["dp-sound/listen"] if kind == "modality" else [])]
    assert manifest["distributions"][component.distribution] == "0.1"


def test_a_run_with_everything_but_the_platform_from_elsewhere(
    site: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the workspace `train` and the policy `diffusion` are made of; then another policy and workspace."""
    (work / "all.yaml").write_text("""
extends: [smoke]
shape_meta: {obs: {obs: {shape: [3], type: sound}}}
dataset: {name: episodes, folder: recordings, horizon: 16, n_obs_steps: 2, n_action_steps: 8, val_ratio: 0.5}
policy: {encoder: {name: listen}, denoiser: {name: mlp}, scheduler: {name: straight}}
runner: {name: home, n_obs_steps: 2}
optimizer: {name: nadam}
lr_schedule: {name: cooldown}
callbacks: {log: {name: note, text: hello}, progress: null, topk: null}
""")
    (work / "other.yaml").write_text("""
workspace: once
shape_meta: {obs: {obs: {shape: [3], type: low_dim}}, action: {shape: [2]}}
dataset: {name: episodes, folder: recordings, horizon: 16, n_obs_steps: 2, n_action_steps: 8}
policy: {name: blind, horizon: 16, n_obs_steps: 2, n_action_steps: 8}
""")
    used = {}
    for name in ("all", "other"):
        assert dp_run([f"{name}.yaml", f"output_dir={name}"]) == 0
        manifest = read_payload(f"{name}/checkpoints/latest.ckpt")["manifest"]
        used |= {manifest["kinds"][path]: owner for path, owner in manifest["components"].items()}
        action = load_policy(f"{name}/checkpoints/latest.ckpt").predict_action({"obs": torch.zeros(1, 2, 3)})["action"]
        assert action.shape == (1, 8, 2)

    assert used.keys() == set(KINDS)
    assert {owner.partition("/")[0] for owner in used.values()} & {"dp-core"} == set()
    assert dp_eval(["all/checkpoints/latest.ckpt", "--output", "evaluated"]) == 0
    assert "score: " in capsys.readouterr().out


def test_another_recipe_saves_what_it_has(site: Path, sources: dict[str, Path], work: Path) -> None:
    assert dp_run([str(sources["workspace"] / "train.yaml"), "output_dir=run"]) == 0
    payload = read_payload("run/checkpoints/latest.ckpt")

    assert payload["manifest"]["components"]["workspace"] == "dp-once/once"
    assert payload["state_dicts"].keys() == {"model"}


def test_a_callback_changes_what_checkpoints_hold(
    site: Path, sources: dict[str, Path], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it adds is in the file, and is there again when the run continues."""
    assert dp_run([str(sources["callback"] / "train.yaml"), *SMALL, "runner=null", "output_dir=run"]) == 0
    assert "note of the run before" not in capsys.readouterr().out
    assert read_payload("run/checkpoints/latest.ckpt")["note"] == "the camera was moved (step 2)"

    assert dp_run(["--resume", "run", "training.num_epochs=2", "callbacks.note.text=moved back"]) == 0
    assert "note of the run before: the camera was moved (step 2)\n" in capsys.readouterr().out
    assert read_payload("run/checkpoints/latest.ckpt")["note"] == "moved back (step 4)"
