"""How long training waits for a checkpoint: weights, average and optimizer of the paper's image policy, 4 GB.

    python benchmarks/checkpoint.py [--folder /mnt/disk]

"Plain" is `torch.save` of the same states, which does not wait until they are on the disk; ours does. The machine needs
13 GB of memory, and twice the file on the disk.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from common import Compared, Report, Settings, Table, compare, parse, take_turns
from dp_core.training.allocator import keep_freed_memory
from subjects import image_config, state_config

PLAIN, BLOCKING, HELD = "plain: torch.save", "ours, blocking", "ours, in the background: held"
_STATES = ("model", "ema_model", "optimizer")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    settings = parse(__doc__ or "", argv, rounds=3, add=_add_options)
    report = Report("checkpoint", settings)
    with tempfile.TemporaryDirectory(dir=settings.options.folder) as folder:
        report.add(_measure(Path(folder), settings))
    report.finish()


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's folder for temporary files")


def _measure(folder: Path, settings: Settings) -> Table:
    workspace = _workspace(folder, settings)

    def save_plainly() -> None:
        states = {name: getattr(workspace, name).state_dict() for name in _STATES}
        torch.save(states, folder / "plain.ckpt")

    ways: dict[str, Callable[[], object]] = {
        PLAIN: save_plainly,
        BLOCKING: lambda: workspace.save_checkpoint(use_thread=False),
        HELD: lambda: workspace.save_checkpoint(tag="background"),
    }
    for way in ways.values():
        way()
        workspace.close()
    compared = [_compare(name, workspace, tag) for name, tag in ((BLOCKING, "latest"), (HELD, "background"))]
    # Nothing is being written when a turn begins: checkpoints are epochs apart.
    values = take_turns(ways, settings.rounds, settings.device, before=lambda name: workspace.close())
    workspace.close()
    size = workspace.get_checkpoint_path().stat().st_size
    return Table(f"checkpoint of {size / 1e9:.2g} GB, the loop waits", BLOCKING, values, "s", compared)


def _workspace(folder: Path, settings: Settings) -> Any:
    """As after a step: the optimizer has its averages, and on a CPU the process keeps the memory that it frees."""
    config = state_config(quick=True) if settings.quick else image_config(quick=False)
    workspace = config.workspace.load()(config, folder)
    if settings.device.type == "cpu":
        keep_freed_memory()
    workspace.model.to(settings.device)
    workspace.ema_model.to(settings.device)
    for parameter in workspace.model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    workspace.optimizer.step()
    workspace.optimizer.zero_grad()
    return workspace


def _compare(name: str, workspace: Any, tag: str) -> Compared:
    """The weights in the file; the rest of it is not read."""
    path = workspace.get_checkpoint_path(tag)
    stored = torch.load(path, mmap=True, weights_only=True)["state_dicts"]["model"]
    weights = workspace.model.state_dict()
    differences = [(value.cpu() - stored[key]).abs().max() for key, value in weights.items() if value.numel()]
    return compare(f"{name}: stored weights", torch.zeros(1), torch.stack(differences), 0)


if __name__ == "__main__":
    main()
