"""Policies of checkpoints: evaluated, and loaded to act."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dp_core.atomic import new_folder, numbered, whole_file
from dp_core.border.log import naming_the_end
from dp_core.config.checks import step_mismatches
from dp_core.config.compose import apply_overrides, leaves, override_paths, resolve
from dp_core.config.fields import Slot
from dp_core.errors import (
    CheckpointError,
    ConfigError,
    DpError,
    InputError,
    PluginError,
    Problem,
    UnsoundStateError,
    quoted,
)
from dp_core.pretrained import skip_pretrained_weights
from dp_core.provenance.manifest import as_manifest
from dp_core.provenance.noise_process import keep_process
from dp_core.registry import Registry
from dp_core.run_config import require_ready

if TYPE_CHECKING:
    import torch

    from dp_core.interfaces import BasePolicy


@attrs.frozen
class Evaluation:
    """What an evaluation measured, and where its files are."""

    metrics: dict[str, Any]
    """What the runner returned: numbers, such as ``test/mean_score``, and paths of videos."""
    output_dir: Path
    """Where the videos are, and ``eval_log.json``, which holds the metrics."""

    @property
    def log(self) -> Path:
        """The file of the metrics."""
        return self.output_dir / "eval_log.json"


def evaluate(
    checkpoint: str | Path,
    overrides: Sequence[str] = (),
    *,
    n_episodes: int | None = None,
    output_dir: str | Path | None = None,
    device: str | torch.device = "auto",
) -> Evaluation:
    """Evaluate the policy of a checkpoint in the environments of its run; the averaged weights if there are any.

    Needs only the file, not its run directory: ``evaluate("latest.ckpt", n_episodes=100).metrics["test/mean_score"]``.

    Args:
        checkpoint: a ``.ckpt`` file.
        overrides: options of its policy and runner to change, such as ``policy.scheduler.num_inference_steps=8``.
        n_episodes: test episodes, and no others, whatever the overrides say; None: as in the run.
        output_dir: where the log and videos go; None: ``eval_<checkpoint>`` in the run directory, or with ``_2``,
            ``_3``, ... if that is taken.
        device: where the policy acts; ``"auto"`` is a GPU if there is one.

    Raises:
        CheckpointError: the file is damaged, or needs components that are not available here.
        ConfigError: an override is wrong or changes neither, or this machine lacks what the runner needs.
        ComponentError: the code of a component failed; the traceback of a runner is in ``error.log`` of the output.
        DpError: the config of the run names no runner; or a component says what the user has to mend.
    """
    import torch

    from dp_core.checkpoint import payload_parts, read_payload, task_of, upgrade_config
    from dp_core.training.devices import find_device

    path = Path(checkpoint)
    registry = Registry.discover()
    payload = upgrade_config(read_payload(path), registry, path)
    _require_heard(overrides, ("policy", "runner"), payload["cfg"])
    episodes = _episodes(registry, apply_overrides(payload["cfg"], overrides).get("runner"), n_episodes)
    data = checkpoint_config(payload, registry, path, [*overrides, *episodes])
    if data.get("runner") is None:
        steps = ", ".join(f"{name}: {data.get(name, '...')}" for name in ("n_obs_steps", "n_action_steps"))
        raise DpError(f"{path}: its config names no runner; add one, for example 'runner={{name: pusht, {steps}}}'")
    parts = payload_parts(payload, registry, path, data, ("policy", "runner"))
    with skip_pretrained_weights():
        require_ready(parts, path)
    _require_equal_steps(parts["policy"], parts["runner"], path)
    data["shape_meta"] = task_of(payload, registry, data, path)
    policy = policy_from(payload, parts["policy"], data, path).to(find_device(str(device), "device"))
    # Each evaluation has a folder of its own, also of those that start at once, unless it was given one.
    output = Path(output_dir) if output_dir is not None else new_folder(numbered(_beside(path)))
    runner = parts["runner"].build(shape_meta=data["shape_meta"], output_dir=output)
    try:
        with torch.no_grad(), naming_the_end(runner, lambda: output):
            evaluation = Evaluation(runner.run(policy), output)
    finally:
        runner.close()
    _write_log(evaluation.log, {"checkpoint": str(path), **evaluation.metrics})
    return evaluation


def load_policy(path: str | Path, device: str | torch.device = "cpu", overrides: Sequence[str] = ()) -> BasePolicy:
    """Rebuild the policy of a checkpoint, ready to act.

    Takes the averaged weights if there are any. Runs nothing from the file, needs neither data nor network.

    Args:
        path: a ``.ckpt`` file.
        device: where the policy is to act.
        overrides: options of it to change, e.g. ``["policy.scheduler={name: ddim, num_inference_steps: 10}"]``. What a
            scheduler leaves out of the noise process is that of the checkpoint.

    Raises:
        CheckpointError: the file is damaged, or needs components that are not available here.
        ConfigError: an override is wrong, a scheduler that reverses another noise process included, or changes
            something else than the policy.
    """
    from dp_core.checkpoint import payload_parts, read_payload, task_of, upgrade_config

    registry = Registry.discover()
    payload = upgrade_config(read_payload(path), registry, path)
    _require_heard(overrides, ("policy",), payload["cfg"])
    data = checkpoint_config(payload, registry, path, overrides)
    parts = payload_parts(payload, registry, path, data, ("policy",))
    data["shape_meta"] = task_of(payload, registry, data, path)
    return policy_from(payload, parts["policy"], data, path).to(device)


def checkpoint_config(
    payload: Mapping[str, Any], registry: Registry, path: str | Path, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the plain config of a payload, with overrides merged as on the command line.

    Raises:
        ConfigError: an override is malformed, or the weights were trained for another noise process than it asks for.
    """
    data = resolve(apply_overrides(payload["cfg"], overrides), str(path))
    return keep_process(registry, payload["cfg"], as_manifest(payload.get("manifest"))["kinds"], data, str(path))


