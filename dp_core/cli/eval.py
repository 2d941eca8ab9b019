"""``dp-eval``: rebuild the policy of a checkpoint from the file alone and evaluate it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dp_core.atomic import new_folder, numbered, whole_file
from dp_core.cli.messages import run_command, set_up_logging
from dp_core.cli.plugin_option import add_plugin_option
from dp_core.errors import ConfigError, DpError, Problem


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``dp-eval``."""
    parser = argparse.ArgumentParser(
        prog="dp-eval",
        description="Evaluate the policy in a checkpoint; the averaged weights if there are any.",
        epilog="example: dp-eval runs/x/checkpoints/latest.ckpt --episodes 100 policy.scheduler.num_inference_steps=8",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a .ckpt file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options to change: policy.scheduler, runner")
    parser.add_argument("--episodes", type=int, metavar="N", help="test episodes; default: as in the run")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where the log and videos go; default: eval_<checkpoint> in the run directory, the next with _2, ...",
    )
    parser.add_argument("--device", default="auto", help="'auto', 'cpu', 'cuda', ...")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    add_plugin_option(parser)
    arguments = parser.parse_intermixed_args(argv)
    return run_command("dp-eval", lambda: _evaluate(arguments), arguments.traceback, arguments.plugins)


def _evaluate(arguments: argparse.Namespace) -> int:
    set_up_logging()
    import torch

    from dp_core.checkpoint import payload_parts, read_payload
    from dp_core.config.checks import step_mismatches
    from dp_core.config.tree import preflight
    from dp_core.pretrained import skip_pretrained_weights
    from dp_core.registry import Registry
    from dp_core.runs import checkpoint_config, policy_from
    from dp_core.training.devices import find_device

    path = Path(arguments.checkpoint)
    payload = read_payload(path)
    registry = Registry.discover()
    data = checkpoint_config(payload, registry, path, _overrides(payload, arguments))
    if data.get("runner") is None:
        steps = ", ".join(f"{name}: {data.get(name, '...')}" for name in ("n_obs_steps", "n_action_steps"))
        raise DpError(f"{path}: its config names no runner; add one, for example 'runner={{name: pusht, {steps}}}'")
    parts = payload_parts(payload, registry, path, data, ("policy", "runner"))
    with skip_pretrained_weights():
        lacking = list(preflight(parts))
    if lacking:
        raise ConfigError(str(path), lacking)
    mismatches = [
        Problem(f"{part}.{name}", f"{here}, but policy.{name} is {there}; add {part}.{name}={there}")
        for part, name, here, there in step_mismatches(parts["policy"], runner=parts["runner"])
    ]
    if mismatches:
        raise ConfigError(str(path), mismatches)
    policy = policy_from(payload, parts["policy"], data, path).to(find_device(arguments.device, "--device"))
    # Each evaluation has a folder of its own, also of those that start at once, unless it was given one.
    output = Path(arguments.output) if arguments.output else new_folder(numbered(_beside(path)))
    runner = parts["runner"].build(shape_meta=data["shape_meta"], output_dir=output)
    try:
        with torch.no_grad():
            metrics = runner.run(policy)
    finally:
        runner.close()
    _write_log(output / "eval_log.json", {"checkpoint": str(path), **metrics})
    print("\n".join(report(metrics, output)))
    return 0


def report(metrics: dict[str, Any], output: Path) -> list[str]:
    """The figures that matter, in words."""
    lines = []
    if "test/mean_score" in metrics:
        lines.append(f"mean score       {_with_interval(metrics, 'test/mean_score')}")
    if "test/success_rate" in metrics:
        lines.append(f"success rate     {_with_interval(metrics, 'test/success_rate')}")
    if "seconds_per_episode" in metrics:
        lines.append(f"time             {metrics['seconds_per_episode']:.2f} s per episode")
    videos = [str(value) for key, value in metrics.items() if "video" in key]
    lines.append(f"log              {output / 'eval_log.json'}")
    if videos:
        lines.append(f"videos           {Path(videos[0]).parent} ({len(videos)})")
    return lines


def _beside(checkpoint: Path) -> Path:
    """In the run directory; where the file was copied out of one, in the same folder."""
    folder = checkpoint.parent
    return (folder.parent if folder.name == "checkpoints" else folder) / f"eval_{checkpoint.stem}"


def _overrides(payload: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    overrides = list(arguments.overrides)
    if arguments.episodes is not None:
        if arguments.episodes < 1:
            raise ConfigError("the command line", [Problem("--episodes", f"{arguments.episodes} is less than 1")])
        runner = payload["cfg"].get("runner") or {}
        overrides.insert(0, f"runner.n_test={arguments.episodes}")
        if "n_train" in runner:
            overrides.insert(0, "runner.n_train=0")
    return overrides


def _with_interval(metrics: dict[str, Any], key: str) -> str:
    text = f"{metrics[key]:.3f}"
    if f"{key}_low" in metrics:
        text += f"  (95 % interval {metrics[f'{key}_low']:.3f} to {metrics[f'{key}_high']:.3f})"
    return text


def _write_log(path: Path, record: dict[str, Any]) -> None:
    plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in record.items()}
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
