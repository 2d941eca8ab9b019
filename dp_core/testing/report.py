"""`check_component`: which rules of its kind a component keeps, and in words; ``dp-run --check PLUGIN`` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from dp_core.component import Component, load_target
from dp_core.config.compose import merge
from dp_core.errors import ComponentLoadError, MissingDependencyError
from dp_core.registry import Registry
from dp_core.testing.case import Case, ConformanceError, NotChecked
from dp_core.testing.checks import EACH, ONCE, Check
from dp_core.testing.conformance import CLASSES, Conformance
from dp_core.testing.examples import for_task


@attrs.define
class Findings:
    """The outcome of the rules for one component."""

    kept: int = 0
    broken: list[str] = attrs.field(factory=list)
    """The rules that are broken, each with what is wrong."""
    settings: list[str] = attrs.field(factory=list)
    """The settings that the component was built for."""
    refused: list[str] = attrs.field(factory=list)
    """The settings that it could not be built for, with reasons."""
    not_checked: list[str] = attrs.field(factory=list)
    """The rules that cannot be checked here, with reasons."""

    def summary(self) -> str:
        """Write one line about the outcome."""
        if self.broken:
            return f"{len(self.broken)} of {self.kept + len(self.broken)} checks failed"
        if not self.settings:
            return f"its description is sound; not checked further: {self.refused[0]}"
        titles = [title for title in self.settings if title]
        return f"ok, {self.kept} checks" + (f" ({', '.join(titles)})" if titles else "")

    def details(self) -> Iterator[str]:
        """Write the lines below the summary."""
        yield from self.broken
        if self.settings:
            yield from (f"not checked: {reason}" for reason in dict.fromkeys([*self.refused, *self.not_checked]))


def check_component(
    registry: Registry,
    component: Component,
    options: Mapping[str, Any] | None = None,
    shape_meta: Mapping[str, Any] | None = None,
) -> Findings:
    """Check all rules for ``component``, as its conformance class says, else in the settings that are usual.

    Args:
        options: merged over those that are tried.
        shape_meta: the one task to try, for kinds that have one.
    """
    findings = Findings()
    examples = _examples(component, findings)
    cases = list(_changed(examples.cases_of(registry, component), options or {}, shape_meta))
    for check in ONCE:
        if reason := _apply(check, cases[0].undecided, findings):
            findings.not_checked.append(f"{check.__name__}: {reason}")
    is_built, *others = EACH[component.kind]
    for case in cases:
        n_broken = len(findings.broken)
        if reason := _apply(is_built, case, findings):
            hint = "" if component.missing() else f"; {_how_to_say_what_fits(component)}"
            findings.refused.append(f"{case.title}: {reason}{hint}".removeprefix(": "))
            continue
        findings.settings.append(case.title)
        if len(findings.broken) > n_broken:
            continue  # every other check would say the same
        for check in others:
            if examples.leaves_out(check):
                continue
            if reason := _apply(check, case, findings):
                findings.not_checked.append(f"{check.__name__}: {reason}")
    return findings


def _examples(component: Component, findings: Findings) -> type[Conformance]:
    """Return the class that says what to try: its own, or if it cannot be had, which is a finding, that of the kind."""
    usual = CLASSES[component.kind]
    if component.conformance is None:
        return usual
    try:
        own = load_target(component.conformance, component.label, component.distribution)
    except (ComponentLoadError, MissingDependencyError) as error:
        problem = f"its conformance class cannot be imported: {error}"
    else:
        if isinstance(own, type) and issubclass(own, usual):
            return own
        problem = f"'{component.conformance}' is not a {usual.__name__}; expected a class that inherits from it"
    findings.broken.append(f"its_conformance_class_is_of_its_kind: {component.label}: {problem}; correct its Component")
    return usual


def _changed(cases: list[Case], options: Mapping[str, Any], shape_meta: Mapping[str, Any] | None) -> Iterator[Case]:
    """Yield the cases with other options; with a task given, those of the first setting, for that task."""
    for case in cases:
        if options:
            case = attrs.evolve(case, options=merge(dict(case.options), dict(options)))
        if shape_meta is not None and "shape_meta" in case.setting.runtime:
            if case.title != cases[0].title:
                continue
            case = attrs.evolve(case, setting=for_task(shape_meta, case.setting.samples), title="the task given")
        yield case


def _how_to_say_what_fits(component: Component) -> str:
    return (
        f"say what fits in the {CLASSES[component.kind].__name__} that the Component names, or behind the command, as "
        "key=value"
    )


def _apply(check: Check, case: Case, findings: Findings) -> str | None:
    """Count a check, or say why it cannot be made."""
    try:
        check(case)
    except NotChecked as reason:
        return str(reason)
    except ConformanceError as error:
        findings.broken.append(f"{check.__name__}: {error}")
    except Exception as error:  # whatever the code of others raises is a finding about it
        findings.broken.append(f"{check.__name__}: {case}: {type(error).__name__}: {error}")
    else:
        findings.kept += 1
    return None
