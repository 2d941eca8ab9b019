"""``dp-eval``: rebuild the policy of a checkpoint from the file alone and evaluate it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_core.cli.command import add_common_options, run_command, set_up_logging
from dp_core.errors import ConfigError, DpError, Problem

if TYPE_CHECKING:
    from dp_core.runs import Evaluation


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``dp-eval``. Status 0: done; 1: a component failed; 2: a mistake in the input; 130: interrupted."""
    parser = argparse.ArgumentParser(
        prog="dp-eval",
        description="Evaluate the policy in a checkpoint; the averaged weights if there are any.",
        epilog="example: dp-eval runs/x/checkpoints/latest.ckpt --episodes 100 policy.scheduler.num_inference_steps=8",
    )
    parser.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT", help="a .ckpt file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="options to change: policy.scheduler, runner; ~key drops one"
    )
    parser.add_argument("--episodes", type=int, metavar="N", help="test episodes; default: as in the run")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where the log and videos go; default: eval_<checkpoint> in the run directory, the next with _2, ...",
    )
    parser.add_argument("--device", default="auto", help="'auto', 'cpu', 'cuda', ...")
    add_common_options(parser)
    arguments = parser.parse_intermixed_args(argv)
    return run_command("dp-eval", lambda: _evaluate(parser, arguments), arguments.traceback, arguments.plugins)


def _evaluate(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if not arguments.checkpoint:
        parser.print_usage(sys.stderr)
        raise DpError("which checkpoint? try: dp-eval runs/.../checkpoints/latest.ckpt")
    if arguments.episodes is not None and arguments.episodes < 1:
        raise ConfigError("the command line", [Problem("--episodes", f"{arguments.episodes} is less than 1")])
    set_up_logging()
    from dp_core.runs import evaluate
    from dp_core.training.devices import find_device

    done = evaluate(
        arguments.checkpoint,
        arguments.overrides,
        n_episodes=arguments.episodes,
        output_dir=arguments.output,
        device=find_device(arguments.device, "--device"),
    )
    print("\n".join(report(done)))
    return 0


def report(done: Evaluation) -> list[str]:
    """Put the figures that matter in words."""
    lines, metrics = [], done.metrics
    if "test/mean_score" in metrics:
        lines.append(f"mean score       {_with_interval(metrics, 'test/mean_score')}")
    if "test/success_rate" in metrics:
        lines.append(f"success rate     {_with_interval(metrics, 'test/success_rate')}")
    if "seconds_per_episode" in metrics:
        lines.append(f"time             {metrics['seconds_per_episode']:.2f} s per episode")
    videos = [str(value) for key, value in metrics.items() if "video" in key]
    lines.append(f"log              {done.log}")
    if videos:
        lines.append(f"videos           {Path(videos[0]).parent} ({len(videos)})")
    return lines


def _with_interval(metrics: dict[str, Any], key: str) -> str:
    text = f"{metrics[key]:.3f}"
    if f"{key}_low" in metrics:
        text += f"  (95 % interval {metrics[f'{key}_low']:.3f} to {metrics[f'{key}_high']:.3f})"
    return text
