"""``dp-data download robomimic``: get published demonstrations of one task."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dp_core.kit.files.command import add_archive_options, download_parser, run_download
from dp_robomimic.download import ADDRESSES, download
from dp_robomimic.published import DEMONSTRATIONS, OBSERVATIONS


def main(argv: Sequence[str]) -> int:
    """Download what is not there already; return the exit status."""
    parser = download_parser(
        "robomimic",
        "Get demonstrations of one of robomimic's tasks, as the diffusion policy paper was trained on. Of the "
        "published archives, which have 78 GB with images, only the one file is fetched. An interrupted download goes "
        "on where it was; until it is done, it takes room twice.",
    )
    none = argparse.SUPPRESS  # so that the help names no default
    parser.add_argument("--task", choices=DEMONSTRATIONS, required=True, default=none, help="to be named")
    parser.add_argument(
        "--demonstrations",
        choices=("ph", "mh"),
        default="ph",
        help="by proficient humans (200), or by humans of mixed proficiency (300; not of tool_hang)",
    )
    parser.add_argument("--observations", choices=OBSERVATIONS, required=True, default=none, help="to be named")
    parser.add_argument(
        "--abs-action",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="actions are poses of the gripper, as robomimic/lift_ph_lowdim_unet and its like use; or changes of it",
    )
    add_archive_options(parser, "robomimic/datasets", *ADDRESSES.values())
    return run_download(parser, argv, download)
