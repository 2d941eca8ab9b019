"""`BaseWorkspace`: built from a config, it runs, is saved and is restored. What it does is a subclass's `loop`."""

from __future__ import annotations

import logging
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import dill

from dp_core.atomic import whole_file
from dp_core.border.log import naming_the_end, recorded
from dp_core.border.origin import Origin, remember
from dp_core.checkpoint import (
    FORMAT,
    CheckpointWriter,
    copy_to_cpu,
    payload_config,
    read_payload,
    restore_state,
    stateful,
    unpickle,
    upgrade_payload,
    write_payload,
)
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.tree import unstructure
from dp_core.discovery.hook_manager import run_hooks
from dp_core.errors import CheckpointError, UnsoundStateError, attempt_all
from dp_core.interfaces.callback import BaseCallback
from dp_core.pretrained import skip_pretrained_weights
from dp_core.profiling import section
from dp_core.provenance.manifest import manifest
from dp_core.registry import Registry
from dp_core.run_config import run_folder
from dp_core.soundness import require_sound_start, unsound

_SAVED = "the state is saved"
logger = logging.getLogger(__name__)


class BaseWorkspace(ABC):
    """The life cycle shared by all training recipes.

    The constructor builds what a checkpoint is restored into, `loop` does the work::

        class Recipe(BaseWorkspace):
            def __init__(self, cfg, output_dir=None):
                super().__init__(cfg, output_dir)
                self.model = cfg.policy.build(shape_meta=cfg.shape_meta)

            def loop(self):
                train(self.model)
                self.save_checkpoint()

        workspace = Recipe(cfg, "runs/mine")  # cfg: as `dp_core.run_config.load_config` returns it
        workspace.run()  # continues a run if `workspace.load_checkpoint()` was called before

    An attribute that has ``state_dict`` and ``load_state_dict`` is part of every checkpoint; what must not be saved is
    a local variable of `loop`. An attribute that can only be made once the data is known is set with `attach`.
    """

    # Set these in subclasses that need others.
    include_keys: tuple[str, ...] = ()
    """Attributes saved by value. Loading runs pickled code, if ``trust_pickles`` allows it: prefer a state dict."""
    exclude_keys: tuple[str, ...] = ()
    """Attributes left out of checkpoints."""
    remedy: str = "a lower learning rate"
    """What to try once weights are not finite any more; ends a message."""

    def __init__(self, cfg: WorkspaceConfig, output_dir: str | Path | None = None) -> None:
        self.cfg = cfg
        self._output_dir = Path(output_dir) if output_dir is not None else None
        self._deferred: dict[str, Any] = {}
        self._writer = CheckpointWriter()
        self._positions: dict[Path, str] = {}
        """How far the run was when a checkpoint of this process was written or loaded, by its absolute path."""
        self.stop_reason: str | None = None
        """What the run was first asked to stop for; None: it was not. A `loop` ends after the current epoch then."""
        self._has_run = False
        self.callbacks: dict[str, BaseCallback] = {key: slot.build() for key, slot in cfg.callbacks.items()}
        self.hooks = run_hooks(self.callbacks, self)

    @property
    def output_dir(self) -> Path:
        """The run directory. Unless its name is given, the first access makes it, so that no other run gets it."""
        if self._output_dir is None:
            self._output_dir = run_folder(self.cfg)
        return self._output_dir

    # -- running --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run to the end, or continue to it after a checkpoint was loaded.

        Raises:
            UnsoundStateError: what it starts from is not finite.
            ComponentError: a component failed, which may be this one; the traceback is in ``error.log`` of the run.
        """
        if self._has_run:
            self.stop_reason = None  # a run that was stopped continues
        self._has_run = True
        remember(self, Origin.of(self.cfg.workspace, "workspace"))
        try:
            require_sound_start(self.unsound(), next(reversed(self._positions), "the new workspace"), self.remedy)
            self.hooks.dp_run(workspace=self)
            with section("checkpoint"):
                self._writer.wait()
            self.hooks.dp_after_run(workspace=self)
        except BaseException as error:
            end = recorded(error, self, lambda: self.output_dir)
            # What fails now must not hide why the run ends.
            attempt_all(self.settle, partial(self.hooks.dp_on_run_error, workspace=self, error=end), self.close)
            raise end  # noqa: B904 -- it has its cause
        with naming_the_end(self, lambda: self.output_dir):
            self.close()

    @abstractmethod
    def loop(self) -> None:
        """Do the work of the run; a callback may wrap it through the hook ``dp_run``."""

    def request_stop(self, reason: str) -> None:
        """End the run after the current epoch as if that were the last one: evaluated, saved, summed up.

        Of several requests, the first counts.

        Args:
            reason: what the log and the summary of the run say.
        """
        if self.stop_reason is None:
            self.stop_reason = reason
            logger.info("the run ends after this epoch: %s", reason)

    def close(self) -> None:
        """Finish writing and release what the run holds. `run` calls it, whatever happens."""
        self._writer.wait()

    def settle(self) -> None:
        """Wait until no file is being written any more, for a run that ends with an error: what fails is but logged."""
        self._writer.settle()

    def summary(self) -> list[str]:
        """Return lines for the end of the run: why it was stopped; a subclass adds its figures."""
        return [] if self.stop_reason is None else [f"stopped: {self.stop_reason}"]

    def next_step(self) -> str:
        """Return what to type when the run is done."""
        return f"dp-eval {self.get_checkpoint_path()} --episodes 100"

    def position(self) -> str:
        """Describe how far the run is; empty, the default, where a workspace does not say."""
        return ""

    def describe_checkpoint(self) -> str:
        """Describe what is on disk: the state of the moment, or how far the run was at the latest checkpoint."""
        self.settle()
        path = self.get_checkpoint_path()
        if not path.exists():
            return "there is no checkpoint yet"
        position = self._positions.get(path.absolute(), "")
        if position and position == self.position():
            return _SAVED
        return f"the last checkpoint is {path}" + (f", of {position}" if position else "")

    def how_to_continue(self, problem: str = "") -> str:
        """Say what is on disk and what to type, for a run that ended early.

        Args:
            problem: why the state of the moment is not saved, if it is not.
        """
        saved = self.describe_checkpoint()
        if problem and saved != _SAVED:  # or the problem came after the file was written
            saved = f"{problem}; {saved}"
        return f"{saved}. Continue with: dp-run --resume {self.output_dir}"

    def unsound(self, exclude_keys: Iterable[str] | None = None) -> list[str]:
        """Name what of the state must not be kept, since it is not finite; see `dp_core.soundness.unsound`."""
        excluded = set(self.exclude_keys if exclude_keys is None else exclude_keys)
        return unsound({key: value for key, value in stateful(self.__dict__).items() if key not in excluded})

    def require_sound(self, exclude_keys: Iterable[str] | None = None) -> None:
        """Refuse a state that must not be kept. Asked before every save, and before an epoch is evaluated.

        Args:
            exclude_keys: attributes that may be anything; None for the class's.

        Raises:
            UnsoundStateError: something is not finite. Says what is on disk instead, and how to continue.
        """
        if not (problems := self.unsound(exclude_keys)):
            return
        saved = self.describe_checkpoint()
        again = f"continue from it with {self.remedy}: dp-run --resume {self.output_dir}"
        if not self.get_checkpoint_path().exists():
            again = f"start again with {self.remedy}"
        raise UnsoundStateError(
            f"the state is not saved, since it is not finite: {', '.join(problems)}; {saved}; {again}"
        )

    def attach(self, name: str, value: Any, *, restore: bool = True) -> None:
        """Set an attribute that is saved in checkpoints, and restore it if one was loaded before it existed.

        Args:
            restore: False where the state in the checkpoint is of no use.
        """
        setattr(self, name, value)
        state = self._deferred.pop(name, None)
        if state is not None and restore:
            restore_state(name, value, state, strict=True)

    # -- saving ---------------------------------------------------------------------------------------------------

    def get_checkpoint_path(self, tag: str = "latest") -> Path:
        """Return ``<output_dir>/checkpoints/<tag>.ckpt``."""
        return self.output_dir / "checkpoints" / f"{tag}.ckpt"

    @section("checkpoint")
    def save_checkpoint(
        self,
        path: str | Path | None = None,
        tag: str = "latest",
        exclude_keys: Iterable[str] | None = None,
        include_keys: Iterable[str] | None = None,
        use_thread: bool = True,
        metrics: Mapping[str, Any] | None = None,
    ) -> str:
        """Save the state of the run.

        Args:
            path: where to; None for the path of ``tag``.
            exclude_keys: attributes to leave out; None for the class's.
            include_keys: attributes to save by value; None for the class's.
            use_thread: copy now and write in the background; `run` and the end of the program wait for the file.
            metrics: of the moment, for callbacks such as the best-checkpoint list.

        Raises:
            UnsoundStateError: weights, or what goes with them, are not finite. What is on disk stays as it is.
            CheckpointError: a file cannot be written, this one or the one before, or a state is not plain.

        Returns:
            The absolute path. With ``use_thread`` the file appears there, whole, a moment later.
        """
        self.require_sound(exclude_keys)
        self._writer.wait()  # its error comes before callbacks hear of a save that is not made
        target = Path(path) if path is not None else self.get_checkpoint_path(tag)
        position = self.position()
        payload = self._payload(exclude_keys, include_keys)
        self.hooks.dp_before_checkpoint_save(workspace=self, payload=payload, metrics=dict(metrics or {}))
        payload["callbacks"] = {key: state for key, cb in self.callbacks.items() if (state := cb.state_dict())}
        payload = copy_to_cpu(payload)

        def announce() -> None:
            self._positions[target.absolute()] = position
            self.hooks.dp_after_checkpoint_save(workspace=self, path=target)

        if use_thread:
            self._writer.submit(target, payload, announce)
        else:
            write_payload(target, payload)
            announce()
        return str(target.absolute())

    def save_snapshot(self, tag: str = "latest") -> str:
        """Pickle the whole workspace, code references included, to ``<output_dir>/snapshots/<tag>.pkl``.

        Raises:
            UnsoundStateError: as in `save_checkpoint`.
        """
        self.require_sound(())
        path = self.output_dir / "snapshots" / f"{tag}.pkl"
        with whole_file(path) as temporary:
            temporary.write_bytes(pickle.dumps(self))
        return str(path.absolute())

    def __getstate__(self) -> dict[str, Any]:
        self._writer.wait()
        return {key: value for key, value in self.__dict__.items() if key not in ("_writer", "hooks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._writer = CheckpointWriter()
        self.hooks = run_hooks(self.callbacks, self)

    # -- restoring ------------------------------------------------------------------------------------------------

    def load_payload(
        self,
        payload: Mapping[str, Any],
        exclude_keys: Iterable[str] | None = None,
        include_keys: Iterable[str] | None = None,
        *,
        strict: bool = True,
        trust_pickles: bool = False,
    ) -> None:
        """Restore what a payload holds, after it was upgraded to the versions that are here.

        Args:
            exclude_keys: state dicts and callbacks to leave as they are, or that this config leaves out.
            include_keys: values to unpickle; None for those of the class's ``include_keys`` that the payload has.
            strict: whether the weights of modules have to match exactly.
            trust_pickles: allow unpickling, which can run any code that is in the file.

        Raises:
            CheckpointError: the payload has a state that does not fit or that this config leaves out, or pickles that
                are not trusted.
        """
        payload = upgrade_payload(payload, self.cfg, self.__dict__, "the payload")
        excluded = set(exclude_keys or ())
        pickled = [key for key in self.include_keys if key in payload.get("pickles", {})]
        values = unpickle(payload, pickled if include_keys is None else list(include_keys), trust_pickles)
        for key, state in payload["state_dicts"].items():
            if key not in excluded:
                self._load_state(key, state, strict)
        for key in stateful(self.__dict__):
            if key not in {*excluded, *self.exclude_keys, *payload["state_dicts"]}:
                logger.warning("the checkpoint has no state for '%s', which stays as it is", key)
        for key, value in values.items():
            setattr(self, key, value)
        for key, state in payload.get("callbacks", {}).items():
            if key in self.callbacks and key not in excluded:
                restore_state(f"callbacks.{key}", self.callbacks[key], state, strict=True)
        self.hooks.dp_after_checkpoint_load(workspace=self, payload=payload)

    def load_checkpoint(
        self,
        path: str | Path | None = None,
        tag: str = "latest",
        exclude_keys: Iterable[str] | None = None,
        include_keys: Iterable[str] | None = None,
        *,
        strict: bool = True,
        trust_pickles: bool = False,
    ) -> dict[str, Any]:
        """Restore from a file, see `load_payload`, and return its payload. Tensors go where those before them were."""
        self._writer.wait()
        path = Path(path) if path is not None else self.get_checkpoint_path(tag)
        payload = upgrade_payload(read_payload(path), self.cfg, self.__dict__, path)
        self.load_payload(payload, exclude_keys, include_keys, strict=strict, trust_pickles=trust_pickles)
        self._positions[path.absolute()] = self.position()
        return payload

    @classmethod
    def create_from_checkpoint(
        cls,
        path: str | Path,
        exclude_keys: Iterable[str] | None = None,
        include_keys: Iterable[str] | None = None,
        *,
        output_dir: str | Path | None = None,
        strict: bool = True,
        trust_pickles: bool = False,
    ) -> Self:
        """Build the workspace that a checkpoint describes and restore it. Needs neither its run directory nor data."""
        payload = read_payload(path)
        cfg = payload_config(payload, Registry.discover(), path)
        target = cfg.workspace.load()
        if not issubclass(target, cls):
            raise CheckpointError(f"{path}: was written by '{cfg.workspace.qualified_name}', not by {cls.__name__}")
        with skip_pretrained_weights():
            workspace = target(cfg, output_dir=output_dir)
        payload = upgrade_payload(payload, cfg, workspace.__dict__, path)
        workspace.load_payload(payload, exclude_keys, include_keys, strict=strict, trust_pickles=trust_pickles)
        return workspace

    @classmethod
    def create_from_snapshot(cls, path: str | Path) -> Self:
        """Unpickle a workspace, with the versions that wrote it. Runs code from the file: open only what you made."""
        workspace = pickle.loads(Path(path).read_bytes())
        if not isinstance(workspace, cls):
            raise CheckpointError(f"{path}: holds a {type(workspace).__name__}, not a {cls.__name__}")
        return workspace

    # -- inside ---------------------------------------------------------------------------------------------------

    def _payload(self, exclude_keys: Iterable[str] | None, include_keys: Iterable[str] | None) -> dict[str, Any]:
        excluded = set(self.exclude_keys if exclude_keys is None else exclude_keys)
        included = self.include_keys if include_keys is None else include_keys
        states = self._deferred | {key: value.state_dict() for key, value in stateful(self.__dict__).items()}
        return {
            "format": FORMAT,
            "cfg": unstructure(self.cfg),
            "state_dicts": {key: state for key, state in states.items() if key not in excluded},
            "pickles": {key: dill.dumps(getattr(self, key)) for key in included},
            "manifest": manifest(self.cfg),
        }

    def _load_state(self, key: str, state: Any, strict: bool) -> None:
        if not hasattr(self, key):
            self._deferred[key] = state
            return
        value = getattr(self, key)
        if not hasattr(value, "load_state_dict"):
            raise CheckpointError(
                f"the checkpoint has a state for '{key}', which this config leaves out; keep what the run had"
            )
        restore_state(key, value, state, strict)
