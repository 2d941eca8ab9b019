"""``dp-data download kitchen``: get the published demonstrations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dp_core.kit.files.command import OUTPUT
from dp_kitchen.download import ADDRESS, download


def main(argv: Sequence[str]) -> int:
    """Download what is not there already; returns the exit status."""
    for line in download(**vars(_parse(argv))):
        print(line)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dp-data download kitchen",
        description="Get the demonstrations of the Franka kitchen that the diffusion policy paper was trained on, and "
        "the starts of the training episodes. An interrupted download goes on where it was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--abs-action",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="logs with joint positions, as kitchen_lowdim_unet and its like use; or arrays with joint velocities",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder that the folder kitchen is in, or will be")
    parser.add_argument(
        "--source", default=ADDRESS, help="address of the archive, or an archive that was downloaded elsewhere"
    )
    return parser.parse_args(argv)
