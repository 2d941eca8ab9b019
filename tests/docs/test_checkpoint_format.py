"""docs/checkpoint_format.md says what is in a checkpoint, and how to read it without dp-core."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core import load_policy
from dp_core.checkpoint import write_payload
from dp_core.cli.run import main as dp_run

PAGE = "checkpoint_format.md"
TYPES = {"int": int, "str": str}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of which the page speaks."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        changes = ["training.num_epochs=1", "training.max_train_steps=2", "runner.n_train=0", "runner.n_test=1"]
        assert dp_run(["smoke", *changes, "output_dir=runs/mine"]) == 0
    return folder


@pytest.fixture
def payload(work: Path) -> dict[str, Any]:
    return torch.load(work / "runs/mine/checkpoints/latest.ckpt", weights_only=True)


def test_its_table_has_every_key(payload: dict[str, Any], page: Callable[[str], Any]) -> None:
    listed = dict(re.findall(r"^\| `([\w.]+)` \| (.+?) \| ", page(PAGE).text, re.M))
    found = dict(payload)
    for part in ("state_dicts", "manifest"):
        found |= {f"{part}.{key}": value for key, value in payload[part].items()}

    assert listed.keys() == found.keys()
    assert [key for key, value in found.items() if not isinstance(value, TYPES.get(listed[key], dict))] == []
    assert found["format"] == 1


def test_every_tensor_is_on_the_cpu(payload: dict[str, Any]) -> None:
    weights = payload["state_dicts"]["ema_model"]

    assert weights.keys() == payload["state_dicts"]["model"].keys()
    assert {value.device.type for value in weights.values()} == {"cpu"}


def test_the_run_directory_is_as_listed(work: Path, page: Callable[[str], Any]) -> None:
    table = page(PAGE).text.partition("## The run directory")[2].partition("##")[0]
    listed = re.findall(r"^\| `(.+?)` \|", table, re.M)
    run = work / "runs" / "mine"

    assert {path.name for path in run.iterdir()} == {name.partition("/")[0] for name in listed} - {"snapshots"}
    assert all(list(run.glob(name.replace("....", "*."))) for name in listed if name != "snapshots/")


def test_the_best_checkpoint_is_the_same_file(work: Path) -> None:
    (best,) = (work / "runs/mine/checkpoints").glob("epoch=*.ckpt")

    assert best.samefile(best.with_name("latest.ckpt"))


def test_it_is_read_without_dp_core(
    work: Path,
    page: Callable[[str], Any],
    payload: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (code,) = page(PAGE).blocks("python")
    monkeypatch.chdir(work)
    monkeypatch.setitem(sys.modules, "dp_core", None)  # importing it is an error
    read: dict[str, Any] = {}
    exec(code, read)
    printed = capsys.readouterr().out

    assert len(code.splitlines()) <= 10
    assert "after 1 epochs" in printed
    assert "dp-core/diffusion" in printed
    assert torch.load("weights.pt", weights_only=True).keys() == payload["state_dicts"]["model"].keys()
    assert read["raw_actions"].shape == (16, 2)
    # Zero in normalised units is the middle of what was demonstrated.
    stats = payload["state_dicts"]["model"]
    low, high = (stats[f"normalizer.params_dict.action.input_stats.{name}"] for name in ("min", "max"))
    torch.testing.assert_close(read["raw_actions"][0], (low + high) / 2, rtol=0, atol=1e-3)


def test_the_least_that_can_be_written_is_read(payload: dict[str, Any], tmp_path: Path) -> None:
    least = {"format": 1, "cfg": payload["cfg"], "state_dicts": {"model": payload["state_dicts"]["model"]}}
    write_payload(tmp_path / "least.ckpt", least)
    policy = load_policy(tmp_path / "least.ckpt")

    assert policy.predict_action({"obs": torch.zeros(1, 2, 20)})["action"].shape == (1, 8, 2)
