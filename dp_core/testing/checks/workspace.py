"""The rules of workspaces, see `BaseWorkspace`. Slots that have to be filled are filled with stand-ins."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

from dp_core import hookimpl
from dp_core.checkpoint import read_payload
from dp_core.config.checks import parts_named
from dp_core.config.metrics import is_measured
from dp_core.discovery.hook_manager import run_hooks
from dp_core.errors import CheckpointError, DpError, quoted
from dp_core.interfaces import BaseCallback, BasePolicy, Workspace
from dp_core.testing.case import Case, ConformanceError
from dp_core.testing.checks.description import options_survive_a_config_file
from dp_core.testing.samples import differences, seeded


def it_is_built_as_its_kind_is(case: Case) -> None:
    """Check that the target is called as ``target(cfg, output_dir=...)`` and writes nothing yet."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = _built(case, folder)
        if written := sorted(path.name for path in Path(folder).iterdir()):
            case.fail(f"its constructor wrote {quoted(written)}; expected nothing", "write when the run starts")
        workspace.close()


def a_run_leaves_a_checkpoint(case: Case) -> None:
    """Check that `run` ends and leaves ``checkpoints/latest.ckpt``, which can be read without running code."""
    with _after_a_run(case) as workspace:
        try:
            read_payload(workspace.get_checkpoint_path())
        except CheckpointError as error:
            case.fail(
                f"a run left no checkpoint that can be read: {str(error).replace(f'{workspace.output_dir}/', '')}; "
                "expected one",
                "call self.save_checkpoint() at the end of loop()",
            )


def it_is_restored_from_its_checkpoint(case: Case) -> None:
    """Check that a new workspace that loads the checkpoint has the same state."""
    with _after_a_run(case) as workspace, tempfile.TemporaryDirectory() as folder:
        path = workspace.save_checkpoint(use_thread=False)
        other = _built(case, folder)
        try:
            other.load_checkpoint(path)
            again = other.save_checkpoint(use_thread=False)
        except DpError as error:
            case.fail(
                f"its checkpoint does not load into a new one: {error}; expected it to",
                "make what has a state in the constructor, or with self.attach once the data is known",
            )
        finally:
            other.close()
        before, after = read_payload(path), read_payload(again)
        parts = ("state_dicts", "callbacks")
        if different := [name for part in parts for name in differences(before[part], after[part])]:
            case.fail(
                f"restored from its checkpoint, {quoted(different[:5])} differ; expected the same state",
                "return in state_dict() all that load_state_dict() has to put back",
            )


def callbacks_find_what_it_provides(case: Case) -> None:
    """Check that what its config class names in ``provides`` is there wherever a callback sees the workspace."""
    probe = _Probe(parts_named(case.component, "provides"))
    with _after_a_run(case, probe):
        pass
    for hook, part, found, expected in probe.faults:
        case.fail(
            f"in {hook}, its '{part}' {found}; expected {expected}",
            f"give it one, see dp_core.interfaces.Workspace, or leave it out of 'provides' of "
            f"{case.component.config.__name__}",
        )


def a_run_ends_when_a_callback_asks_it_to(case: Case) -> None:
    """Check that one that provides ``request_stop`` begins no epoch after that in which a callback called it."""
    if "request_stop" not in parts_named(case.component, "provides"):
        return
    stopper = _Stopper()
    with _after_a_run(case, stopper):
        pass
    if stopper.epochs > 1:
        case.fail(
            f"asked to stop in its first epoch, a run began {stopper.epochs}; expected no other",
            "end loop() where an epoch is complete and self.stop_reason is not None",
        )


def its_epochs_measure_what_its_options_say(case: Case) -> None:
    """Check that every number among the metrics of an epoch is among ``measures`` of its options, if they have that."""
    probe = _Probe(())
    with _after_a_run(case, probe) as workspace:
        measures = workspace.cfg.measures
    if unknown := [name for name in probe.measured if not is_measured(name, measures)]:
        case.fail(
            f"an epoch measured {quoted(unknown)}; expected what 'measures' of {case.component.config.__name__} has: "
            f"{', '.join(measures)}",
            "add it there: callbacks can be told in a config to look for what is measured, and for nothing else",
        )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    a_run_leaves_a_checkpoint,
    it_is_restored_from_its_checkpoint,
    callbacks_find_what_it_provides,
    a_run_ends_when_a_callback_asks_it_to,
    its_epochs_measure_what_its_options_say,
)


