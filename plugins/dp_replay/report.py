"""Reports, when a data set is made, the episodes that it uses, holds out and leaves out, and odd values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError
from dp_replay.config import WindowOptions
from dp_replay.outliers import outlier_in

logger = logging.getLogger(__name__)

Mask = NDArray[np.bool_]


def report_episodes(
    config: WindowOptions,
    lengths: NDArray[np.int64],
    *,
    train: Mask,
    held_out: Mask,
    n_windows: int,
    source: str | Path,
) -> None:
    """Log which episodes (E,) are used, and warn where that is not what was asked for.

    Args:
        lengths: steps of each episode.
        n_windows: for training.
        source: of the data, for messages.

    Raises:
        DataError: there is no window to train on.
    """
    shortest = config.horizon - (config.n_obs_steps - 1) - (config.n_action_steps - 1)
    is_short = lengths < shortest
    if is_short[train].all():
        raise DataError(
            f"{source}: there is no window to train on: the longest of {train.sum()} episodes has "
            f"{lengths[train].max()} steps; horizon {config.horizon} needs at least {shortest}"
        )
    logger.info(
        "%s: %d of %d episodes for training, %d windows; %d held out",
        source, train.sum(), len(lengths), n_windows, held_out.sum(),
    )  # fmt: skip
    if wrong := _wrong_ratio(config.val_ratio, len(lengths), int(held_out.sum())):
        logger.warning("%s: %s", source, wrong)
    groups = {"for training": train, "held out": held_out}
    unused = [_unused(lengths, mask, is_short, name) for name, mask in groups.items() if (is_short & mask).any()]
    if unused:
        logger.warning(
            "%s: episodes shorter than %d steps have no window and are not used: %s",
            source, shortest, "; ".join(unused),
        )  # fmt: skip


def report_outliers(
    arrays: Mapping[str, NDArray[np.floating[Any]]], episode_ends: NDArray[np.int64], source: str | Path
) -> None:
    """Warn of values in ``arrays`` (N, *shape) that take over the scale of their entry."""
    for key, values in arrays.items():
        if outlier := outlier_in(values, episode_ends):
            logger.warning("%s: '%s': %s", source, key, outlier)


def _wrong_ratio(val_ratio: float, n_episodes: int, n_held_out: int) -> str | None:
    """Explain why other than ``val_ratio`` of the episodes are held out: training and validation get one at least."""
    asked = round(n_episodes * val_ratio)
    if val_ratio == 0 or (asked == n_held_out and asked):
        return None
    said = f"val_ratio {val_ratio:g} of {n_episodes} episodes"
    if n_episodes == 1:
        return f"{said} holds out none, as there is nothing else to train on; record more, or set dataset.val_ratio=0"
    if asked:
        return f"{said} is all of them; {n_held_out} are held out, and 1 is trained on; choose a smaller val_ratio"
    return (
        f"{said} is less than half an episode; 1 is held out, {1 / n_episodes:.1%} of them; "
        "set dataset.val_ratio=0 to hold out none"
    )


def _unused(lengths: NDArray[np.int64], mask: Mask, is_short: Mask, name: str) -> str:
    lost, total = lengths[mask & is_short].sum(), lengths[mask].sum()
    return f"{(mask & is_short).sum()} of {mask.sum()} {name}, {lost} of {total} steps ({lost / total:.1%})"
