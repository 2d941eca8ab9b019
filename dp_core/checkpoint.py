"""The checkpoint file: what is in it, how it is written whole, how it is read without running anything from it.

Payload: ``{"format": 1, "cfg": plain dict, "state_dicts": {...}, "callbacks": {...}, "pickles": {name: bytes},
"manifest": {...}}``. Everything but the pickles is plain containers and tensors, so `torch.load` reads the file with
``weights_only=True``. Pickles stay bytes until somebody who trusts the file asks for one.
"""

from __future__ import annotations

import contextlib
import logging
import textwrap
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from dp_core.atomic import whole_file
from dp_core.border import component_of
from dp_core.component import Component
from dp_core.config.fields import Slot
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.structure import structure_parts, structure_run, structure_task
from dp_core.config.tree import components_of
from dp_core.errors import CheckpointError, ConfigError, quoted
from dp_core.pretrained import skip_pretrained_weights
from dp_core.provenance.manifest import as_manifest, compare
from dp_core.provenance.migrations import StateMigration, migrate_config
from dp_core.registry import Registry

FORMAT = 1
"""The format of the files that are written, and of those that can be read."""

_LONGEST_REASON = 400
_PLAIN = (bool, int, float, str, bytes, type(None))

logger = logging.getLogger(__name__)


def write_payload(path: Path, payload: Mapping[str, Any]) -> None:
    """Write the file so that, whenever the machine dies, the name holds either the old content or the new, whole.

    Raises:
        CheckpointError: the disk is full, or the folder cannot be written to.
    """
    try:
        with whole_file(path) as temporary, temporary.open("wb") as file:
            torch.save(dict(payload), file)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cannot be written: {_why_not_written(error)}") from error


def read_payload(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        CheckpointError: there is no such file, it is cut or damaged, or it is not a checkpoint of this format.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; give a file, such as {path / 'checkpoints' / 'latest.ckpt'}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    if not _is_whole(path):
        raise CheckpointError(f"{path}: incomplete or damaged, or not a checkpoint; use another file")
    try:
        payload = torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds Python objects, which are not loaded; it was not written by this program"
        ) from error
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not a checkpoint: {str(error).splitlines()[0]}") from error
    parts = payload if isinstance(payload, dict) else {}
    if "format" not in parts or not all(isinstance(parts.get(key), dict) for key in ("cfg", "state_dicts")):
        raise CheckpointError(f"{path}: not a checkpoint of dp-core: 'format', 'cfg' and 'state_dicts' are expected")
    if parts["format"] != FORMAT:
        raise CheckpointError(f"{path}: written in format {parts['format']}; this dp-core reads format {FORMAT}")
    return payload


def payload_config(payload: Mapping[str, Any], registry: Registry, source: str | Path) -> WorkspaceConfig:
    """Return the typed config of a payload; everything that is missing here is reported before any plugin code runs.

    Raises:
        CheckpointError: components that are not available here, all of them, with what to install.
        ConfigError: the config does not fit the components as they are installed here.
    """
    payload = upgrade_config(payload, registry, source)
    data = payload["cfg"]
    _require_components(payload, registry, source, data, data)
    with skip_pretrained_weights():
        return structure_run(registry, data, _with_version(source, payload))


def upgrade_config(payload: Mapping[str, Any], registry: Registry, source: str | Path) -> dict[str, Any]:
    """Return a payload whose config is what the components here know; logs what became of options.

    Its states, and the versions in its manifest, are those of the file.

    Raises:
        PluginError: an upgrade of a component fails.
    """
    found = migrate_config(payload["cfg"], payload.get("manifest"), registry.components())
    found.log(source)
    return {**payload, "cfg": found.config, "manifest": found.made_with}


