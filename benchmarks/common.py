"""What the benchmarks share: turns, tables, comparisons, facts about the machine.

The contenders of a table take turns in every round, so that whatever else the machine does hits all of them alike; a
ratio is the median of the ratios of the rounds. Before anything is timed, the contenders' results are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

UNITS = {"s": 1.0, "ms": 1e3, "MB": 1e-6}
"""The factors by which values in seconds, or bytes, are multiplied to be shown."""


@attrs.frozen
class Settings:
    """The options of the command line."""

    device: torch.device
    rounds: int
    quick: bool
    """Whether to use tiny sizes and a single round: does it run? The numbers mean nothing."""
    json: Path | None
    options: Any
    """The options that a benchmark adds of its own."""


@attrs.frozen
class Compared:
    """Two contenders' results, and how far apart they are allowed to be."""

    what: str
    difference: float
    tolerance: float


@attrs.frozen
class Table:
    """The times or sizes of contenders, one value per round each. Ratios are those of the yardstick to each of them."""

    title: str
    yardstick: str
    values: Mapping[str, Sequence[float]]
    """The values by contender, in seconds or bytes."""
    unit: str = "s"
    compared: Sequence[Compared] = ()
    floors: Mapping[str, float] = attrs.field(factory=dict)
    """The values that no program could go below on this machine, by contender."""
    items: int = 0
    """The number of samples that each value is for; 0 where that makes no sense."""

    def median(self, name: str) -> float:
        """Return the median of a contender."""
        return statistics.median(self.values[name])

    def ratio(self, name: str) -> float:
        """Return how many times faster, or smaller, than the yardstick a contender is."""
        pairs = zip(self.values[self.yardstick], self.values[name], strict=True)
        return statistics.median(yardstick / value for yardstick, value in pairs)

    def lines(self) -> list[str]:
        """Write the table as lines of text."""
        width = max(len(name) for name in self.values) + 2
        heads = [f"{self.unit:>10}", f"{'ratio':>8}"]
        heads += [f"{'x floor':>9}"] if self.floors else []
        heads += [f"{'samples/s':>11}"] if self.items else []
        lines = [self.title, " " * width + "".join(heads)]
        for name in self.values:
            cells = [f"{self.median(name) * UNITS[self.unit]:10.4g}", f"{self.ratio(name):8.2f}"]
            if self.floors:
                cells.append(f"{self.median(name) / self.floors[name]:9.2f}" if name in self.floors else " " * 9)
            if self.items:
                cells.append(f"{self.items / self.median(name):11.1f}")
            lines.append(f"{name:{width}}{''.join(cells)}")
        lines += [f"  {c.what}: differ by {c.difference:.2g}, allowed {c.tolerance:.2g}" for c in self.compared]
        return lines

    def plain(self) -> dict[str, Any]:
        """Return the table as plain values, for JSON."""
        rows = {
            name: {"median": self.median(name), "ratio": self.ratio(name), "values": list(self.values[name])}
            | ({"floor": self.floors[name]} if name in self.floors else {})
            | ({"samples_per_second": self.items / self.median(name)} if self.items else {})
            for name in self.values
        }
        return {
            "title": self.title,
            "unit": "bytes" if self.unit == "MB" else "s",
            "yardstick": self.yardstick,
            "rows": rows,
            "compared": [attrs.asdict(compared) for compared in self.compared],
        }


class Report:
    """Prints tables as they come, and writes all of them to a file at the end."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._settings = settings
        self._result: dict[str, Any] = {
            "benchmark": name,
            "machine": machine(settings.device),
            "quick": settings.quick,
            "tables": [],
            "facts": {},
        }
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in self._result['machine'].items())}\n")

    def add(self, table: Table) -> None:
        """Print a table and keep it."""
        print("\n".join(table.lines()), end="\n\n", flush=True)
        self._result["tables"].append(table.plain())

    def note(self, name: str, value: float, text: str) -> None:
        """Print a number that belongs to no table, and keep it."""
        print(text, end="\n\n", flush=True)
        self.keep(name, value)

    def keep(self, name: str, value: float) -> None:
        """Keep a number that is printed elsewhere."""
        self._result["facts"][name] = value

    def finish(self) -> None:
        """Write the file if one was asked for."""
        if self._settings.json is not None:
            self._settings.json.write_text(json.dumps(self._result, indent=1), encoding="utf-8")


def parse(
    description: str,
    argv: Sequence[str] | None,
    rounds: int,
    add: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> Settings:
    """Read the options that all benchmarks have, and those that ``add`` adds.

    Args:
        argv: without the program's name; None for the command line.
        rounds: how many, unless the user says; 0 where that is decided elsewhere.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    parser.add_argument("--threads", type=int, help="of torch on the CPU; default: torch's own choice")
    default = str(rounds) if rounds else "that of each benchmark"
    parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each contender; default {default}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: does it run?")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    add(parser)
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    return Settings(
        device=torch.device(options.device),
        rounds=1 if options.quick else options.rounds,
        quick=options.quick,
        json=options.json,
        options=options,
    )


def take_turns(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device | None = None,
    before: Callable[[str], object] = lambda name: None,
    per: int = 1,
) -> dict[str, list[float]]:
    """Measure the seconds of every call, by way; every round begins with another one.

    Call each once before, for caches and compilers.

    Args:
        device: which has to be done with its work for a call to be over.
        before: called with the name before each call, not timed.
        per: pieces of work in a call; what is returned is the time of one.
    """
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            before(name)
            wait_for(device)
            start = time.perf_counter()
            ways[name]()
            wait_for(device)
            seconds[name].append((time.perf_counter() - start) / per)
    return seconds


def wait_for(device: torch.device | None) -> None:
    """Wait until a GPU is done; return at once for a CPU."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(what: str, expected: Tensor | float, found: Tensor | float, tolerance: float) -> Compared:
    """Measure the largest difference of two results, and end the program if it is too large to time anything.

    Args:
        tolerance: absolute; scale the values if that suits better.
    """
    expected, found = (torch.as_tensor(value).detach().double().cpu() for value in (expected, found))
    difference = float((expected - found).abs().max())
    if not difference <= tolerance:
        raise SystemExit(f"{what}: results differ by {difference:.3g}, {tolerance:.3g} is allowed; nothing was timed")
    return Compared(what, difference, tolerance)


def machine(device: torch.device) -> dict[str, Any]:
    """Collect what the numbers depend on."""
    facts = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
