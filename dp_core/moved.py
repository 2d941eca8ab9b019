"""Names that were replaced, so that whoever uses one is told the present name.

`replaced` keeps a public name alive for a minor version (docs/api.md). `MOVED` are modules that were renamed before the
first release: they are gone, and a plugin that imports one gets a message with the present name.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

MOVED = {
    "dp_core.allocator": "dp_core.training.allocator",
    "dp_core.archive": "dp_core.kit.files.archive",
    "dp_core.batches": "dp_core.training.data_loading",
    "dp_core.cache": "dp_core.kit.files.cache",
    "dp_core.compilation": "dp_core.training.compilation",
    "dp_core.config.environment": "dp_core.config.env_variables",
    "dp_core.config.load": "dp_core.run_config",
    "dp_core.config.required": "dp_core.provenance.requirements",
    "dp_core.config.steps": "dp_core.config.checks",
    "dp_core.config.training": "dp_core.training.options",
    "dp_core.devices": "dp_core.training.devices",
    "dp_core.download": "dp_core.kit.files.download",
    "dp_core.download_command": "dp_core.kit.files.command",
    "dp_core.ema": "dp_core.training.ema",
    "dp_core.hook_manager": "dp_core.discovery.hook_manager",
    "dp_core.image_probe": "dp_core.kit.nn.image_probe",
    "dp_core.image_statistics": "dp_core.kit.nn.image_statistics",
    "dp_core.installed": "dp_core.discovery.installed",
    "dp_core.interrupts": "dp_core.training.interrupts",
    "dp_core.loop": "dp_core.training.loop",
    "dp_core.manifest": "dp_core.provenance.manifest",
    "dp_core.noise_process": "dp_core.provenance.noise_process",
    "dp_core.policies": "dp_core.runs",
    "dp_core.remote_file": "dp_core.kit.files.remote_file",
    "dp_core.resolution": "dp_core.normalizer.precision",
    "dp_core.rng": "dp_core.training.random_state",
    "dp_core.rollout": "dp_core.kit.rollout",
    "dp_core.switches": "dp_core.discovery.switches",
    "dp_core.time_embedding": "dp_core.kit.nn.time_embedding",
    "dp_core.vision": "dp_core.kit.nn.vision",
    "dp_core.weight_files": "dp_core.kit.nn.weight_files",
    "dp_core.weights": "dp_core.pretrained",
    "dp_replay.images": "dp_core.kit.data.images",
}
"""The present name of a module, by the one that it had."""


def new_place(error: BaseException) -> str:
    """Return the end of a message about a failed import: the new name of what was imported, or nothing."""
    if isinstance(error, ModuleNotFoundError) and error.name in MOVED:
        return f"; it is {MOVED[error.name]} now"
    return ""


def replaced(module: str, names: Mapping[str, str], gone_in: str) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a module some of whose names are called otherwise now, or are elsewhere::

        __getattr__ = replaced(__name__, {"crop": "dp_core.kit.nn.vision:center_crop"}, gone_in="0.3")

    The old name gives what the new one does, and a `DeprecationWarning` that names it.

    Args:
        module: where the old names were; of a module that moved, a file in its old place with this line only.
        names: by the old name, ``"package.module:name"`` of the new one.
        gone_in: the version of dp-core that has the old ones no more, the second minor version after this one.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        place, _, attribute = names[name].partition(":")
        warnings.warn(
            f"{module}.{name} is deprecated and gone in dp-core {gone_in}; use {place}.{attribute}",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(place), attribute)

    return get
