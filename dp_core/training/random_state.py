"""`RandomState`: the global random generators of a process as something that a checkpoint can hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch with any whole number."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed % 2**63)


class RandomState:
    """Captures the global generators with `state_dict` and puts them back with `load_state_dict`."""

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all global generators, as plain containers and tensors only."""
        _, keys, position, has_gauss, cached = np.random.get_state()
        python_version, python_state, python_gauss = random.getstate()
        return {
            **self.noise_state(),
            "numpy": [
                torch.from_numpy(np.asarray(keys).astype(np.int64)),
                int(position),
                int(has_gauss),
                float(cached),
            ],
            "python": [python_version, list(python_state), python_gauss],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned; that of GPUs only if their number is the same."""
        self.load_noise_state(state)
        keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
        python_version, python_state, python_gauss = state["python"]
        random.setstate((python_version, tuple(python_state), python_gauss))

    def noise_state(self) -> dict[str, Any]:
        """Return torch's part of `state_dict`, all that a training step draws from: takes microseconds."""
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_noise_state(self, state: dict[str, Any]) -> None:
        """Continue exactly where `noise_state` was taken. Devices that are not here are left out."""
        torch.set_rng_state(state["torch"].cpu())
        if len(state["cuda"]) == torch.cuda.device_count() and state["cuda"]:
            torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])
