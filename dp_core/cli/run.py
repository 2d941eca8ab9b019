"""``dp-run``: train from a config, resume, and show what is installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dp_core.cli.command import INTERRUPTED, add_common_options, run_command, set_up_logging
from dp_core.component import KINDS
from dp_core.errors import DpError, UnsoundStateError, did_you_mean
from dp_core.registry import Registry

if TYPE_CHECKING:
    from dp_core.workspace import BaseWorkspace

_GOES_WITH = {"--json": ("--list", "--describe"), "--verbose": ("--list",), "--trust-pickles": ("--resume",)}
"""Options that say more about some modes, and nothing about the others."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``dp-run``. Status 0: done; 2: a mistake in the input, or training diverged; 130: interrupted.

    It is 1 where the code of a component failed.
    """
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
        "config", nargs="?", metavar="CONFIG", help="a YAML file, or the name of a config, see --list configs"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="options to change, values are YAML; ~key drops one"
    )
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--resume", metavar="RUN_DIR", help="continue a run from its last checkpoint")
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
    parser.add_argument("--json", action="store_true", help="with --list or --describe: for programs")
    parser.add_argument("-v", "--verbose", action="store_true", help="with --list: tracebacks of broken plugins")
    parser.add_argument("--trust-pickles", action="store_true", help="with --resume: unpickle values, if there are any")
    add_common_options(parser)
    return parser


def _dispatch(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    _refuse_what_is_ignored(arguments)
    # argparse takes the first word for the config, whatever it is: `--list -v encoder`, `--resume DIR seed=1`.
    words = [text for text in (arguments.config, *arguments.overrides) if text]
    if arguments.list is not None:
        return _list([arguments.list, *words] if arguments.list else words, arguments)
    if arguments.describe is not None:
        return _describe(words, arguments)
    if arguments.resume is not None:
        return _resume(words, arguments)
    if not arguments.config:
        parser.print_usage(sys.stderr)
        raise DpError("which config? try: dp-run quickstart, or dp-run --list configs")
    if arguments.check:
        return _check(arguments)
    if arguments.print_config:
        return _print_config(arguments)
    return _start(arguments)


def _refuse_what_is_ignored(arguments: argparse.Namespace) -> None:
    for option, modes in _GOES_WITH.items():
        is_given = getattr(arguments, option.strip("-").replace("-", "_"))
        if is_given and all(getattr(arguments, mode.strip("-")) is None for mode in modes):
            raise DpError(f"{option} goes with {' or '.join(modes)}; leave it out")


def _list(kinds: list[str], arguments: argparse.Namespace) -> int:
    from dp_core.cli.listing import configs_json, configs_text, kind_meant, list_json, list_text

    if kinds[1:]:
        raise DpError(f"--list shows one KIND; leave out '{kinds[1]}'")
    if kinds == ["configs"]:
        if arguments.verbose:
            raise DpError("--verbose shows what is wrong with plugins; leave it out with '--list configs'")
        show_configs = configs_json if arguments.json else configs_text
        print(show_configs(Registry.discover()))
        return 0
    kind = kind_meant(kinds[0]) if kinds else None
    if kind is not None and kind not in KINDS:
        hint = did_you_mean(kind, [*KINDS, "configs"], f"the kinds are {', '.join(KINDS)}, and there are configs")
        raise DpError(f"--list: unknown kind '{kind}'; {hint}")
    show = list_json if arguments.json else list_text
    print(show(Registry.discover(), kind, arguments.verbose))
    return 0


def _describe(words: list[str], arguments: argparse.Namespace) -> int:
    from dp_core.cli.listing import describe_json, describe_text

    if words:
        raise DpError(f"--describe shows one KIND/NAME; leave out '{words[0]}'")
    show = describe_json if arguments.json else describe_text
    print(show(Registry.discover(), arguments.describe))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from dp_core.cli.check import check_plugin, is_config

    registry = Registry.discover()
    if not is_config(registry, arguments.config):
        return check_plugin(registry, arguments.config, arguments.overrides)
    from dp_core.config.tree import preflight
    from dp_core.run_config import load_config

    set_up_logging()
    lacking = list(preflight(load_config(registry, arguments.config, arguments.overrides)))
    print(f"{arguments.config}: ok")
    if lacking:
        print("to run it here, you also need")
    for problem in lacking:
        print(f"  {problem}")
    return 0


def _print_config(arguments: argparse.Namespace) -> int:
    from dp_core.run_config import dump_config, load_config

    set_up_logging()
    print(dump_config(load_config(Registry.discover(), arguments.config, arguments.overrides)), end="")
    return 0


def _start(arguments: argparse.Namespace) -> int:
    from dp_core.runs import build

    set_up_logging()
    workspace = build(arguments.config, arguments.overrides)
    print(f"run directory: {workspace.output_dir}")
    return _run(workspace)


def _resume(overrides: list[str], arguments: argparse.Namespace) -> int:
    from dp_core.runs import restore

    if configs := [text for text in overrides if "=" not in text and not text.startswith("~")]:
        raise DpError(f"--resume continues with the config of the run; leave out '{configs[0]}'")
    set_up_logging()
    folder = Path(arguments.resume)
    workspace = restore(folder, overrides, trust_pickles=arguments.trust_pickles)
    if workspace.get_checkpoint_path().is_file():
        print(f"resuming {folder} from checkpoints/latest.ckpt")
    else:
        print(f"{folder} has no checkpoint yet; starting from the beginning")
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
    return workspace.how_to_continue(str(interruption))


def summary(workspace: BaseWorkspace) -> list[str]:
    """Say what a finished run leaves: the figures, the files, what to type next."""
    lines = [f"done: {workspace.output_dir}", *workspace.summary()]
    for callback in workspace.callbacks.values():
        lines += callback.summary()
    lines.append(f"last checkpoint: {workspace.get_checkpoint_path()}")
    lines.append(f"next: {workspace.next_step()}")
    return lines
