"""How long a user waits before anything happens: `python benchmarks/startup.py`.

Whole processes, so interpreter and imports are included; median of several runs, beside `python -c pass`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 7
DP_RUN = ("-c", "import sys; from dp_core.cli.run import main; sys.exit(main(sys.argv[1:]))")
QUICKSTART = str(ROOT / "configs" / "quickstart.yaml")
MISTAKES = (
    "policy.encoder=lodim",
    "policy.denoiser.kernel_sise=3",
    "policy.horizon=15",
    "training.num_epochs=many",
    "dataset.val_ratio=2",
)
COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "dp-run --list": (*DP_RUN, "--list"),
    "dp-run --describe encoder/timm": (*DP_RUN, "--describe", "encoder/timm"),
    "dp-run --check quickstart": (*DP_RUN, "--check", QUICKSTART),
    "dp-run with five mistakes": (*DP_RUN, QUICKSTART, *MISTAKES),
    "python -c 'import torch'": ("-c", "import torch"),
}


def main() -> None:
    """Print a table."""
    print(f"{'command':34} {'seconds':>8}   (median of {RUNS})")
    for name, arguments in COMMANDS.items():
        print(f"{name:34} {statistics.median(_seconds(arguments) for _ in range(RUNS)):8.2f}")


def _seconds(arguments: tuple[str, ...]) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
