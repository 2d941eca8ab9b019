"""``dp-data download blockpush``: get the published demonstrations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dp_blockpush.download import ADDRESS, download
from dp_core.kit.files.command import OUTPUT


def main(argv: Sequence[str]) -> int:
    """Download what is not there already; returns the exit status."""
    for line in download(**vars(_parse(argv))):
        print(line)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dp-data download blockpush",
        description="Get the demonstrations of block pushing that the diffusion policy paper was trained on. An "
        "interrupted download goes on where it was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--abs-action",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="actions are positions; or steps, as blockpush_lowdim_unet and its like use",
    )
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="folder that the folder block_pushing is in, or will be"
    )
    parser.add_argument(
        "--source", default=ADDRESS, help="address of the archive, or an archive that was downloaded elsewhere"
    )
    return parser.parse_args(argv)
