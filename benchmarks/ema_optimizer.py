"""What follows the gradient: one step of AdamW, and of the exponential moving average, over the paper's image policy.

    python benchmarks/ema_optimizer.py [--device cuda]

Needs 10 GB of memory, 4 GB more with the original.
"""

from __future__ import annotations

import copy
import gc
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Self

import attrs
import torch
from torch import nn

from common import Compared, Report, Settings, Table, compare, parse, take_turns, wait_for
from dp_core.training.allocator import keep_freed_memory
from dp_core.training.ema import EMAModel
from dp_optim.config import AdamWConfig
from dp_optim.optimizers import adamw
from floor import Ceilings, measure_ceilings, training_work
from peers import ORIGINAL, has_original, original_average
from plain import PlainAverage
from subjects import image_config, make_policy

_COMPARED_STEPS = 3
_TOLERANCE = 1e-6
_TOLERANCE_ADAMW = 1e-5
"""A tenth of what a step changes: lr is 1e-4."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table for each."""
    settings = parse(__doc__ or "", argv, rounds=15)
    report = Report("EMA and optimizer", settings)
    ceilings = measure_ceilings(settings)
    report.note("bytes_per_second", ceilings.updated, f"ceilings: {ceilings}")
    policy = make_policy(image_config(settings.quick), settings.device)
    report.add(_measure_ema(policy, settings, ceilings))
    gc.collect()
    report.add(_measure_adamw(policy, settings, ceilings))
    report.finish()


def _measure_ema(policy: nn.Module, settings: Settings, ceilings: Ceilings) -> Table:
    averages = {name: copy.deepcopy(policy) for name in ("plain", "ours", "ours, two passes")}
    steps: dict[str, Callable[[nn.Module], object]] = {
        "plain": PlainAverage(averages["plain"]),
        "ours": EMAModel(averages["ours"], power=0.75, single_pass=True).step,
        "ours, two passes": EMAModel(averages["ours, two passes"], power=0.75).step,
    }
    if has_original():
        averages[ORIGINAL] = copy.deepcopy(policy)
        steps[ORIGINAL] = original_average(averages[ORIGINAL])
    for step in range(_COMPARED_STEPS):
        _move(policy, step)
        for average in steps.values():
            average(policy)
    compared = _compare("average", averages, _TOLERANCE)
    ways = {name: lambda average=average: average(policy) for name, average in steps.items()}
    floors = dict.fromkeys(ways, ceilings.seconds(training_work(policy, 0)[2]))
    values = take_turns(ways, settings.rounds, settings.device)
    return Table("one step of the average", "plain", values, "ms", compared, floors)


def _measure_adamw(policy: nn.Module, settings: Settings, ceilings: Ceilings) -> Table:
    policies = {"plain": policy, "ours": copy.deepcopy(policy)}
    config = AdamWConfig()
    options = attrs.asdict(config, filter=attrs.filters.exclude("encoder_weight_decay", "fused"))
    optimizers: dict[str, torch.optim.Optimizer] = {
        "plain": torch.optim.AdamW(policies["plain"].parameters(), **options),
        "ours": adamw(config, policy=policies["ours"]),
    }
    for step in range(_COMPARED_STEPS):
        for name, optimizer in optimizers.items():
            _draw_gradients(policies[name], step)
            optimizer.step()
    compared = _compare("weights", policies, _TOLERANCE_ADAMW)
    floors = dict.fromkeys(optimizers, ceilings.seconds(training_work(policy, 0)[1]))
    del policies, optimizers
    gc.collect()
    with ExitStack() as stack:
        contenders = {name: stack.enter_context(_Process(name, settings)) for name in floors}
        ways = {name: contender.turn for name, contender in contenders.items()}
        values = take_turns(ways, settings.rounds, settings.device, lambda name: contenders[name].turn())
    return Table("one step of AdamW", "plain", values, "ms", compared, floors)


class _Process:
    """AdamW in a process of its own: how it handles memory, as a run does, must not be seen by the other."""

    def __init__(self, name: str, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, name, settings.quick, settings.device, torch.get_num_threads())
        self._process = context.Process(target=_serve, args=arguments, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        for _ in range(4):  # gradients and an update, twice: what is allocated at first is there
            self.turn()
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe.send(False)
        self._process.join()

    def turn(self) -> None:
        """New gradients and an update, by turns."""
        self._pipe.send(True)
        self._pipe.recv()


def _serve(pipe: Connection, name: str, quick: bool, device: torch.device, n_threads: int) -> None:
    torch.set_num_threads(n_threads)
    policy = make_policy(image_config(quick), device)
    config = AdamWConfig()
    if name == "ours":
        if device.type == "cpu":
            keep_freed_memory()
        optimizer = adamw(config, policy=policy)
    else:
        options = attrs.asdict(config, filter=attrs.filters.exclude("encoder_weight_decay", "fused"))
        optimizer = torch.optim.AdamW(policy.parameters(), **options)
    has_gradients = False
    while pipe.recv():
        if has_gradients:
            optimizer.step()
            optimizer.zero_grad()
        else:
            for parameter in policy.parameters():
                parameter.grad = torch.full_like(parameter, 1e-3)
        has_gradients = not has_gradients
        wait_for(device)
        pipe.send(None)


def _move(policy: nn.Module, seed: int) -> None:
    """As training would: all weights change a little."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=1e-3)


def _draw_gradients(policy: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in policy.parameters():
        parameter.grad = torch.randn_like(parameter)


def _compare(what: str, policies: Mapping[str, nn.Module], tolerance: float) -> list[Compared]:
    """Parameters after a few steps; the largest difference of all."""
    expected = list(policies["plain"].parameters())
    compared = []
    for name, policy in policies.items():
        if name != "plain":
            pairs = zip(expected, policy.parameters(), strict=True)
            differences = torch.stack([(ours - theirs).abs().max() for ours, theirs in pairs])
            compared.append(compare(f"{what}, plain and {name}", torch.zeros(1), differences, tolerance))
    return compared


if __name__ == "__main__":
    main()
