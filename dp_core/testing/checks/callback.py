"""The rules of callbacks, see `BaseCallback`. They listen to a run of two epochs without an environment."""

from __future__ import annotations

import copy
import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from dp_core.border import describe
from dp_core.checkpoint import copy_to_cpu
from dp_core.config.checks import parts_named
from dp_core.config.fields import Slot
from dp_core.config.schema import WORKSPACE_PARTS
from dp_core.config.structure import structure_run
from dp_core.config.tree import unstructure
from dp_core.discovery.hook_manager import HookManager, Listener, run_hooks
from dp_core.errors import CheckpointError, PluginError, quoted
from dp_core.hooks import RunHooks
from dp_core.testing.case import Case, NotChecked
from dp_core.testing.checks.description import it_is_built_as_its_kind_is, options_survive_a_config_file
from dp_core.testing.checks.modules import pickled
from dp_core.testing.examples import TINY
from dp_core.testing.samples import differences, seeded

OF_EVERY_WORKSPACE = ("cfg", "output_dir", "get_checkpoint_path")
"""Parts of `dp_core.interfaces.Workspace` that need not be declared."""


def it_listens_to_hooks_that_exist(case: Case) -> None:
    """Check that methods named ``dp_...`` are hooks of a run, marked ``@hookimpl``, with arguments that it has."""
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
    """Check that a run with it, and a resumed one, go to their end; its summary is lines."""
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
                    f"{'a resumed' if goes_on else 'a'} run with it ended with {describe(error)}; "
                    "expected it to go to its end",
                    "catch what must not stop a training run",
                )
            lines = workspace.callbacks["checked"].summary()
            if not isinstance(lines, list) or not all(isinstance(line, str) and "\n" not in line for line in lines):
                case.fail(f"summary returned {lines!r}; expected a list of lines", "return one string for each line")


def it_reads_of_the_workspace_what_it_declares(case: Case) -> None:
    """Check that it reads what every workspace has and what its config class names in ``needs``, and sets nothing."""
    seen = _View.of(case)
    config = case.component.config.__name__
    for name in seen.assigned:
        case.fail(f"sets '{name}' of the workspace; expected it to set nothing", "keep it in the callback")
    for name in seen.read:
        if name not in (*OF_EVERY_WORKSPACE, *WORKSPACE_PARTS):
            case.fail(
                f"reads '{name}' of the workspace; expected only what dp_core.interfaces.Workspace has",
                "take it from what is there, from the metrics of a hook or from the payload of a checkpoint",
            )
    needs = parts_named(case.component, "needs")
    if undeclared := [name for name in seen.read if name not in (*OF_EVERY_WORKSPACE, *needs)]:
        case.fail(
            f"reads {quoted(undeclared)} of the workspace; expected {config} to name what not every workspace has",
            f"write needs: ClassVar[tuple[str, ...]] = {(*needs, *undeclared)!r} in {config}",
        )


def its_state_goes_through_a_checkpoint(case: Case) -> None:
    """Check that ``state_dict`` is plain after a run, and the same after ``load_state_dict`` in a new one."""
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


def a_resumed_run_leaves_it_as_a_whole_one_does(case: Case) -> None:
    """Check that what it counts or keeps is the same after a run that was resumed in its middle."""
    new, whole, resumed = (_kept(case, epochs) for epochs in ((), (2,), (1, 2)))
    lost = [
        name
        for name, value in whole.items()
        if list(differences(new.get(name), value)) and list(differences(value, resumed.get(name)))
    ]
    if not lost:
        return
    again = _kept(case, (2,))
    for name in lost:
        if not list(differences(whole[name], again.get(name))):  # else it is of its process: a time, a folder
            case.fail(
                f"after a resumed run, its '{name}' is {resumed.get(name)!r}, and after a whole one {whole[name]!r}; "
                "expected the same",
                "return it in state_dict, and take it up in load_state_dict",
            )


def it_can_be_pickled(case: Case) -> None:
    """Check that a snapshot of the run can hold it, before a run and after."""
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
    it_reads_of_the_workspace_what_it_declares,
    its_state_goes_through_a_checkpoint,
    a_resumed_run_leaves_it_as_a_whole_one_does,
    it_can_be_pickled,
)


class _View:
    """A workspace as a callback sees it, which takes note of what is read and assigned, in the order of first use."""

    def __init__(self, workspace: Any) -> None:
        vars(self).update(workspace=workspace, read={}, assigned={})

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):  # those are Python's own questions
            self.read[name] = True
        return getattr(self.workspace, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.assigned[name] = True
        setattr(self.workspace, name, value)

    @classmethod
    def of(cls, case: Case) -> _View:
        """Run a workspace in which the callback sees a view, and return that."""
        with tempfile.TemporaryDirectory() as folder, seeded():
            try:
                workspace = _workspace(case, folder)
                view = cls(workspace)
                listener = Listener(workspace.callbacks["checked"], view._shown)
                workspace.hooks = run_hooks({"checked": listener}, workspace)
                workspace.run()
            except Exception as error:
                raise NotChecked("a run with it does not go to its end") from error
        return view

    def _shown(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Let a hook receive the view in place of the workspace."""

        def shown(arguments: tuple[Any, ...]) -> list[Any]:
            return [self if argument is self.workspace else argument for argument in arguments]

        @wraps(method)
        def call(*arguments: Any) -> Any:
            return method(*shown(arguments))

        @wraps(method)
        def wrap(*arguments: Any) -> Any:
            return (yield from method(*shown(arguments)))

        return wrap if inspect.isgeneratorfunction(method) else call


@contextmanager
def _after_a_run(case: Case) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder, seeded():
        try:
            workspace = _workspace(case, folder)
            workspace.run()
        except Exception as error:
            raise NotChecked("a run with it does not go to its end") from error
        yield workspace.callbacks["checked"]


def _kept(case: Case, epochs: tuple[int, ...]) -> dict[str, Any]:
    """Return the plain attributes of the callback after a run that is resumed with more and more epochs, or none."""
    callback = case.build()
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number, n_epochs in enumerate(epochs):
                with seeded():
                    workspace = _workspace(case, folder, n_epochs)
                    if number:
                        workspace.load_checkpoint()
                    workspace.run()
                callback = workspace.callbacks["checked"]
        except Exception as error:
            raise NotChecked("a run with it does not go to its end") from error
    slots = [
        name for cls in type(callback).__mro__ for name in getattr(cls, "__slots__", ()) if hasattr(callback, name)
    ]
    kept = vars(callback) | {name: getattr(callback, name) for name in slots if not name.startswith("__")}
    return {name: copy.deepcopy(value) for name, value in kept.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, (*value.keys(), *value.values())))
    if isinstance(value, list | tuple | set):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | Path)


def _workspace(case: Case, folder: str, n_epochs: int = 2) -> Any:
    slot: Slot = case.slot()
    block = unstructure(slot)
    training = {"num_epochs": n_epochs, "checkpoint_every": 1, "device": "cpu"}
    config = {"workspace": TINY, "callbacks": {"checked": block}, "training": training}
    cfg = structure_run(case.registry, config, str(case))
    return cfg.workspace.load()(cfg, output_dir=Path(folder))