def _is_progress(value: Any) -> bool:
    counts = [getattr(value, name, None) for name in ("epoch", "global_step", "step_in_epoch", "windows_in_epoch")]
    return all(type(count) is int for count in counts) and isinstance(getattr(value, "last_metrics", None), Mapping)


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


_SIZE = ("a whole number above 0", _is_size)
PARTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "progress": ("a dp_core.interfaces.RunProgress", _is_progress),
    "num_epochs": _SIZE,
    "steps_per_epoch": _SIZE,
    "batch_size": _SIZE,
    "model": ("a BasePolicy", lambda value: isinstance(value, BasePolicy)),
    "ema_model": ("a BasePolicy or None", lambda value: value is None or isinstance(value, BasePolicy)),
    "request_stop": ("a method", callable),
}
"""What each of the parts of a workspace has to be: in words, and how to tell."""


class _Probe(BaseCallback):
    """Looks at parts of the workspace in every hook of a run, and remembers the names of what epochs measure."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        self._parts = parts
        self.faults: list[tuple[str, str, str, str]] = []
        """Hook, part, what was found, what was expected."""
        self.measured: dict[str, None] = {}

    @hookimpl
    def dp_before_run(self, workspace: Workspace) -> None:
        self._look("dp_before_run", workspace)

    @hookimpl
    def dp_before_epoch(self, workspace: Workspace) -> None:
        self._look("dp_before_epoch", workspace)

    @hookimpl
    def dp_after_train_step(self, workspace: Workspace) -> None:
        self._look("dp_after_train_step", workspace)

    @hookimpl
    def dp_after_rollout(self, workspace: Workspace) -> None:
        self._look("dp_after_rollout", workspace)

    @hookimpl
    def dp_after_epoch(self, workspace: Workspace, metrics: dict[str, Any]) -> None:
        self._look("dp_after_epoch", workspace)
        self.measured |= dict.fromkeys(name for name, value in metrics.items() if isinstance(value, Real))

    @hookimpl
    def dp_before_checkpoint_save(self, workspace: Workspace) -> None:
        self._look("dp_before_checkpoint_save", workspace)

    @hookimpl
    def dp_after_checkpoint_save(self, workspace: Workspace) -> None:
        self._look("dp_after_checkpoint_save", workspace)

    @hookimpl
    def dp_after_run(self, workspace: Workspace) -> None:
        self._look("dp_after_run", workspace)

    def _look(self, hook: str, workspace: Workspace) -> None:
        for part in self._parts:
            expected, fits = PARTS[part]
            try:
                value = getattr(workspace, part)
            except Exception as error:
                self.faults.append((hook, part, f"raised {type(error).__name__}: {error}", expected))
                continue
            if not fits(value):
                self.faults.append((hook, part, f"was {value!r}", expected))


class _Stopper(BaseCallback):
    """Asks a run to stop in every epoch, and counts those that begin."""

    def __init__(self) -> None:
        self.epochs = 0

    @hookimpl
    def dp_before_epoch(self, workspace: Workspace) -> None:
        self.epochs += 1
        workspace.request_stop("the conformance test asks for it")


def _built(case: Case, folder: str) -> Any:
    """Workspaces are given the complete config, their own component included."""
    with seeded():
        return case.build(output_dir=Path(folder))


@contextmanager
def _after_a_run(case: Case, probe: BaseCallback | None = None) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder, seeded():
        workspace = _built(case, folder)
        if probe is not None:
            workspace.hooks = run_hooks({**workspace.callbacks, "probe": probe}, workspace)
        try:
            workspace.run()
        except Exception as error:
            raise ConformanceError(
                f"{case}: a run ended with {type(error).__name__}: {error}; expected it to go to its end; "
                "start it with dp-run and --traceback to see where"
            ) from error
        yield workspace
        workspace.close()
