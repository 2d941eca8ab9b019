"""`WorkspaceConfig`: what every run's config has, whatever its workspace."""

from __future__ import annotations

from pathlib import Path

import attrs

from dp_core.component import Component
from dp_core.config.fields import Slot, option, slots


@attrs.frozen(kw_only=True)
class WorkspaceConfig:
    """The top level of a config file. The config class of a workspace extends it."""

    workspace: Component = attrs.field(metadata={"dp_help": "the component that reads the rest of the file"})
    run_name: str = option("run", help="short name of the run, used for its folder and in logs")
    required_plugins: list[str] = option(
        factory=list, help="distributions that must be installed and in order, such as dp-depth>=0.3"
    )
    output_dir: Path | None = option(None, help="run directory; null: runs/<date>_<time>_<run_name>")
    callbacks: dict[str, Slot] = slots("callback", help="what listens to the run, by a name of your choice")
