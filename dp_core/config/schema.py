"""`WorkspaceConfig`: what every run's config has, whatever its workspace."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs

from dp_core.component import Component
from dp_core.config.fields import Slot, option, slots
from dp_core.config.metrics import ANY

WORKSPACE_PARTS = (
    "progress",
    "num_epochs",
    "steps_per_epoch",
    "batch_size",
    "model",
    "ema_model",
    "request_stop",
)
"""Parts that a workspace may offer callbacks besides what every one has; see `dp_core.interfaces.workspace`."""

_LONGEST_RUN_NAME = 200
"""Bytes; a date goes before it and a number may come after it."""


def _is_part_of_a_file_name(_: object, field: attrs.Attribute[str], value: str) -> None:
    if not value or "/" in value or "\0" in value or len(value.encode()) > _LONGEST_RUN_NAME:
        raise ValueError(
            f"expected a part of a file name, without '/' and of 1 to {_LONGEST_RUN_NAME} bytes, got {value!r}; the "
            "folder of a run is set by output_dir"
        )


@attrs.frozen(kw_only=True)
class WorkspaceConfig:
    """The top level of a config file. The config class of a workspace extends it."""

    provides: ClassVar[tuple[str, ...]] = ()
    """Those of `WORKSPACE_PARTS` that the workspace has for callbacks."""

    workspace: Component = attrs.field(metadata={"dp_help": "the component that reads the rest of the file"})
    run_name: str = option(
        "run", help="short name of the run, used for its folder and in logs", validator=_is_part_of_a_file_name
    )
    required_plugins: list[str] = option(
        factory=list, help="distributions that must be installed and in order, such as dp-depth>=0.3"
    )
    output_dir: Path | None = option(
        None, help="run directory; null: runs/<date>_<time>_<run_name>, with _2, _3, ... if that is taken"
    )
    callbacks: dict[str, Slot] = slots("callback", help="what listens to the run, by a name of your choice")

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the metrics that epochs of a run with this config may have, see `dp_core.config.metrics`."""
        return ANY
