"""`HookManager`: pluggy, but what it lets pass in silence is an error: misspelt, unmarked and ill-fitting hooks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from dp_core.border import Origin, named, origin_of
from dp_core.discovery.switches import is_tracing, trace
from dp_core.errors import PluginError, did_you_mean, quoted
from dp_core.hooks import PROJECT, RunHooks, hookimpl

if TYPE_CHECKING:
    from dp_core.config.schema import WorkspaceConfig


class HookManager(pluggy.PluginManager):
    """Calls the hooks that one class of specifications declares."""

    def __init__(self, specifications: type) -> None:
        super().__init__(PROJECT)
        self.add_hookspecs(specifications)
        if is_tracing():
            self.add_hookcall_monitoring(_trace_call, lambda *_: None)
        self._arguments = {
            name: list(inspect.signature(hook).parameters)[1:]
            for name, hook in vars(specifications).items()
            if name.startswith("dp_")
        }

    def register(self, plugin: Any, name: str | None = None) -> str | None:
        """Register an object whose methods (or a module whose functions) implement hooks.

        Raises:
            PluginError: a hook that would never be called, or not with what it asks for.
        """
        for attribute in dir(plugin):
            if attribute.startswith("dp_"):
                self._check(plugin, attribute)
        return super().register(plugin, name)

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Look at ``dp_*`` only: pluggy 1.6 reads every attribute, which would set off properties and lazy imports."""
        return super().parse_hookimpl_opts(plugin, name) if name.startswith("dp_") else None

    def _check(self, plugin: Any, name: str) -> None:
        is_marked = self.parse_hookimpl_opts(plugin, name) is not None
        if name not in self._arguments:
            if is_marked:
                hint = did_you_mean(name, self._arguments, f"the hooks are {', '.join(self._arguments)}")
                raise PluginError(f"unknown hook '{name}'; {hint}")
            return
        if not is_marked:
            raise PluginError(f"hook '{name}' lacks @hookimpl")
        for argument in inspect.signature(getattr(plugin, name)).parameters.values():
            if argument.name not in self._arguments[name]:
                known = quoted(self._arguments[name]) or "none"
                raise PluginError(f"hook '{name}' has no argument '{argument.name}'; its arguments are: {known}")
            if argument.default is not argument.empty:
                # pluggy 1.6 would pass the default, always.
                raise PluginError(f"argument '{argument.name}' of hook '{name}' must not have a default")


def _trace_call(hook: str, implementations: Sequence[pluggy.HookImpl], _: Mapping[str, Any]) -> None:
    # pluggy keeps them in the reverse of the order in which it calls them.
    called = [f"{_class_of(each.plugin)} '{each.plugin_name}'" for each in reversed(implementations)]
    trace(f"hook {hook}: {', '.join(called) or 'nobody listens'}")


class Runnable(Protocol):
    """A workspace as the hooks of a run need it; `dp_core.interfaces.workspace` says what callbacks may rely on."""

    @property
    def cfg(self) -> WorkspaceConfig:
        """The complete, checked config of the run."""

    def loop(self) -> None:
        """Do the work of the run."""


def run_hooks(callbacks: Mapping[str, Any], workspace: Runnable) -> pluggy.HookRelay:
    """Return the hooks of a run, which call the callbacks in their order, and the workspace's own loop last.

    Raises:
        PluginError: a callback implements a hook that would never be called; names it.
    """
    manager = HookManager(RunHooks)
    manager.register(_OwnLoop(), name="own loop")
    for key, callback in reversed(list(callbacks.items())):  # pluggy calls the last registered first
        try:
            manager.register(Listener(callback, _naming(key, callback, workspace)), name=key)
        except PluginError as error:
            raise PluginError(f"callbacks.{key}: {error}") from error
    return manager.hook


class Listener:
    """Stands for a callback in a hook manager, with something around each of its hooks."""

    def __init__(self, callback: Any, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Take every method of ``callback`` that is named like a hook, as ``around`` makes it."""
        self.callback = callback
        for name in dir(callback):
            if name.startswith("dp_"):
                method = getattr(callback, name)
                setattr(self, name, around(method) if inspect.isroutine(method) else method)


def _naming(key: str, callback: Any, workspace: Runnable) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let what the hooks of a callback raise name it; and say so where it asks for what its workspace does not have."""
    origin = origin_of(callback) or Origin(f"callbacks.{key}", f"callback '{type(callback).__name__}'")

    def around(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any) -> Any:
            try:
                return method(*arguments)
            except AttributeError as error:
                if error.obj is not workspace:
                    raise named(error, origin)  # noqa: B904 -- it has its cause
                raise PluginError(
                    f"callbacks.{key}: asked for '{error.name}' of the workspace, which "
                    f"{workspace.cfg.workspace.label} does not have; leave the callback out or use another workspace; "
                    "for authors of the callback: dp_core.interfaces.workspace says what it may rely on, and how it "
                    "declares what it needs"
                ) from error
            except Exception as error:
                raise named(error, origin)  # noqa: B904

        # What wraps other hooks is a generator: the errors of what it wraps come through it, and are not its own. Where
        # they come from is told at the end of the run.
        return method if inspect.isgeneratorfunction(method) else call

    return around


def _class_of(plugin: object) -> str:
    return type(plugin.callback if isinstance(plugin, Listener) else plugin).__name__


class _OwnLoop:
    """The last to be asked to run a workspace."""

    @hookimpl(trylast=True)
    def dp_run(self, workspace: Runnable) -> bool:
        workspace.loop()
        return True
