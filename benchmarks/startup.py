"""How long a user waits before anything happens: whole processes, interpreter and imports included.

    python benchmarks/startup.py

The yardstick is `import torch`, which a program that imports all its parts at the start cannot be faster than. The last
two do what they are for as well: one step of training with its checkpoint, one episode of 16 steps.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common import Compared, Report, Table, compare, parse, take_turns
from dp_core.registry import Registry
from dp_core.testing.fakes import write_distribution

ROOT = Path(__file__).parents[1]
DP_RUN = ("-c", "import sys; from dp_core.cli.run import main; sys.exit(main(sys.argv[1:]))")
N_PACKAGES = 50
"""Plugin packages that are installed besides, for the lines that say so."""
QUICKSTART, SMOKE = (str(ROOT / "configs" / f"{name}.yaml") for name in ("quickstart", "smoke"))
MISTAKES = (
    "policy.encoder=lodim",
    "policy.denoiser.kernel_sise=3",
    "policy.horizon=15",
    "training.num_epochs=many",
    "dataset.val_ratio=2",
)
DP_EVAL = ("-c", "import sys; from dp_core.cli.eval import main; sys.exit(main(sys.argv[1:]))")
ONE_STEP = ("runner=null", "training.num_epochs=1", "training.max_train_steps=1", "training.max_val_steps=1")
YARDSTICK = "python -c 'import torch'"
COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "dp-run --list": (*DP_RUN, "--list"),
    "dp-run --describe encoder/timm": (*DP_RUN, "--describe", "encoder/timm"),
    "dp-run --check quickstart": (*DP_RUN, "--check", QUICKSTART),
    "dp-run with five mistakes": (*DP_RUN, QUICKSTART, *MISTAKES),
    YARDSTICK: ("-c", "import torch"),
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


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    settings = parse(__doc__ or "", argv, rounds=7)
    report = Report("start-up", settings)
    names = [YARDSTICK, "dp-run --list"] if settings.quick else list(COMMANDS)
    with tempfile.TemporaryDirectory() as folder:
        ways = {name: partial(_run, COMMANDS[name]) for name in names}
        if not settings.quick:
            run = Path(folder) / "run"
            _run((*DP_RUN, SMOKE, f"output_dir={run}"))
            ways["dp-run smoke, one step"] = partial(_train_one_step, Path(folder))
            evaluate = (
                *DP_EVAL,
                str(run / "checkpoints/latest.ckpt"),
                "--episodes",
                "1",
                "--output",
                str(run / "eval"),
            )
            ways["dp-eval, one episode"] = partial(_run, evaluate)
            for index in range(N_PACKAGES):
                _install(Path(folder), f"extra{index}")
            for name in ("dp-run --list", "dp-run --check quickstart"):
                ways[f"{name}, {N_PACKAGES} packages more"] = partial(_run, COMMANDS[name], folder)
        outputs = {name: way() for name, way in ways.items()}  # writes the .pyc files of what is new
        values = take_turns(ways, settings.rounds)
    report.add(Table("from the command to its end", YARDSTICK, values, "s", _compare(outputs)))
    report.finish()


def _compare(outputs: dict[str, str]) -> list[Compared]:
    """How many of the things that have to be reported are."""
    components = [component.name for component in Registry.discover().components()]
    expected = {"dp-run --list": components, "dp-run with five mistakes": [m.partition("=")[0] for m in MISTAKES]}
    return [
        compare(f"{command}: reports", len(names), sum(name in outputs[command] for name in names), 0)
        for command, names in expected.items()
        if command in outputs
    ]


def _install(folder: Path, name: str) -> None:
    files = {"plugin.py": PLUGIN.replace("PACKAGE", f"dp_{name}").replace("NAME", name), "config.py": CONFIG}
    write_distribution(folder, f"dp-{name}", plugins={name: files})


def _train_one_step(folder: Path) -> str:
    return _run((*DP_RUN, SMOKE, *ONE_STEP, f"output_dir={folder / uuid.uuid4().hex}"))


def _run(arguments: tuple[str, ...], path: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": path or os.environ.get("PYTHONPATH", "")}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, check=False, text=True, env=environment)
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
