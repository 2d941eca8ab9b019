"""The published files of demonstrations: what there is, and what it is called. Light, so that configs can say it."""

from __future__ import annotations

import re
from pathlib import Path

from dp_core.kit.files.command import download_command

DEMONSTRATIONS = {
    "lift": {"ph": 200, "mh": 300},
    "can": {"ph": 200, "mh": 300},
    "square": {"ph": 200, "mh": 300},
    "transport": {"ph": 200, "mh": 300},
    "tool_hang": {"ph": 200},
}
"""The number of demonstrations of each task, by proficient humans (ph) and by humans of mixed proficiency (mh)."""
OBSERVATIONS = ("image", "low_dim")


def name_of(task: str, demonstrations: str, observations: str, abs_action: bool) -> str:
    """Return the name of a file in its archive."""
    return f"robomimic/datasets/{task}/{demonstrations}/{observations}{'_abs' if abs_action else ''}.hdf5"


def command_for(path: Path) -> str | None:
    """Write the command that gets the file at ``path``; None if none is published under this name."""
    found = re.search(r"(?:^|/)robomimic/datasets/(\w+)/(\w+)/(image|low_dim)(_abs)?\.hdf5$", path.as_posix())
    if found is None:
        return None
    task, demonstrations, observations, is_abs = found.groups()
    if demonstrations not in DEMONSTRATIONS.get(task, {}):
        return None
    options = ["--task", task, "--demonstrations", demonstrations, "--observations", observations]
    if not is_abs:
        options.append("--no-abs-action")
    return download_command("robomimic", path, name_of(task, demonstrations, observations, bool(is_abs)), *options)
