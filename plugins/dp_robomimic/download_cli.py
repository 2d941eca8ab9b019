"""``dp-data download robomimic``: get published demonstrations of one task."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dp_core.kit.files.command import OUTPUT
from dp_robomimic.download import ADDRESSES, download
from dp_robomimic.published import DEMONSTRATIONS, OBSERVATIONS


def main(argv: Sequence[str]) -> int:
    """Download what is not there already; returns the exit status."""
    for line in download(**vars(_parse(argv))):
        print(line)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dp-data download robomimic",
        description="Get demonstrations of one of robomimic's tasks, as the diffusion policy paper was trained on. Of "
        "the published archives, which have 78 GB with images, only the one file is fetched. An interrupted download "
        "goes on where it was; until it is done, it takes room twice.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
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
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder that robomimic/datasets is in, or will be")
    parser.add_argument(
        "--source",
        default=none,
        help="address of the archive, or an archive that was downloaded elsewhere; if it is not given, "
        + " or ".join(ADDRESSES.values()),
    )
    return parser.parse_args(argv)
