"""Memory at its peak: a step of training, and sampling for one robot, each in a process of its own.

    python benchmarks/memory.py [--device cuda] [--batch-size 64]

On a CPU it is what the process has grown by since its imports, which Linux tells; on a GPU what torch has allocated.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import torch

from common import Compared, Report, Settings, Table, compare, parse
from dp_core.training.allocator import keep_freed_memory
from peers import ORIGINAL, has_original, original_average, original_policy
from plain import PlainPolicy, PlainTraining
from subjects import ACTION_RANGE, image_config, make_batch, make_obs, make_plain_batch, make_plain_obs, make_policy
from training_step import RECIPE, OurTraining

PLAIN, OURS, BFLOAT16 = "plain", "ours", "ours, bfloat16 weights"
_N_STEPS = 3
"""The optimizer's averages exist after the first; the second has everything."""
_TOLERANCE = 1e-3
_SAMPLER = ("policy.scheduler={name: ddim, num_inference_steps: 2}",)
_CLEAR, _CLEAR_PEAK = Path("/proc/self/clear_refs"), "5"
"""Linux: forget the highest memory use so far."""

Build = Callable[[str, bool, torch.device, int, str], Callable[[], float]]
"""``build(contender, quick, device, batch size, folder) -> work() -> result``"""


@attrs.frozen
class Peak:
    """What one process needed, and a result to compare."""

    bytes: float
    result: float


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table for each."""
    settings = parse(__doc__ or "", argv, rounds=1, add=_add_options)
    report = Report("memory", settings)
    batch_size = 2 if settings.quick else settings.options.batch_size
    names = [PLAIN, *([ORIGINAL] if has_original() else []), OURS]
    peaks = {name: _measure(_training, name, settings, batch_size) for name in names}
    report.add(_table(f"training step from images, batch {batch_size}", peaks))
    peaks = {name: _measure(_sampling, name, settings, 1) for name in (*names, BFLOAT16)}
    report.add(_table("predict_action from images, batch 1", peaks))
    report.finish()


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-size", type=int, default=64, help="of training; default 64")


def _table(title: str, peaks: Mapping[str, Peak]) -> Table:
    compared: list[Compared] = [
        compare(f"{title}: results, plain and {name}", peaks[PLAIN].result, peak.result, _TOLERANCE)
        for name, peak in peaks.items()
        if name not in (PLAIN, BFLOAT16)
    ]
    return Table(title, PLAIN, {name: [peak.bytes] for name, peak in peaks.items()}, "MB", compared)


def _measure(build: Build, name: str, settings: Settings, size: int) -> Peak:
    if settings.quick:  # a process of its own takes seconds to import everything
        return _peak(build, name, settings, size)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, build, name, attrs.evolve(settings, options=None), size).result()


def _peak(build: Build, name: str, settings: Settings, size: int) -> Peak:
    """Measure the second part of ``build``, which is the work; making weights takes more for a moment."""
    device = settings.device
    with tempfile.TemporaryDirectory() as folder:
        if not settings.quick:
            build(name, True, device, 1, folder)()  # imports, and what libraries do at first
        gc.collect()
        before = _resident("VmRSS")
        work = build(name, settings.quick, device, size, folder)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            result = work()
            return Peak(torch.cuda.max_memory_allocated(device), result)
        _CLEAR.write_text(_CLEAR_PEAK)
        result = work()
        # Not in a process of its own, there may be enough left from before.
        return Peak(max(_resident("VmHWM") - before, 1.0), result)


def _training(name: str, quick: bool, device: torch.device, batch_size: int, folder: str) -> Callable[[], float]:
    """Mean loss of the first steps."""
    config = image_config(quick, RECIPE)
    batch = (make_batch if name == OURS else make_plain_batch)(config, batch_size, device)
    contender: Any
    if name == OURS:
        contender = OurTraining(config, device, folder)
        if device.type == "cpu":
            keep_freed_memory()  # as a run does
    elif name == PLAIN:
        contender = PlainTraining(PlainPolicy(make_policy(config, device)), config, device)
    else:
        contender = PlainTraining(original_policy(make_policy(config, device)), config, device, original_average)

    def train() -> float:
        torch.manual_seed(0)
        return float(contender.steps([batch] * _N_STEPS))

    return train


def _sampling(name: str, quick: bool, device: torch.device, batch_size: int, folder: str) -> Callable[[], float]:
    """Mean of the actions, relative to their range."""
    config = image_config(quick, _SAMPLER)
    policy: Any = make_policy(config, device)
    obs = make_obs(config, device)
    if name in (OURS, BFLOAT16):
        policy.prepare_inference(obs, dtype=torch.bfloat16 if name == BFLOAT16 else torch.float32)
    else:
        obs = make_plain_obs(config, device)
        policy = PlainPolicy(policy) if name == PLAIN else original_policy(policy)
        policy.eval().requires_grad_(False)

    def act() -> float:
        torch.manual_seed(0)
        return float(policy.predict_action(obs)["action"].mean()) / ACTION_RANGE

    return act


def _resident(field: str) -> float:
    """Bytes: VmRSS now, VmHWM at the highest since it was cleared."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024.0 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field))


if __name__ == "__main__":
    main()
