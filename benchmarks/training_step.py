"""One step of training: batch to the device, loss, backward, optimizer, average, loss read.

    python benchmarks/training_step.py [--device cuda] [--batch-sizes 8 64] [ema.single_pass=false ...]

Needs about 6 GB of memory per contender: plain, ours, and other people's code where there is some, see `peers.py`. On a
GPU, bfloat16 and torch.compile are timed as well.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from common import Report, Settings, Table, compare, parse, take_turns
from dp_core.training.allocator import keep_freed_memory
from dp_core.training.compilation import compile_networks
from dp_core.training.interrupts import Interrupts
from dp_core.training.loop import train_epoch
from floor import Ceilings, count_flops, measure_ceilings, training_work
from peers import LEROBOT, ORIGINAL, has_lerobot, has_original, lerobot_policy, original_average, original_policy
from plain import PlainPolicy, PlainTraining
from subjects import image_config, make_batch, make_plain_batch, make_policy, state_config

PLAIN, OURS = "plain", "ours"
_ON_GPU = {
    "ours, bfloat16": ("training.precision=bfloat16",),
    "ours, bfloat16, compiled": ("training.precision=bfloat16", "training.compile=true"),
}
RECIPE = ("lr_schedule={name: constant_with_warmup, num_warmup_steps: 0}",)
"""The first steps of a run have a learning rate of 0 otherwise, and nothing of the optimizer would show."""
_COMPARED_STEPS = 3
_TOLERANCE = 1e-3
"""Of a loss near 1. AdamW divides each gradient by its own size, so that rounding decides about the smallest ones."""


class OurTraining:
    """Our workspace and our loop, on batches that are there already."""

    def __init__(self, config: Any, device: torch.device, folder: str) -> None:
        self.workspace = config.workspace.load()(config, folder)
        workspace = self.workspace
        weights = make_policy(config, device).state_dict()
        workspace.device = device
        for policy in (workspace.model.to(device), workspace.ema_model.to(device)):
            policy.load_state_dict(weights)
        if workspace.options.compile:
            compile_networks(workspace.model)
        workspace.lr_schedule = config.lr_schedule.build(optimizer=workspace.optimizer, num_training_steps=1)
        workspace.order = _NoOrder()

    def steps(self, batches: Sequence[Mapping[str, Any]]) -> float:
        """Train on each batch; return the mean loss."""
        workspace = self.workspace
        workspace.loader = batches
        train_epoch(workspace, Interrupts())
        loss: float = workspace.progress.mean_loss()
        workspace.progress.finish_epoch({})
        return loss


class _NoOrder:
    """Batches come as they are."""

    def set_position(self, epoch: int, *, windows: int = 0) -> None:
        """Nothing to do."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table per configuration."""
    settings = parse(__doc__ or "", argv, rounds=5, add=_add_options)
    report = Report("training step", settings)
    ceilings = measure_ceilings(settings)
    report.note("flops_per_second", ceilings.flops, f"ceilings: {ceilings}")
    for batch_size in [2] if settings.quick else settings.options.batch_sizes:
        report.add(_measure(f"images, batch {batch_size}", image_config, batch_size, settings, ceilings))
    batch_size = 4 if settings.quick else 256
    report.add(_measure(f"states, batch {batch_size}", state_config, batch_size, settings, ceilings))
    report.finish()


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[8, 64], help="of images; default 8 64")
    parser.add_argument("overrides", nargs="*", help="options of our runs, as for dp-run")


def _measure(
    title: str, make_config: Callable[..., Any], batch_size: int, settings: Settings, ceilings: Ceilings
) -> Table:
    gc.collect()  # what the table before has left
    device = settings.device
    n_steps = 10 if device.type == "cuda" and not settings.quick else 1
    config = make_config(settings.quick, [*RECIPE, *settings.options.overrides])
    batch = make_batch(config, batch_size, device)
    plain_batch = make_plain_batch(config, batch_size, device)
    with tempfile.TemporaryDirectory() as folder:
        contenders: dict[str, Any] = {PLAIN: _plain(config, device), **_peers(config, device)}
        contenders[OURS] = OurTraining(config, device, folder)
        if device.type == "cuda":
            for name, options in _ON_GPU.items():
                overrides = [*RECIPE, *settings.options.overrides, *options]
                contenders[name] = OurTraining(make_config(settings.quick, overrides), device, folder)
        batches = {name: batch if name.startswith(OURS) else plain_batch for name in contenders}
        losses = {name: _losses(contender, batches[name]) for name, contender in contenders.items()}
        exact = [name for name in (ORIGINAL, OURS) if name in contenders]
        compared = [compare(f"{title}: losses, plain and {n}", losses[PLAIN], losses[n], _TOLERANCE) for n in exact]
        ways = {
            name: lambda contender=contender, batch=batches[name]: contender.steps([batch] * n_steps)
            for name, contender in contenders.items()
        }

        def prepare(name: str) -> None:
            """Our runs on a CPU keep the memory that they free; one step, and it is there."""
            if device.type == "cpu":
                keep_freed_memory(name.startswith(OURS))
                if name.startswith(OURS):
                    ways[name]()

        values = take_turns(ways, settings.rounds, device, prepare, n_steps)
        if device.type == "cpu":
            keep_freed_memory(False)
        policy = contenders[PLAIN].policy
        on_device = {"obs": {k: v.to(device) for k, v in plain_batch["obs"].items()}}
        on_device["action"] = plain_batch["action"].to(device)
        flops = count_flops(lambda: policy.compute_loss(on_device).backward())
    floor = ceilings.seconds(*training_work(policy, flops))
    floors = {name: floor for name in contenders if "bfloat16" not in name}
    return Table(f"training step, {title}", PLAIN, values, "s", compared, floors, items=batch_size)


def _plain(config: Any, device: torch.device) -> PlainTraining:
    return PlainTraining(PlainPolicy(make_policy(config, device)), config, device)


def _peers(config: Any, device: torch.device) -> dict[str, PlainTraining]:
    peers = {}
    if has_original():
        policy = original_policy(make_policy(config, device))
        peers[ORIGINAL] = PlainTraining(policy, config, device, original_average)
    if has_lerobot() and "image" in config.shape_meta["obs"]:
        peers[LEROBOT] = PlainTraining(lerobot_policy(make_policy(config, device)), config, device)
    return peers


def _losses(contender: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Compute the losses of the first steps, with the same noise for all contenders."""
    losses = []
    for step in range(_COMPARED_STEPS):
        torch.manual_seed(step)
        losses.append(contender.steps([batch]))
    return torch.tensor(losses)


if __name__ == "__main__":
    main()