def upgrade_payload(
    payload: Mapping[str, Any], cfg: WorkspaceConfig, attributes: Mapping[str, Any], source: object
) -> dict[str, Any]:
    """Return a payload as the components of a workspace would have written it; logs what became of states.

    Its manifest has their versions, so that it can be given once more.

    Args:
        cfg: of the workspace.
        attributes: of the workspace, by name; what is not made yet may be missing.
        source: where the payload is from, for the log.

    Raises:
        PluginError: an upgrade of a component fails.
    """
    components = [component for _, component in components_of(cfg)]
    found = migrate_config(payload["cfg"], payload.get("manifest"), components)
    migration = StateMigration(found.made_with)
    states = migration.upgrade(payload["state_dicts"], [("", cfg.workspace)], "")
    states = {
        key: migration.upgrade(state, _parts_of(attributes.get(key), getattr(cfg, key, None)), key)
        for key, state in states.items()
    }
    callbacks = {
        key: migration.upgrade(state, _parts_of(None, cfg.callbacks.get(key)), f"callbacks.{key}")
        for key, state in payload.get("callbacks", {}).items()
    }
    for line in migration.lines:
        logger.info("%s: %s", source, line)
    here = {component.distribution: component.version for component in components if component.version}
    versions = found.made_with["distributions"]
    manifest = found.made_with | {"distributions": versions | {name: here[name] for name in versions if name in here}}
    return {**payload, "cfg": found.config, "state_dicts": states, "callbacks": callbacks, "manifest": manifest}


def upgrade_weights(payload: Mapping[str, Any], key: str, module: torch.nn.Module, source: object) -> Any:
    """Return a state of a payload from `upgrade_config`, as ``module`` would have saved it; logs what became of it.

    Raises:
        PluginError: an upgrade of a component fails.
    """
    migration = StateMigration(as_manifest(payload.get("manifest")))
    state = migration.upgrade(payload["state_dicts"][key], _parts_of(module), key)
    for line in migration.lines:
        logger.info("%s: %s", source, line)
    return state


def payload_parts(
    payload: Mapping[str, Any], registry: Registry, source: str | Path, data: Mapping[str, Any], kinds: Collection[str]
) -> dict[str, Slot]:
    """Return some blocks of a payload's config, typed: a robot, say, has neither data set nor runner.

    Args:
        data: ``payload["cfg"]``, with changes or without.
        kinds: ``("policy", "runner")``, for example.

    Raises:
        CheckpointError, ConfigError: as in `payload_config`, as far as these blocks are concerned.
    """
    _require_components(payload, registry, source, data, {*kinds, "shape_meta"})  # modalities, which all need
    if "shape_meta" in data:
        data = {**data, "shape_meta": task_of(payload, registry, data, source)}  # rules look for short names
    with skip_pretrained_weights():
        return structure_parts(registry, data, kinds, _with_version(source, payload))


def task_of(payload: Mapping[str, Any], registry: Registry, data: Mapping[str, Any], path: str | Path) -> Any:
    """Return the ``shape_meta`` of a payload's config with its modalities, which are named in full there.

    A workspace may have one of a form of its own, and note no modality in its manifest: that is returned as it is.

    Args:
        data: the config, with changes or without.

    Raises:
        ConfigError: a change is wrong.
    """
    task = data.get("shape_meta")
    try:
        return structure_task(registry, task, f"{path}: shape_meta")
    except ConfigError:
        if "modality" in as_manifest(payload.get("manifest"))["kinds"].values():
            raise
        return task


def unpickle(payload: Mapping[str, Any], keys: Collection[str], trust_pickles: bool) -> dict[str, Any]:
    """Unpickle values of a payload, which can run any code that is in them.

    Raises:
        CheckpointError: they are not trusted, or one is not there.
    """
    import dill  # needed by few

    pickles = payload.get("pickles", {})
    if keys and not trust_pickles:
        raise CheckpointError(
            f"the values {quoted(keys)} are pickled, which can run any code; "
            "pass trust_pickles=True if you trust the file, or include_keys=() to go without"
        )
    for key in keys:
        if key not in pickles:
            raise CheckpointError(f"the checkpoint has no value '{key}'; it has {', '.join(pickles) or 'none'}")
    return {key: dill.loads(pickles[key]) for key in keys}


def restore_state(name: str, value: Any, state: Any, strict: bool) -> None:
    """Load the state of a part of a run; of modules, without ``strict``, as much as fits.

    Raises:
        CheckpointError: the state does not fit.
    """
    try:
        if strict or not isinstance(value, torch.nn.Module):
            value.load_state_dict(state)
        else:
            value.load_state_dict(state, strict=False)
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"the state of '{name}' does not fit this config: {misfit(value, state, error)}; leave out what changes it"
        ) from error


