"""``dp-run``: train from a config, resume, and show what is installed."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dp_core.cli.messages import INTERRUPTED, run_command, set_up_logging
from dp_core.cli.plugin_option import add_plugin_option
from dp_core.errors import ConfigError, DpError, Problem, UnsoundStateError
from dp_core.registry import Registry

if TYPE_CHECKING:
    from dp_core.config.schema import WorkspaceConfig
    from dp_core.workspace import BaseWorkspace

RESOLVED_CONFIG = "config.resolved.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``dp-run``. Status 0: done; 2: a mistake in the input, or training diverged; 130: interrupted."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    return run_command("dp-run", lambda: _dispatch(parser, arguments), arguments.traceback, arguments.plugins)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dp-run",
        description="Train a policy from a config; everything in it is a plugin.",
        epilog="example: dp-run quickstart training.num_epochs=2 policy.scheduler=ddim",
    )
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG", help="a YAML file, or the name of a config that comes with dp-core"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options to change; values are YAML")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--resume", metavar="RUN_DIR", help="go on with a run from its last checkpoint")
    modes.add_argument(
        "--list", nargs="?", const="", metavar="KIND", help="show what is installed; configs: those to start from"
    )
    modes.add_argument("--describe", metavar="KIND/NAME", help="show the options of a component")
    modes.add_argument(
        "--check",
        action="store_true",
        help="check CONFIG, run nothing; or, given a plugin or its distribution, its components",
    )
    modes.add_argument("--print-config", action="store_true", help="show the complete, resolved CONFIG")
    parser.add_argument("--json", action="store_true", help="with --list: for programs")
    parser.add_argument("-v", "--verbose", action="store_true", help="with --list: tracebacks of broken plugins")
    parser.add_argument("--trust-pickles", action="store_true", help="with --resume: unpickle values, if there are any")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    add_plugin_option(parser)
    return parser


def _dispatch(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if arguments.list is not None:
        # `--list -v encoder`: argparse takes the kind for the config.
        others = [text for text in (arguments.config, *arguments.overrides) if text]
        arguments.list = arguments.list or (others.pop(0) if others else "")
        if others:
            raise DpError(f"--list shows one KIND; leave out '{others[0]}'")
    if arguments.list == "configs":
        from dp_core.cli.list_configs import configs_json, configs_text

        print(configs_json() if arguments.json else configs_text())
        return 0
    registry = Registry.discover()
    if arguments.list is not None:
        from dp_core.cli.listing import list_json, list_text

        kind = arguments.list or None
        show = list_json if arguments.json else list_text
        print(show(registry, kind, arguments.verbose))
        return 0
    if arguments.describe:
        from dp_core.cli.listing import describe

        print(describe(registry, arguments.describe))
        return 0
    if arguments.resume:
        # argparse takes the first override for the config.
        overrides = [text for text in (arguments.config, *arguments.overrides) if text]
        return _resume(registry, Path(arguments.resume), overrides, arguments.trust_pickles)
    if not arguments.config:
        parser.print_usage(sys.stderr)
        raise DpError("which config? try: dp-run quickstart, or dp-run --list configs")
    if arguments.check:
        from dp_core.cli.check import check_plugin, is_config

        if not is_config(arguments.config):
            return check_plugin(registry, arguments.config, arguments.overrides)
    return _with_config(registry, arguments)


def _with_config(registry: Registry, arguments: argparse.Namespace) -> int:
    from dp_core.config.presets import fragment_meant
    from dp_core.config.tree import preflight
    from dp_core.run_config import dump_config, load_config

    set_up_logging()
    try:
        cfg = load_config(registry, arguments.config, arguments.overrides)
    except ConfigError as error:
        if (name := fragment_meant(arguments.config)) is None:
            raise
        note = f"'{name}' is not a whole config, but a part to build on; in one of yours: 'extends: [{name}]'"
        raise ConfigError(error.source, error.problems, [note]) from error
    lacking = list(preflight(cfg))
    if arguments.print_config:
        print(dump_config(cfg), end="")
        return 0
    if arguments.check:
        print(f"{arguments.config}: ok")
        if lacking:
            print("to run it here, you also need")
        for problem in lacking:
            print(f"  {problem}")
        return 0
    if lacking:
        raise ConfigError(arguments.config, lacking)
    return _train(cfg)


def _train(cfg: WorkspaceConfig) -> int:
    from dp_core.run_config import save_config

    if cfg.output_dir is not None and (cfg.output_dir / RESOLVED_CONFIG).exists():
        raise _is_taken(cfg.output_dir)  # before weights are made
    workspace = cfg.workspace.load()(cfg)
    try:
        save_config(workspace.cfg, workspace.output_dir / RESOLVED_CONFIG, exclusive=True)
    except FileExistsError as error:
        # Another run may have started meanwhile: of several in one directory, one gets this far.
        if not (workspace.output_dir / RESOLVED_CONFIG).exists():
            raise
        raise _is_taken(workspace.output_dir) from error
    print(f"run directory: {workspace.output_dir}")
    return _run(workspace)


def _is_taken(folder: Path) -> DpError:
    return DpError(f"{folder} holds a run already; go on with `dp-run --resume {folder}`, or choose another output_dir")


def _resume(registry: Registry, folder: Path, overrides: list[str], trust_pickles: bool) -> int:
    from dp_core.atomic import remove_leftovers
    from dp_core.config.tree import preflight
    from dp_core.pretrained import skip_pretrained_weights
    from dp_core.run_config import load_config, load_resumed_config, save_config

    path = folder / RESOLVED_CONFIG
    if not path.is_file():
        raise ConfigError(str(folder), [Problem("", f"not a run directory: there is no {RESOLVED_CONFIG} in it")])
    set_up_logging()
    remove_leftovers(folder / "checkpoints")
    has_checkpoint = (folder / "checkpoints" / "latest.ckpt").is_file()
    with skip_pretrained_weights() if has_checkpoint else contextlib.nullcontext():
        cfg = (load_resumed_config if has_checkpoint and overrides else load_config)(registry, path, overrides)
        if lacking := list(preflight(cfg)):
            raise ConfigError(str(path), lacking)
        workspace = cfg.workspace.load()(cfg, output_dir=folder)
    if has_checkpoint:
        workspace.load_checkpoint(trust_pickles=trust_pickles)
        print(f"resuming {folder} from checkpoints/latest.ckpt")
    else:
        print(f"{folder} has no checkpoint yet; starting from the beginning")
    save_config(workspace.cfg, path)
    return _run(workspace)


def _run(workspace: BaseWorkspace) -> int:
    try:
        workspace.run()
    except KeyboardInterrupt as interruption:
        print(f"\ninterrupted; {_what_is_saved(workspace, interruption)}")
        return INTERRUPTED
    print("\n".join(["", *summary(workspace)]))
    return 0


def _what_is_saved(workspace: BaseWorkspace, interruption: KeyboardInterrupt) -> str:
    """Say what is saved and how to continue. A workspace that could not save says why in the interruption's text."""
    if isinstance(interruption.__cause__, UnsoundStateError):
        return str(interruption)  # says both
    reason = str(interruption)
    what = f"{reason}; {workspace.describe_checkpoint()}" if reason else workspace.describe_checkpoint()
    return f"{what}. Go on with: dp-run --resume {workspace.output_dir}"


def summary(workspace: BaseWorkspace) -> list[str]:
    """What a finished run leaves: the figures, the files, what to type next."""
    lines = [f"done: {workspace.output_dir}", *workspace.summary()]
    for callback in workspace.callbacks.values():
        lines += callback.summary()
    lines.append(f"last checkpoint: {workspace.get_checkpoint_path()}")
    lines.append(f"next: {workspace.next_step()}")
    return lines
