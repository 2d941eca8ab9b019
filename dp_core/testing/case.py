"""`Case`: a component, options and what it is built for. Every check looks at one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from dp_core.border import describe
from dp_core.component import Component
from dp_core.config.declared import TOKENS, names_in, sees
from dp_core.config.declared import WINDOW as SEES_WINDOW
from dp_core.config.fields import Slot
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import ComponentLoadError, ConfigError, DataError, DpError, MissingDependencyError, quoted
from dp_core.registry import Registry
from dp_core.testing.examples import SETTINGS, TINY, TINY_KINDS, WINDOW, Setting, complete_options
from dp_core.testing.tiny_plugin import tiny_components

if TYPE_CHECKING:
    from dp_core.testing.recording import Record, Recording


class ConformanceError(DpError, AssertionError):
    """A component does not keep a rule of its kind."""


class NotChecked(DpError):  # noqa: N818 -- nothing is wrong
    """A rule cannot be checked here; the text says why."""


class NotImported(NotChecked):
    """The component cannot even be imported: a package is missing, or a rule of its own says what is wrong."""


@attrs.frozen(kw_only=True)
class Case:
    """One example to check."""

    component: Component
    registry: Registry
    """The components that slots in the options may name."""
    options: Mapping[str, Any] = attrs.field(factory=dict)
    """The options as in YAML, without ``name``; required ones that are left out get a small value where it is known."""
    setting: Setting = attrs.field(factory=Setting)
    title: str = ""
    """The name of the setting."""
    record: Record | None = None
    """For data sets: writes episodes that are known."""

    def __str__(self) -> str:
        options = f" with {dict(self.options)}" if self.options else ""
        return f"{self.component.label}{options}{f' for {self.title}' if self.title else ''}"

    @property
    def undecided(self) -> Case:
        """The component alone, for what depends neither on options nor on a setting."""
        return attrs.evolve(self, options={}, setting=Setting(), title="", record=None)

    @property
    def shape_meta(self) -> Mapping[str, Any]:
        """The task that the component is built for, where its kind has one."""
        found: Mapping[str, Any] = self.setting.runtime["shape_meta"]
        return found

    def fail(self, found: str, remedy: str) -> NoReturn:
        """Raise `ConformanceError`, which says what is wrong, what was expected and what to do."""
        raise ConformanceError(f"{self}: {found}; {remedy}")

    def require_its_task(self, obs: Iterable[str]) -> None:
        """Stop where a component that gives the observations ``obs`` is made for another task than the usual ones.

        Raises:
            NotChecked: it is, and nobody has said that it fits this one.
        """
        if self.setting.is_usual and set(obs) != set(self.shape_meta["obs"]):
            raise NotChecked(
                f"it observes {quoted(obs)}, whatever the task is, and this one has {quoted(self.shape_meta['obs'])}; "
                "refuse other tasks in the check method of its options"
            )

    def slot(self, **runtime: Any) -> Slot:
        """Return the component with its checked options.

        Raises:
            NotChecked: the options do not fit the setting, or a package is missing.
        """
        from dp_core.config.structure import structure_block, structure_run

        self._require_packages()
        given = {**self.setting.context, **self.setting.runtime, **runtime}
        recorded = {} if self.record is None else self.recording().options
        options = complete_options(self.component.config, {**recorded, **self.options})
        name = self.component.qualified_name
        try:
            if self.component.kind == "workspace":
                return Slot(self.component, structure_run(self.registry, {"workspace": name, **options}, str(self)))
            return structure_block(self.registry, self.component.kind, {"name": name, **options}, given)
        except ConfigError as error:
            raise NotChecked("; ".join(str(problem) for problem in error.problems)) from error

    def recording(self) -> Recording:
        """Return episodes that are known, written by the author's ``record``.

        Raises:
            ConformanceError: it fails, or returns no options.
            NotChecked: the case has none.
        """
        from dp_core.testing.recording import Recording

        if self.record is None:
            raise NotChecked(
                "nobody says which steps are whose; let record of a DatasetConformance write episodes that are known"
            )
        self._require_packages()
        field = attrs.fields_dict(self.component.config).get("horizon")
        usual = field.default if field is not None and isinstance(field.default, int) else WINDOW["horizon"]
        horizon = self.options.get("horizon", usual)
        try:
            return Recording.of(self.record, self.shape_meta, horizon, self.setting.samples)
        except Exception as error:
            raise ConformanceError(
                f"{self}: record failed with {type(error).__name__}: {error}; expected it to write what it is given, a "
                "list of {key: array (steps, *shape)}, and to return the options that open it; see DatasetConformance"
            ) from error

    def _require_packages(self) -> None:
        if missing := self.component.missing():
            raise NotImported(f"needs {', '.join(missing)}; install with: {self.component.install_command}")

    def build(self, seed: int = 0, **runtime: Any) -> Any:
        """Construct the component, with random weights drawn from ``seed`` and without pretrained ones.

        Args:
            runtime: keywords of the kind beside those of the setting.

        Raises:
            ConformanceError: the constructor fails.
            NotChecked: it needs data, packages or options that are not there.
        """
        from dp_core.pretrained import skip_pretrained_weights
        from dp_core.testing.samples import seeded

        slot = self.slot(**runtime)
        keywords = {**self.setting.runtime, **runtime}
        if self.component.kind == "encoder" and sees(slot) == SEES_WINDOW:
            keywords["n_obs_steps"] = self.setting.context["n_obs_steps"]
        try:
            self.component.load()
        except (ComponentLoadError, MissingDependencyError) as error:
            raise NotImported("its target cannot be imported") from error  # the_target_is_what_its_kind_needs
        try:
            with seeded(seed), skip_pretrained_weights():
                return slot.build(**keywords)
        except (DataError, MissingDependencyError) as error:
            raise NotChecked(str(error)) from error
        except Exception as error:
            signature = ", ".join(["config", *(f"{name}=..." for name in keywords)])
            raise ConformanceError(
                f"{self}: cannot be constructed: {describe(error)}; "
                f"a component of kind {self.component.kind} is called as target({signature})"
            ) from error


def cases_of(
    registry: Registry,
    component: Component,
    configs: Iterable[Mapping[str, Any]] = ({},),
    settings: Mapping[str, Setting] | None = None,
    record: Record | None = None,
) -> list[Case]:
    """List a case for each of ``configs`` in each of ``settings``; None stands for those usual for the kind."""
    if settings is None:
        settings = SETTINGS.get(component.kind, {"": Setting()})
    registry = with_tiny_parts(registry)
    return [
        Case(component=component, registry=registry, options=options, setting=setting, title=title, record=record)
        for options in configs
        for title, setting in settings.items()
        if "token_dim" not in setting.runtime or TOKENS in (names_in(component, "takes", (TOKENS,)) or ())
    ]


def with_tiny_parts(registry: Registry) -> Registry:
    """Return ``registry`` together with the stand-ins of `dp_core.testing.tiny_plugin`."""
    if any(component.qualified_name == TINY for component in registry.components()):
        return registry
    record = PluginRecord("tiny", "dp-core", "", "ok", tuple(tiny_components()))
    assert {component.kind for component in record.components} == set(TINY_KINDS)
    return Registry([*registry.plugins, record])
