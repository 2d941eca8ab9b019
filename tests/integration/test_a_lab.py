"""A lab brings a modality, an encoder, data, a config and a command in one distribution; core knows none of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dp_core import load_policy
from dp_core.checkpoint import read_payload
from dp_core.cli.data import main as dp_data
from dp_core.cli.run import main as dp_run
from dp_core.testing.fakes import installed, write_distribution

PLUGIN = """
from pathlib import Path
from typing import ClassVar

import attrs
from dp_core import Component, hookimpl, option
from dp_replay.config import WindowOptions

DP_API = 1
DP_CONFIGS = "configs"


@attrs.frozen(kw_only=True)
class TaxelOptions:
    newton: float = option(0.01, help="force of one unit")

    def check(self, shape):
        if len(shape) != 2:
            yield "shape", f"expected [rows, columns], got {list(shape)}"


@attrs.frozen(kw_only=True)
class TouchOptions:
    takes: ClassVar[tuple[str, ...]] = ("taxels", "low_dim")


@attrs.frozen(kw_only=True)
class PressOptions(WindowOptions):
    folder: Path = option(help="of the recording")


@hookimpl
def dp_components():
    yield Component(
        kind="modality", name="taxels", target="dp_skin.parts:Taxels", config=TaxelOptions, summary="forces on a grid"
    )
    yield Component(
        kind="encoder", name="touch", target="dp_skin.parts:Touch", config=TouchOptions, summary="grids, flattened"
    )
    yield Component(
        kind="dataset", name="presses", target="dp_skin.parts:Presses", config=PressOptions,
        summary="presses of a finger", data_commands={"record": "dp_skin.record:main"},
    )
"""
PARTS = """
import numpy as np
import torch
from dp_core.errors import DataError
from dp_core.interfaces import BaseEncoder, BaseModality
from dp_core.normalizer import SingleFieldLinearNormalizer
from dp_replay.buffer import ReplayBuffer
from dp_replay.dataset import ReplayDataset


class Taxels(BaseModality):
    expected = "expected int16 units of force, not below 0"

    def stored(self, values, name, *, range_eps=1e-4):
        if values.dtype != np.int16 or values.shape[1:] != self.shape or values.min() < 0:
            raise DataError(f"{name} is {values.dtype} {values.shape[1:]}; {self.expected}, {self.shape}")
        return values

    def accepts(self, dtype):
        return dtype == torch.int16

    def limits(self, dtype):
        return 0, 32767

    def convert(self, values, dtype=torch.float32):
        return values.to(dtype) * self.config.newton

    def fit(self, values, *, range_eps=1e-4):
        return SingleFieldLinearNormalizer.create_fit(self.convert(values), last_n_dims=0, range_eps=range_eps)

    def sample(self, count, generator):
        return torch.randint(0, 900, (count, *self.shape), generator=generator, dtype=torch.int16)


class Touch(BaseEncoder):
    def __init__(self, config, *, shape_meta):
        super().__init__()
        self.keys, self.output_dim = list(shape_meta["obs"]), 4
        size = sum(int(np.prod(spec["shape"])) for spec in shape_meta["obs"].values())
        self.layer = torch.nn.Linear(size, self.output_dim)

    def forward(self, obs):
        return self.layer(torch.cat([obs[key].flatten(1) for key in self.keys], dim=1))


class Presses(ReplayDataset):
    def __init__(self, config, *, shape_meta):
        buffer = ReplayBuffer.load(config.folder / "presses.zarr")
        super().__init__(config, buffer, shape_meta=shape_meta, source=config.folder)
"""
RECORD = """
import argparse
from pathlib import Path

import numpy as np
from dp_replay.buffer import ReplayBuffer


def main(argv):
    parser = argparse.ArgumentParser(prog="dp-data record presses")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    draw, buffer = np.random.default_rng(0), ReplayBuffer()
    for _ in range(3):
        grids = draw.integers(0, 900, (25, 4, 3)).astype(np.int16)
        buffer.append({"skin": grids, "pose": draw.normal(size=(25, 2)), "action": draw.normal(size=(25, 2))})
    print(buffer.save(folder / "presses.zarr"))
    return 0
"""
CONFIG = """\
# Presses of a finger, learnt in seconds.
extends: [smoke]
runner: null
shape_meta:
  obs: {obs: null, skin: {shape: [4, 3], type: taxels, newton: 0.02, maker: us}, pose: {shape: [2]}}
  action: {shape: [2]}
dataset:
  name: presses
  folder: data
  horizon: ${horizon}
  n_obs_steps: ${n_obs_steps}
  n_action_steps: ${n_action_steps}
policy: {encoder: {name: touch}}
"""
FILES = {"plugin.py": PLUGIN, "parts.py": PARTS, "record.py": RECORD, "configs/press.yaml": CONFIG}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    write_distribution(tmp_path / "site-packages", "lab-skin", "0.3", {"skin": FILES})
    with installed(tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("lab")
def test_a_lab_trains_on_a_modality_of_its_own_by_the_name_of_its_config() -> None:
    assert dp_data(["record", "presses", "data"]) == 0
    assert dp_run(["lab-skin/press", "output_dir=run", "training.num_epochs=1", "training.max_train_steps=2"]) == 0

    payload = read_payload("run/checkpoints/latest.ckpt")
    key = "shape_meta.obs.skin.type"
    assert payload["cfg"]["shape_meta"]["obs"]["skin"] == {
        "shape": [4, 3], "type": "lab-skin/taxels", "newton": 0.02, "maker": "us",
    }  # fmt: skip
    assert payload["manifest"]["components"][key] == "lab-skin/taxels"
    policy = load_policy("run/checkpoints/latest.ckpt")
    assert policy.normalizer["skin"].scale.shape == (1,), "one scale for the whole grid"
    skin = np.full((1, 2, 4, 3), 450, np.int16)
    actions = policy.predict_action({"skin": skin, "pose": np.zeros((1, 2, 2))}, torch.Generator().manual_seed(0))
    assert actions["action"].shape == (1, 8, 2)
