"""`Conversion`: what was read of a foreign checkpoint, and how it becomes a checkpoint of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from dp_core.checkpoint import FORMAT, write_payload
from dp_core.config import components_of, structure_run, unstructure
from dp_core.config.schema import WorkspaceConfig
from dp_core.errors import CheckpointError
from dp_core.provenance.manifest import manifest
from dp_core.registry import Registry
from dp_core.run_config import RESOLVED_CONFIG, save_config
from dp_core.runs import policy_from

WEIGHTS = ("model", "ema_model")


@attrs.frozen
class Conversion:
    """A config of ours and the states that go with it."""

    data: dict[str, Any]
    """The config as in YAML."""
    state_dicts: dict[str, Any]
    """``model`` and ``ema_model`` are weights under our names; the others are counters."""
    notes: list[str]
    """Remarks for the user on what could not be carried over."""

    def checked(self, registry: Registry, source: Path) -> tuple[dict[str, Any], WorkspaceConfig]:
        """Return the payload of our file and its config, once the policy that it describes has taken the weights.

        Raises:
            ConfigError: the config does not fit the components as they are installed here.
            CheckpointError: the weights do not fit the policy.
        """
        cfg = structure_run(registry, self.data, f"the config made from {source}")
        payload = {
            "format": FORMAT,
            "cfg": unstructure(cfg),
            "state_dicts": self.state_dicts,
            "callbacks": {},
            "pickles": {},
            "manifest": manifest(cfg),
        }
        if missing := _missing(cfg):
            self.notes.append(f"whether the weights fit was not tried: {'; '.join(missing)}")
        else:
            for key in WEIGHTS:
                if key in self.state_dicts:
                    only = {"state_dicts": {"model": self.state_dicts[key]}}
                    task = {"shape_meta": cfg.shape_meta}  # type: ignore[attr-defined]
                    policy_from(only, cfg.policy, task, f"{source}: {key}")  # type: ignore[attr-defined]
        return payload, cfg


def write(payload: Mapping[str, Any], cfg: WorkspaceConfig, output: Path) -> Path | None:
    """Write the checkpoint, atomically; in a folder ``checkpoints``, also write the config into its run directory.

    Returns:
        The run directory that can be resumed, if there is one.
    """
    write_payload(output, payload)
    if output.parent.name != "checkpoints" or output.name != "latest.ckpt":
        return None
    folder = output.absolute().parent.parent
    save_config(cfg, folder / RESOLVED_CONFIG)
    return folder


def plain_weights(state: Any, source: Path, name: str) -> dict[str, Tensor]:
    """Return the state dict ``state`` as a plain dictionary of tensors.

    Raises:
        CheckpointError: it is something else.
    """
    if not (isinstance(state, Mapping) and state and all(isinstance(value, Tensor) for value in state.values())):
        raise CheckpointError(f"{source}: '{name}' is not a state dict; expected tensors by name")
    return dict(state)


def _missing(cfg: WorkspaceConfig) -> list[str]:
    found = []
    for path, component in components_of(cfg):
        if path.partition(".")[0] == "policy" and (names := component.missing()):
            found.append(f"{component.label} needs {', '.join(names)}; install with: {component.install_command}")
    return found