def policy_from(payload: Mapping[str, Any], policy: Slot, data: Mapping[str, Any], path: str | Path) -> BasePolicy:
    """Build a policy with the weights of ``payload``, in eval mode, on the CPU.

    Args:
        payload: from `dp_core.checkpoint.upgrade_config`.
        policy: the block ``policy`` of ``data``, which is the config of the run.

    Raises:
        CheckpointError: there are no weights, they do not fit the policy, or they are not finite.
    """
    from dp_core.checkpoint import misfit, upgrade_weights
    from dp_core.soundness import unsound

    states = payload["state_dicts"]
    key = next((key for key in ("ema_model", "model") if states.get(key) is not None), None)
    if key is None:
        raise CheckpointError(f"{path}: holds no policy; it has the states {', '.join(states) or 'none'}")
    with skip_pretrained_weights():
        built: BasePolicy = policy.build(shape_meta=data["shape_meta"])
    state = upgrade_weights(payload, key, built, path)
    try:
        built.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: the weights do not fit the policy that its config describes: {misfit(built, state, error)}"
        ) from error
    if problems := unsound({key: built}):
        raise UnsoundStateError(
            f"{path}: its weights are not finite: {problems[0]}; its training diverged; take another checkpoint"
        )
    return built.eval()


def _require_heard(overrides: Sequence[str], parts: Sequence[str], cfg: Mapping[str, Any]) -> None:
    """Refuse overrides of what is not built here: they would change nothing."""
    places = [path for part in parts for path in leaves(cfg.get(part), part)]
    problems = []
    for path in (path for override in overrides for path in override_paths(override)):
        if path.partition(".")[0] not in (*parts, "shape_meta"):
            meant = [place for place in places if place.rpartition(".")[2] == path]
            hint = f"did you mean {quoted(meant, ' or ')}?" if meant else "leave it out"
            built = f"{quoted(parts, ' and ')} {'are' if parts[1:] else 'is'} built"
            problems.append(Problem(path, f"changes nothing, since only {built}; {hint}"))
    if problems:
        raise ConfigError("the command line", problems)


def _episodes(registry: Registry, runner: Any, n_episodes: int | None) -> list[str]:
    """Return overrides of the block ``runner`` for ``n_episodes`` test episodes, and no others."""
    if n_episodes is not None and n_episodes < 1:
        raise InputError(f"n_episodes: {n_episodes} is less than 1")
    if n_episodes is None or runner is None:
        return []
    return [*(["runner.n_train=0"] if _has_train_episodes(registry, runner) else []), f"runner.n_test={n_episodes}"]


def _has_train_episodes(registry: Registry, runner: Any) -> bool:
    name = runner.get("name") if isinstance(runner, Mapping) else runner
    try:
        return "n_train" in attrs.fields_dict(registry.resolve("runner", str(name)).config)
    except PluginError:  # which is reported with all else
        return False


def _require_equal_steps(policy: Slot, runner: Slot, path: Path) -> None:
    mismatches = [
        Problem(f"{part}.{name}", f"{here}, but policy.{name} is {there}; add {part}.{name}={there}")
        for part, name, here, there in step_mismatches(policy, runner=runner)
    ]
    if mismatches:
        raise ConfigError(str(path), mismatches)


def _beside(checkpoint: Path) -> Path:
    """Name a folder in the run directory; where the file was copied out of one, in the folder of the file."""
    folder = checkpoint.parent
    return (folder.parent if folder.name == "checkpoints" else folder) / f"eval_{checkpoint.stem}"


def _write_log(path: Path, record: Mapping[str, Any]) -> None:
    plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in record.items()}
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
