"""Runs every benchmark, one after another, each in a process of its own.

    python benchmarks/all.py --json results.json [--device cuda] [--threads 2] [--quick]

Options are handed on. What a benchmark is about to measure is found in its own file. Takes an hour on a small machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import parse

FOLDER = Path(__file__).parent
BENCHMARKS = (
    "startup",
    "data",
    "ema_optimizer",
    "sampling",
    "training_step",
    "rollouts",
    "checkpoint",
    "memory",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all, continue if one fails, and write what there is; return 1 if one failed."""
    settings = parse(__doc__ or "", argv, rounds=0)
    options = ["--device", str(settings.device)]
    options += ["--quick"] if settings.quick else []
    options += ["--threads", str(settings.options.threads)] if settings.options.threads else []
    options += ["--rounds", str(settings.rounds)] if settings.rounds and not settings.quick else []
    results, failed = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in BENCHMARKS:
            path = Path(folder, f"{name}.json")
            command = [sys.executable, str(FOLDER / f"{name}.py"), *options, "--json", str(path)]
            if subprocess.run(command, check=False).returncode == 0:
                results[name] = json.loads(path.read_text(encoding="utf-8"))
            else:
                failed.append(name)
    if settings.json is not None:
        settings.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
