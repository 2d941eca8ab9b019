"""The earlier names of modules of core, so that a plugin which imports one gets a message with the present name."""

from __future__ import annotations

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
