"""Runs: started from a config, and continued from their last checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dp_core.atomic import remove_leftovers
from dp_core.border import Origin
from dp_core.border.log import naming_the_end
from dp_core.config.compose import apply_overrides, override_paths, resolve
from dp_core.config.tree import unstructure
from dp_core.errors import ConfigError, DpError, Problem
from dp_core.pretrained import skip_pretrained_weights
from dp_core.provenance.manifest import as_manifest
from dp_core.provenance.noise_process import keep_process
from dp_core.registry import Registry
from dp_core.run_config import (
    MANIFEST,
    RESOLVED_CONFIG,
    check_config,
    load_config,
    read_upgraded,
    require_ready,
    run_folder,
    save_config,
)

if TYPE_CHECKING:
    from dp_core.workspace import BaseWorkspace


def start(config: str | Path, overrides: Sequence[str] = ()) -> BaseWorkspace:
    """Train from a config to the end of the run.

    For example, ``start("quickstart", ["output_dir=runs/mine", "training.num_epochs=2"])``.

    Args:
        config: a YAML file, or the name of a config that comes with dp-core or a plugin.
        overrides: options to change, ``key=value`` as on the command line; values are YAML.

    Returns:
        The workspace, with the state of the end of the run. Its files are in ``workspace.output_dir``, its last
        checkpoint is ``workspace.get_checkpoint_path()``.

    Raises:
        ConfigError: a config that cannot be used, with everything that is wrong in it or that this machine lacks.
        ComponentError: the code of a component failed; its traceback is in ``error.log`` of the run directory.
        DpError: the run directory holds a run already; or a component says what the user has to mend.
        KeyboardInterrupt: Ctrl-C or SIGTERM, once the state is saved; its text says so where it could not be.
    """
    workspace = build(config, overrides)
    workspace.run()
    return workspace


def build(config: str | Path, overrides: Sequence[str] = ()) -> BaseWorkspace:
    """Build the workspace of a new run, without running it; ``workspace.run()`` does.

    Makes the run directory and writes its ``config.resolved.yaml``, so that no other run gets it.

    Args:
        config, overrides: as in `start`.

    Raises:
        ConfigError, DpError: as in `start`.
    """
    cfg = load_config(Registry.discover(), config, overrides)
    require_ready(cfg, config)
    if cfg.output_dir is not None and (cfg.output_dir / RESOLVED_CONFIG).exists():
        raise _is_taken(cfg.output_dir)  # before weights are made
    with naming_the_end(Origin.of(cfg.workspace, "workspace"), lambda: run_folder(cfg)):
        workspace: BaseWorkspace = cfg.workspace.load()(cfg)
    try:
        save_config(workspace.cfg, workspace.output_dir / RESOLVED_CONFIG, exclusive=True)
    except FileExistsError as error:
        # Another run may have started meanwhile: of several in one directory, one gets this far.
        if not (workspace.output_dir / RESOLVED_CONFIG).exists():
            raise
        raise _is_taken(workspace.output_dir) from error
    return workspace


def resume(run_dir: str | Path, overrides: Sequence[str] = (), *, trust_pickles: bool = False) -> BaseWorkspace:
    """Continue a run from its last checkpoint to its end, or from the beginning if it has none yet.

    A run that was interrupted ends as if it had not been. One that is done runs on where an override gives it more to
    do: ``resume("runs/mine", ["training.num_epochs=20"])``.

    Args:
        run_dir: the run directory.
        overrides: changes of its config, as in `start`. What a scheduler leaves out of the noise process is that of
            the run.
        trust_pickles: unpickle values that the workspace saves by value, which can run any code that is in the file.

    Returns:
        The workspace, as `start` does.

    Raises:
        ConfigError: ``run_dir`` is no run directory, a component of the run is not available here, or an override is
            wrong, a scheduler that reverses another noise process included.
        CheckpointError: the checkpoint is damaged or does not fit the config.
        DpError, KeyboardInterrupt: as in `start`.
    """
    workspace = restore(run_dir, overrides, trust_pickles=trust_pickles)
    workspace.run()
    return workspace


def restore(run_dir: str | Path, overrides: Sequence[str] = (), *, trust_pickles: bool = False) -> BaseWorkspace:
    """Build the workspace of a run and put its last checkpoint into it, without running it.

    This is the whole way of a resume, except for what depends on the data: the place in the epoch and in the schedule
    of the learning rate, which the workspace finds when it runs (``TrainWorkspace.setup`` of ``train``).

    Args:
        run_dir, overrides, trust_pickles: as in `resume`.

    Raises:
        ConfigError, CheckpointError, DpError: as in `resume`.
    """
    folder = Path(run_dir)
    if any(path.partition(".")[0] == "output_dir" for override in overrides for path in override_paths(override)):
        message = "a run continues where it is; leave it out, and move the folder if it shall be elsewhere"
        raise ConfigError("the command line", [Problem("output_dir", message)])
    path, checkpoint = folder / RESOLVED_CONFIG, folder / "checkpoints" / "latest.ckpt"
    if not path.is_file():
        raise ConfigError(str(folder), [Problem("", f"not a run directory: there is no {RESOLVED_CONFIG} in it")])
    remove_leftovers(checkpoint.parent)
    has_weights = checkpoint.is_file()  # a run that was killed before its first checkpoint begins again

    registry = Registry.discover()
    read = read_upgraded(registry, path)
    data = resolve(apply_overrides(read, overrides), str(path))
    if has_weights:
        # Whatever sampler an override chooses, it reverses the process that the weights were trained for.
        former = resolve(read, str(path))
        data = keep_process(registry, former, as_manifest(former.get(MANIFEST))["kinds"], data, str(path))
    # Pretrained weights would be overwritten by the checkpoint's, and need not be on this machine any more.
    with skip_pretrained_weights() if has_weights else contextlib.nullcontext():
        # Not told which null removes nothing: the same command may resume a run twice, and the first removed it.
        cfg = check_config(registry, data, path, overrides)
        require_ready(cfg, path)
        with naming_the_end(Origin.of(cfg.workspace, "workspace"), lambda: folder):
            workspace: BaseWorkspace = cfg.workspace.load()(cfg, output_dir=folder)
    if has_weights:
        payload = workspace.load_checkpoint(checkpoint, trust_pickles=trust_pickles)
        # Once more with what the weights themselves say: the file of the run may have been edited by hand.
        kinds = as_manifest(payload.get("manifest"))["kinds"]
        keep_process(registry, payload["cfg"], kinds, unstructure(workspace.cfg), str(path))
    save_config(workspace.cfg, path)  # the run continues with the changes, also when it is resumed again
    return workspace


def _is_taken(folder: Path) -> DpError:
    return DpError(
        f"{folder} holds a run already; continue it with `dp-run --resume {folder}`, or choose another output_dir"
    )
