"""What callbacks have to do; see `BaseCallback`. They listen to a run of two epochs without an environment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dp_core.checkpoint import copy_to_cpu
from dp_core.config.fields import Slot
from dp_core.config.structure import structure_run
from dp_core.config.tree import unstructure
from dp_core.discovery.hook_manager import HookManager
from dp_core.errors import CheckpointError, PluginError, quoted
from dp_core.hooks import RunHooks
from dp_core.testing.case import Case, NotChecked
from dp_core.testing.checks.description import it_is_built_as_its_kind_is, options_survive_a_config_file
from dp_core.testing.checks.modules import pickled
from dp_core.testing.examples import TINY
from dp_core.testing.samples import differences, seeded


def it_listens_to_hooks_that_exist(case: Case) -> None:
    """Methods named ``dp_...`` are hooks of a run, marked ``@hookimpl``, with arguments that the hook has."""
    callback, manager = case.build(), HookManager(RunHooks)
    try:
        manager.register(callback)
    except PluginError as error:
        case.fail(f"{error}", "see dp_core.hooks.RunHooks for the names of hooks and arguments")
    if not manager.get_hookcallers(callback):
        case.fail(
            "listens to no hook; expected at least one", "mark a method with @hookimpl, see dp_core.hooks.RunHooks"
        )


def it_gets_through_a_run(case: Case) -> None:
    """A run with it, and a resumed one, go to their end; its summary is lines."""
    with tempfile.TemporaryDirectory() as folder:
        for goes_on in (False, True):
            workspace = _workspace(case, folder)
            try:
                with seeded():
                    if goes_on:
                        workspace.load_checkpoint()
                    workspace.run()
            except Exception as error:
                case.fail(
                    f"{'a resumed' if goes_on else 'a'} run with it ended with {type(error).__name__}: {error}; "
                    "expected it to go to its end",
                    "catch what must not stop a training run",
                )
            lines = workspace.callbacks["checked"].summary()
            if not isinstance(lines, list) or not all(isinstance(line, str) and "\n" not in line for line in lines):
                case.fail(f"summary returned {lines!r}; expected a list of lines", "return one string for each line")


def its_state_goes_through_a_checkpoint(case: Case) -> None:
    """What ``state_dict`` returns after a run is plain, and the same after ``load_state_dict`` in a new one."""
    with _after_a_run(case) as callback:
        state = callback.state_dict()
        try:
            state = copy_to_cpu(state)
        except CheckpointError as error:
            case.fail(
                f"its state cannot be saved: {error}; expected plain containers, numbers, strings and tensors",
                "convert numbers of numpy with .item() and paths with str()",
            )
        again = case.build()
        if state:
            again.load_state_dict(state)
        if different := list(differences(state, again.state_dict())):
            case.fail(
                f"its state is different after it was loaded, in {quoted(different)}; expected the same",
                "take up in load_state_dict all that state_dict returns",
            )


def it_can_be_pickled(case: Case) -> None:
    """A snapshot of the run can hold it, before a run and after."""
    pickled(case, case.build())
    with _after_a_run(case) as callback:
        if different := list(differences(callback.state_dict(), pickled(case, callback).state_dict())):
            case.fail(
                f"what was pickled has another state, in {quoted(different)}; expected the same",
                "leave nothing out in __getstate__ that state_dict returns",
            )


CHECKS = (
    it_listens_to_hooks_that_exist,
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    it_gets_through_a_run,
    its_state_goes_through_a_checkpoint,
    it_can_be_pickled,
)


@contextmanager
def _after_a_run(case: Case) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder, seeded():
        try:
            workspace = _workspace(case, folder)
            workspace.run()
        except Exception as error:
            raise NotChecked("a run with it does not go to its end") from error
        yield workspace.callbacks["checked"]


def _workspace(case: Case, folder: str) -> Any:
    slot: Slot = case.slot()
    block = unstructure(slot)
    cfg = structure_run(case.registry, {"workspace": TINY, "callbacks": {"checked": block}}, str(case))
    return cfg.workspace.load()(cfg, output_dir=Path(folder))
