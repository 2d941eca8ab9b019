"""``dp-data download kitchen``: get the published demonstrations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dp_core.kit.files.command import add_archive_options, download_parser, run_download
from dp_kitchen.download import ADDRESS, download


def main(argv: Sequence[str]) -> int:
    """Download what is not there already; return the exit status."""
    parser = download_parser(
        "kitchen",
        "Get the demonstrations of the Franka kitchen that the diffusion policy paper was trained on, and the starts "
        "of the training episodes. An interrupted download continues where it was.",
    )
    parser.add_argument(
        "--abs-action",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="logs with joint positions, as kitchen_lowdim_unet and its like use; or arrays with joint velocities",
    )
    add_archive_options(parser, "the folder kitchen", ADDRESS)
    return run_download(parser, argv, download)
