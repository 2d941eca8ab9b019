"""The description of one thing that a plugin offers. Data only: nothing is imported before it is used."""

from __future__ import annotations

import importlib
import importlib.util
import re
import typing
from collections.abc import Mapping
from typing import Any, Literal, get_args

import attrs

from dp_core.errors import ComponentLoadError, MissingDependencyError, PluginError, quoted
from dp_core.moved import new_place

API = 1
"""Raised only when hooks, `Component` or an interface change in a way that breaks plugins."""

Kind = Literal[
    "workspace",
    "policy",
    "encoder",
    "denoiser",
    "scheduler",
    "modality",
    "dataset",
    "runner",
    "optimizer",
    "lr_schedule",
    "callback",
]
KINDS: tuple[str, ...] = get_args(Kind)
"""Every kind of component. A closed list: what a kind has to do is laid down in `dp_core.interfaces`."""

_OF_EVERY_KEY = ("shape", "type", "when")
"""Entries of a key in `shape_meta`, beside which the options of its modality stand."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _as_dict(texts: Mapping[str, str]) -> dict[str, str]:
    return dict(texts)


@attrs.frozen(kw_only=True)
class Component:
    """One thing that a config can choose by name.

    The target is called as ``target(config, **runtime)``: values that can be written in YAML are in ``config``,
    values known only at run time are keywords, fixed per kind in `dp_core.interfaces`.
    """

    kind: Kind = attrs.field()
    name: str = attrs.field()
    """The name that the user writes in YAML: lower case letters, digits and underscores."""
    target: str = attrs.field()
    """``"package.module:Class"``, imported on first use."""
    config: type = attrs.field()
    """attrs class of the options; may be imported eagerly, so it must not import anything heavy."""
    summary: str = attrs.field()
    """One line, shown by ``dp-run --list``."""
    requires: tuple[str, ...] = attrs.field(default=())
    """Top-level names of the packages that the target imports."""
    extra: str | None = None
    """The extra of the distribution that installs what is required: ``pip install 'dp-core[timm]'``."""
    install_hint: str | None = None
    """The command that installs what is required, where an extra cannot say it."""
    conformance: str | None = attrs.field(default=None)
    """``"package.module:Class"``, a conformance class that says what this is made for: tasks, options, samples.

    ``dp-run --check`` tries the component as that class says; without one, as is usual for the kind. See
    `dp_core.testing.conformance`.
    """
    data_commands: Mapping[str, str] = attrs.field(factory=dict, converter=_as_dict, hash=False)
    """For data sets: ``dp-data <command> <name>`` calls ``"package.module:function"`` with the remaining arguments."""
    formerly: tuple[str, ...] = attrs.field(default=())
    """Names that the component had in earlier versions of its distribution; saved files may have them."""
    renamed: Mapping[str, str] = attrs.field(factory=dict, converter=_as_dict, hash=False)
    """Options by the names that they had in earlier versions: ``{"width": "channels"}``."""
    upgrade: str | None = attrs.field(default=None)
    """``"package.module:function"``, called as ``function(options, from_version)`` with the options that an earlier
    version saved, under today's names; returns today's. Of a modality, annotations of its key are among them. The
    module must not import anything heavy."""
    upgrade_state: str | None = attrs.field(default=None)
    """``"package.module:function"``, called as ``function(state, from_version)`` with the state that an earlier version
    saved; returns today's. See `dp_core.provenance.migrations`."""
    distribution: str = "local"
    """The distribution that pip installed the component with; filled in by the registry."""
    version: str = ""
    """The version of the distribution; filled in by the registry."""
    plugin: str = ""
    """The module that describes the component; filled in by the registry."""

    @kind.validator
    def _check_kind(self, _: Any, kind: str) -> None:
        if kind not in KINDS:
            raise PluginError(f"component '{self.name}': kind '{kind}' is not one of {', '.join(KINDS)}")

    @name.validator
    def _check_name(self, _: Any, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise PluginError(f"component name '{name}' must be lower case letters, digits and underscores")

    @target.validator
    def _check_target(self, _: Any, target: str) -> None:
        if not _TARGET.fullmatch(target):
            raise PluginError(f"{self.label}: target '{target}' must look like 'package.module:Class'")

    @conformance.validator
    def _check_conformance(self, _: Any, conformance: str | None) -> None:
        if conformance is not None and not _TARGET.fullmatch(conformance):
            raise PluginError(f"{self.label}: conformance '{conformance}' must look like 'package.module:Class'")

    @config.validator
    def _check_config(self, _: Any, config: type) -> None:
        if not (isinstance(config, type) and attrs.has(config)):
            raise PluginError(
                f"{self.label}: config must be an attrs class, got {config!r}; write @attrs.frozen(kw_only=True)"
            )
        if "name" in attrs.fields_dict(config):
            raise PluginError(
                f"{self.label}: option 'name' of {config.__name__} is reserved for the component's name; rename it"
            )
        if self.kind == "modality" and (taken := [name for name in _OF_EVERY_KEY if name in attrs.fields_dict(config)]):
            raise PluginError(
                f"{self.label}: option '{taken[0]}' of {config.__name__} is what every key of shape_meta has; rename it"
            )
        try:
            typing.get_type_hints(config)
        except (NameError, TypeError) as error:
            raise PluginError(
                f"{self.label}: an annotation of {config.__name__} cannot be read: {error}; "
                f"import what it names at the top of {config.__module__}, outside of `if TYPE_CHECKING`"
            ) from error

    @summary.validator
    def _check_summary(self, _: Any, summary: str) -> None:
        if not isinstance(summary, str) or "\n" in summary:
            raise PluginError(f"{self.label}: summary must be one line of text, got {summary!r}")

    @requires.validator
    def _check_requires(self, _: Any, requires: tuple[str, ...]) -> None:
        if not isinstance(requires, tuple) or not all(isinstance(name, str) for name in requires):
            raise PluginError(f"{self.label}: requires must be a tuple such as ('timm',), got {requires!r}")
        if dotted := [name for name in requires if not name.isidentifier()]:
            # Looking for a submodule would import the package, for every listing.
            raise PluginError(f"{self.label}: requires must hold top-level names of packages, got '{dotted[0]}'")

    @formerly.validator
    def _check_formerly(self, _: Any, formerly: tuple[str, ...]) -> None:
        if not isinstance(formerly, tuple) or not all(isinstance(name, str) for name in formerly):
            raise PluginError(f"{self.label}: formerly must be a tuple such as ('old_name',), got {formerly!r}")
        if self.name in formerly:
            raise PluginError(f"{self.label}: formerly names '{self.name}', which is its name today; leave it out")

    @renamed.validator
    def _check_renamed(self, _: Any, renamed: dict[str, str]) -> None:
        today = attrs.fields_dict(self.config)
        for former, name in renamed.items():
            if name not in today:
                raise PluginError(f"{self.label}: renamed says that '{former}' is '{name}' now, which is no option")
            if former in today:
                raise PluginError(f"{self.label}: renamed says that '{former}' is '{name}' now, but both are options")

    @upgrade.validator
    @upgrade_state.validator
    def _check_upgrade(self, field: attrs.Attribute[str | None], target: str | None) -> None:
        if target is not None and not (isinstance(target, str) and _TARGET.fullmatch(target)):
            raise PluginError(f"{self.label}: {field.name} must look like 'package.module:function', got {target!r}")

    @property
    def label(self) -> str:
        """The kind and name as messages show them: ``encoder 'timm'``."""
        return f"{self.kind} '{self.name}'"

    @property
    def qualified_name(self) -> str:
        """The name that configs and checkpoints store, unambiguous whatever is installed later: ``dp-core/timm``."""
        return f"{self.distribution}/{self.name}"

    def missing(self) -> tuple[str, ...]:
        """List the names from ``requires`` that are not installed."""
        return tuple(name for name in self.requires if not _is_installed(name))

    @property
    def install_command(self) -> str:
        """The command that installs the missing packages."""
        if self.install_hint:
            return self.install_hint
        if self.extra:
            return f"pip install '{self.distribution}[{self.extra}]'"
        return f"pip install {' '.join(self.missing() or self.requires)}"

    def load(self) -> Any:
        """Import the target.

        Raises:
            MissingDependencyError: a required package is absent; says how to install it.
            ComponentLoadError: the module or the attribute does not exist or fails on import.
        """
        if missing := self.missing():
            be = "is" if len(missing) == 1 else "are"
            raise MissingDependencyError(
                f"{self.label} needs {quoted(missing, ' and ')}, which {be} not installed; "
                f"install with: {self.install_command}"
            )
        return load_target(self.target, self.label, self.distribution)


def load_target(target: str, label: str, distribution: str) -> Any:
    """Import ``"package.module:attribute"``; errors name the component and who ships it.

    Args:
        target: the module and the attribute.
        label: the component, for messages.
        distribution: what ships it, for messages.

    Raises:
        MissingDependencyError: the module needs a package that is absent.
        ComponentLoadError: the module or the attribute does not exist, or the import fails.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing and missing != module_name.partition(".")[0] and not _is_installed(missing):
            raise MissingDependencyError(
                f"{label} of {distribution} needs the package '{missing}', which is not installed "
                "(and which the plugin does not declare in 'requires')",
                name=missing,
            ) from error
        raise ComponentLoadError(f"{label} of {distribution} cannot be imported: {error}{new_place(error)}") from error
    except Exception as error:
        raise ComponentLoadError(
            f"{label} of {distribution} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ComponentLoadError(f"{label} of {distribution}: '{module_name}' has no '{attribute}'") from error


def _is_installed(name: str) -> bool:
    # A folder ./wandb in the current directory is found as a namespace package without an origin: not an installation.
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None
