"""`check_component`: which rules of its kind a component keeps, and in words; ``dp-run --check PLUGIN`` prints it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from dp_core.component import KINDS, Component
from dp_core.registry import Registry
from dp_core.testing.case import Case, ConformanceError, NotChecked, cases_of
from dp_core.testing.checks import EACH, ONCE, Check

_CLASS = {kind: f"{kind.title().replace('_', '')}Conformance" for kind in KINDS}


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


def check_component(registry: Registry, component: Component) -> Findings:
    """Check all rules for ``component``, with default options in all settings of its kind."""
    cases, findings = cases_of(registry, component), Findings()
    for check in ONCE:
        if reason := _apply(check, cases[0].undecided, findings):
            findings.not_checked.append(f"{check.__name__}: {reason}")
    is_built, *others = EACH[component.kind]
    for case in cases:
        n_broken = len(findings.broken)
        if reason := _apply(is_built, case, findings):
            hint = "" if component.missing() else f"; say what fits in the {_CLASS[component.kind]} of your tests"
            findings.refused.append(f"{case.title}: {reason}{hint}".removeprefix(": "))
            continue
        findings.settings.append(case.title)
        if len(findings.broken) > n_broken:
            continue  # every other check would say the same
        for check in others:
            if reason := _apply(check, case, findings):
                findings.not_checked.append(f"{check.__name__}: {reason}")
    return findings


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
