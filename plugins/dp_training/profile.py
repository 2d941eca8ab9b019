"""`profiled`: what a run with ``profile: true`` leaves: where its time went, in plain words, and a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dp_core.profiling import Profiler
from dp_training.config import TrainConfig

if TYPE_CHECKING:
    from dp_training.workspace import TrainWorkspace

PROFILE_FILE = "profile.txt"
TRACE_FILE = "trace.json"

_STEP = ("data", "loss", "backward", "optimizer", "EMA", "log")
_WORDS = {
    "setup": "data set, environments, first copy to the device",
    "data": "waiting for batches; copying them to the device",
    "loss": "the networks, forward",
    "encode": "observations to features",
    "denoise": "the network that predicts",
    "backward": "gradients",
    "optimizer": "new weights",
    "EMA": "moving average of the weights",
    "log": "callbacks",
    "rollouts": "episodes, their videos and callbacks",
    "validation": "loss on held-out windows",
    "sampling": "actions for a training batch",
    "checkpoint": "copying the state; waiting for files",
    "profiling": "the trace; not in other runs",
}
_OTHER = "everything else"
_WORTH_SAYING = {
    "data": 0.2, "optimizer": 0.25, "EMA": 0.1, "log": 0.1,
    "rollouts": 0.3, "validation": 0.2, "sampling": 0.1, "checkpoint": 0.1,
}  # fmt: skip
"""Shares of the run from which an option may be worth a try."""


@contextlib.contextmanager
def profiled(workspace: TrainWorkspace) -> Iterator[None]:
    """Measure what is done inside, and write it down however that ends. A resumed run's profile is of what it added."""
    folder = workspace.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    profiler = Profiler(folder / TRACE_FILE)
    try:
        with profiler:
            yield
    finally:
        path = folder / PROFILE_FILE
        if profiler.n_steps or not path.exists():  # a finished run that is resumed has nothing to tell
            path.write_text(report(profiler, workspace.cfg), encoding="utf-8")


def report(profile: Profiler, cfg: TrainConfig) -> str:
    """Write a table of all sections, whose shares add up to the whole run, and what to make of it."""
    steps = f"{profile.n_steps} training step" + ("" if profile.n_steps == 1 else "s")
    lines = [f"Where the time went: {steps} in {profile.seconds:.2f} s on {profile.device or cfg.training.device}."]
    if profile.n_steps:
        per_step = sum(profile.times[name,].seconds for name in _STEP if (name,) in profile.times) / profile.n_steps
        lines.append(f"A step takes {1000 * per_step:.1f} ms on average, from its data to its log.")
    lines += ["", f"{'':22}{'seconds':>9}{'share':>9}{'times':>8}"]
    lines += _rows(profile)
    lines.append(_row(_OTHER, profile.own_seconds(), profile.seconds))
    lines += [_row("all", profile.seconds, profile.seconds), ""]
    lines += _advice(profile, cfg)
    trace = f"{TRACE_FILE} shows a few steps in detail; open it at https://ui.perfetto.dev."
    lines.append(trace if profile.is_traced else "There is no trace: it would have begun after three steps.")
    return "\n".join(lines) + "\n"


def _rows(profile: Profiler, *path: str) -> Iterator[str]:
    """Sections inside ``path``, each with those inside it below it."""
    for key, time in profile.times.items():
        if key[:-1] == path:
            name = f"{'  ' * len(path)}{key[-1]}"
            yield _row(name, time.seconds, profile.seconds, str(time.count), _WORDS.get(key[-1], ""))
            yield from _rows(profile, *key)


def _row(name: str, seconds: float, whole: float, count: str = "", words: str = "") -> str:
    return f"{name:22}{seconds:9.2f}{seconds / whole:9.1%}{count:>8}   {words}".rstrip()


def _advice(profile: Profiler, cfg: TrainConfig) -> Iterator[str]:
    shares = {key[0]: time.seconds / profile.seconds for key, time in profile.times.items() if len(key) == 1}
    shares["networks"] = shares.pop("loss", 0.0) + shares.pop("backward", 0.0)
    shares[_OTHER] = profile.own_seconds() / profile.seconds
    most = max(shares, key=shares.__getitem__)
    what = "the networks, forward and backward" if most == "networks" else f"'{most}'"
    yield f"Most of it, {shares[most]:.0%}, is {what}.{_option(most, profile, cfg)}"
    for name, share in shares.items():
        if name != most and share >= _WORTH_SAYING.get(name, 1) and (option := _option(name, profile, cfg)):
            yield f"'{name}' is {share:.0%}.{option}"


def _option(name: str, profile: Profiler, cfg: TrainConfig) -> str:
    """What could make a section smaller, as a sentence to be appended; empty if nothing is known."""
    if name == "networks":
        if profile.device is None or profile.device.type == "cpu":
            return " A GPU is what helps; or a smaller network, or smaller images."
        tried = cfg.training.precision == "bfloat16" and cfg.training.compile
        faster = " training.precision=bfloat16 and training.compile=true may be faster; compare the losses."
        return "" if tried else faster
    if name == "data":
        return f" More processes load faster: dataloader.num_workers={max(4, 2 * cfg.dataloader.num_workers)}."
    if name == "EMA" and (cfg.ema is None or cfg.ema.single_pass):
        return ""
    return {
        "setup": " It is done once: in a longer run it counts for less.",
        "optimizer": " There is one update per batch: a larger dataloader.batch_size needs fewer.",
        "EMA": " ema.single_pass=true is faster; the last digits differ.",
        "log": " It is a callback: leave one out, callbacks.NAME=null, to see which.",
        "rollouts": " training.rollout_every makes them less often, runner.n_test shorter.",
        "validation": " training.val_every makes it less often, training.max_val_steps smaller.",
        "sampling": " training.sample_every makes it less often, training.sample_batch_size smaller.",
        "checkpoint": " training.checkpoint_every makes it less often.",
    }.get(name, "")
