"""A workspace without data: its network, its optimizer and what it counts are what a checkpoint has to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from dp_toys.config import NetOptions, NoteOptions, ToyConfig
from torch import Tensor, nn

from dp_core import hookimpl
from dp_core.interfaces import BaseCallback
from dp_core.workspace import BaseWorkspace


class Net(nn.Module):
    def __init__(self, config: NetOptions, *, shape_meta: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.shape_meta = shape_meta
        self.layer = nn.Linear(config.size, 1)


class Counter:
    """Something with a state that is no module."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


class ToyWorkspace(BaseWorkspace):
    include_keys = ("best",)
    exclude_keys = ("scratch",)

    def __init__(self, cfg: ToyConfig, output_dir: str | Path | None = None) -> None:
        super().__init__(cfg, output_dir)
        self.model = cfg.policy.build()
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.counter = Counter()
        self.scratch = Counter()
        self.absent: Counter | None = None
        self.best = [0.5]

    def train_step(self) -> Tensor:
        loss = self.model.layer(torch.ones(self.model.layer.in_features)).square().sum()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.counter.count += 1
        return loss

    def loop(self) -> None:
        self.attach("late", Counter())
        self.train_step()
        self.save_checkpoint(include_keys=())


class Note(BaseCallback):
    def __init__(self, config: NoteOptions) -> None:
        self.text = config.text
        self.notes: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        return {"notes": self.notes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.notes = list(state["notes"])

    @hookimpl
    def dp_before_checkpoint_save(self, payload: dict[str, Any], metrics: dict[str, Any]) -> None:
        self.notes.append(f"{self.text}before {sorted(payload['state_dicts'])} {metrics}")

    @hookimpl
    def dp_after_checkpoint_save(self, path: Path) -> None:
        self.notes.append(f"{self.text}after {path.name} {path.is_file()}")

    @hookimpl
    def dp_after_checkpoint_load(self) -> None:
        self.notes.append(f"{self.text}loaded")

    @hookimpl
    def dp_on_run_error(self, error: BaseException) -> None:
        self.notes.append(f"{self.text}error {error!r}")

    @hookimpl
    def dp_after_run(self) -> None:
        self.notes.append(f"{self.text}done")
