"""``dp-data download blockpush``: get the published demonstrations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dp_blockpush.download import ADDRESS, download
from dp_core.kit.files.command import add_archive_options, download_parser, run_download


def main(argv: Sequence[str]) -> int:
    """Download what is not there already; return the exit status."""
    parser = download_parser(
        "blockpush",
        "Get the demonstrations of block pushing that the diffusion policy paper was trained on. An interrupted "
        "download continues where it was.",
    )
    parser.add_argument(
        "--abs-action",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="actions are positions; or steps, as blockpush_lowdim_unet and its like use",
    )
    add_archive_options(parser, "the folder block_pushing", ADDRESS)
    return run_download(parser, argv, download)
