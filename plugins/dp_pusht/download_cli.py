"""``dp-data download pusht``: get the published human demonstrations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dp_pusht.download import ADDRESS, N_EPISODES, N_STEPS, check_archive, download


def main(argv: Sequence[str]) -> int:
    """Download unless it is there already; returns the exit status."""
    arguments = _parse(argv)
    output: Path = arguments.output
    if output.exists():
        check_archive(output)
        print(f"{output}: is there already, and complete")
        return 0
    download(arguments.source, output)
    megabytes = output.stat().st_size / 1e6
    print(f"{output}: {N_EPISODES} episodes, {N_STEPS} steps, {megabytes:.0f} MB; use it with dataset.path={output}")
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dp-data download pusht",
        description="Get the published human demonstrations of Push-T (206 episodes, 31 MB, MIT licence, Columbia "
        "Artificial Intelligence and Robotics Lab).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=Path("data/pusht.zip"), help="file to write")
    parser.add_argument("--source", default=ADDRESS, help="address, or a file that was downloaded elsewhere")
    return parser.parse_args(argv)
