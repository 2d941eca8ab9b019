"""How long a user waits before anything happens: `python benchmarks/startup.py`.

Whole processes, so interpreter and imports are included; median of several runs, beside `python -c pass`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dp_core.testing.fakes import write_distribution

ROOT = Path(__file__).parents[1]
RUNS = 7
DP_RUN = ("-c", "import sys; from dp_core.cli.run import main; sys.exit(main(sys.argv[1:]))")
N_PACKAGES = 50
"""Plugin packages that are installed besides, for the lines that say so."""
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
PLUGIN = """
from dp_core import Component, hookimpl
from PACKAGE.config import Options

DP_API = 1

@hookimpl
def dp_components():
    for kind in ("encoder", "denoiser", "callback"):
        yield Component(kind=kind, name="NAME", target="PACKAGE.net:Net", config=Options, summary="does nothing")
"""
CONFIG = """
import attrs
from dp_core import option

@attrs.frozen(kw_only=True)
class Options:
    width: int = option(64, help="of a layer")
    depth: int = option(2, help="layers")
"""


def main() -> None:
    """Print a table."""
    print(f"{'command':42} {'seconds':>8}   (median of {RUNS})")
    for name, arguments in COMMANDS.items():
        _report(name, arguments)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(N_PACKAGES):
            _install(Path(folder), f"extra{index}")
        _report(f"dp-run --list, {N_PACKAGES} packages more", COMMANDS["dp-run --list"], folder)
        _report(f"dp-run --check, {N_PACKAGES} packages more", COMMANDS["dp-run --check quickstart"], folder)


def _install(folder: Path, name: str) -> None:
    files = {"plugin.py": PLUGIN.replace("PACKAGE", f"dp_{name}").replace("NAME", name), "config.py": CONFIG}
    write_distribution(folder, f"dp-{name}", plugins={name: files})


def _report(name: str, arguments: tuple[str, ...], path: str = "") -> None:
    _seconds(arguments, path)  # writes the .pyc files of what is new
    print(f"{name:42} {statistics.median(_seconds(arguments, path) for _ in range(RUNS)):8.2f}")


def _seconds(arguments: tuple[str, ...], path: str) -> float:
    begin = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False, env=environment)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