def misfit(value: Any, state: Any, error: Exception) -> str:
    """Say in one line why ``value`` cannot load ``state``, where ``error`` takes a page for a network."""
    if not isinstance(value, torch.nn.Module) or not isinstance(state, Mapping):
        return textwrap.shorten(str(error), _LONGEST_REASON)
    own = value.state_dict()
    shapes = {
        key: (tuple(state[key].shape), tuple(own[key].shape))
        for key in own
        if isinstance(own[key], torch.Tensor) and isinstance(state.get(key), torch.Tensor)
    }
    others = [f"'{key}' has shape {there}, here {here}" for key, (there, here) in shapes.items() if there != here]
    missing = [f"'{key}' is missing" for key in own if key not in state]
    unknown = [f"there is no '{key}' here" for key in state if key not in own]
    groups = [
        group[0] + (f" (and {len(group) - 1} more)" if group[1:] else "")
        for group in (others, missing, unknown)
        if group
    ]
    return ", ".join(groups) or textwrap.shorten(str(error), _LONGEST_REASON)


def stateful(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what is part of every checkpoint, since it can return its state and take it back."""
    return {
        key: value
        for key, value in attributes.items()
        if hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
    }


def copy_to_cpu(value: Any, path: str = "") -> Any:
    """Make a deep copy that shares no memory with the original: training continues while the copy is written.

    Raises:
        CheckpointError: what would be saved could not be loaded, because it is neither a tensor nor plain.
    """
    if isinstance(value, torch.Tensor):
        copy = torch.empty_like(value, device="cpu", requires_grad=False)
        return copy.copy_(value.detach())
    if isinstance(value, Mapping):
        return {copy_to_cpu(key, path): copy_to_cpu(item, f"{path}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [copy_to_cpu(item, f"{path}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) not in _PLAIN:
        raise CheckpointError(
            f"{path}: {type(value).__name__} cannot be saved; return tensors, numbers, strings and plain containers"
        )
    return value


class CheckpointWriter:
    """Writes payloads one after another in the background. Errors surface at the next call."""

    def __init__(self) -> None:
        # The interpreter joins the executor's thread at exit, so an ending program finishes its last file.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def submit(self, path: Path, payload: Mapping[str, Any], when_written: Callable[[], object]) -> None:
        """Write ``payload``, which must be nobody else's, then call ``when_written`` from the writing thread."""
        self.wait()  # at most one copy of the weights waits in memory
        self._pending = self._executor.submit(self._write, path, payload, when_written)

    def wait(self) -> None:
        """Return when everything is on disk.

        Raises:
            CheckpointError: a file could not be written (disk full, no permission).
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def settle(self) -> None:
        """Return when nothing is being written any more. What could not be written was logged, and that is all."""
        with contextlib.suppress(Exception):
            self.wait()

    @staticmethod
    def _write(path: Path, payload: Mapping[str, Any], when_written: Callable[[], object]) -> None:
        try:
            write_payload(path, payload)
            when_written()
        except Exception as error:
            # Raised again by the next call; a program that ends now would never make one.
            logger.error("%s", error)
            raise


def _parts_of(value: Any, slot: Any = None) -> Iterator[tuple[str, Component]]:
    """Yield the components whose states are in that of ``value``, with their prefixes; parents come first.

    Args:
        slot: what the config has under the name of ``value``: of a part of the run that is no module, such as the
            optimizer, or that is not made yet, it says the component.
    """
    if isinstance(value, torch.nn.Module):
        for prefix, module in value.named_modules(remove_duplicate=False):
            if (component := component_of(module)) is not None:
                yield prefix, component
    elif isinstance(slot, Slot):
        yield "", slot.component


def _with_version(source: str | Path, payload: Mapping[str, Any]) -> str:
    made_with = as_manifest(payload.get("manifest"))["distributions"].get("dp-core", "an unknown version")
    return f"{source} (made with dp-core {made_with})"


def _require_components(
    payload: Mapping[str, Any], registry: Registry, source: str | Path, data: Mapping[str, Any], parts: Collection[str]
) -> None:
    """Refuse what cannot be rebuilt here, or warn where versions differ. One message, before a component is loaded."""
    found = compare(payload.get("manifest"), registry, data, parts)
    if absent := [*found.absent, *found.lacking]:
        lines = [*(f"  {problem}" for problem in absent), *(f"  note: {line}" for line in found.other_versions)]
        raise CheckpointError("\n".join([f"{source}: made with components that are not available here", *lines]))
    found.warn(source)


def _why_not_written(error: BaseException) -> str:
    # On a full disk torch raises a RuntimeError about positions in the file; what the system said is behind it.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    return (cause.strerror if cause is not None else None) or str(error).splitlines()[0]


def _is_whole(path: Path) -> bool:
    """Tell whether the file is a zip archive whose parts all have their checksum, which `torch.load` ignores."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError):
        return False
