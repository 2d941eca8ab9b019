"""What tests of several plugins share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dp_core.registry import Registry
from dp_core.run_config import load_config

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.yaml"


@pytest.fixture(scope="session")
def registry() -> Registry:
    """What is installed here."""
    return Registry.discover()


@pytest.fixture(scope="session")
def tensors():
    """``tensors(file, prefix)``: the tensors of a golden file whose names start with ``prefix``, without it."""

    def read(file, prefix):
        names = [name for name in file.files if name.startswith(prefix)]
        return {name.removeprefix(prefix): torch.from_numpy(file[name]) for name in names}

    return read


@pytest.fixture
def trained_with(registry, tmp_path):
    """``trained_with(denoiser)``: the workspace of a run of three training steps with this block of a denoiser."""

    def train(denoiser):
        overrides = [f"policy.denoiser={denoiser}", "training.num_epochs=1", "lr_schedule=constant"]
        without_environment = ["runner=null", "callbacks.topk=null", "callbacks.progress=null"]
        cfg = load_config(registry, SMOKE, [*overrides, *without_environment])
        workspace = cfg.workspace.load()(cfg, tmp_path)
        workspace.run()
        return workspace

    return train
