"""``dp-run --check PLUGIN``: whether the components of an installed plugin keep the rules of their kinds."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from dp_core.cli.messages import USAGE_ERROR
from dp_core.component import KINDS, Component
from dp_core.config.presets import presets
from dp_core.discovery import PluginRecord
from dp_core.errors import PluginError
from dp_core.registry import Registry
from dp_core.switches import is_named

if TYPE_CHECKING:
    from dp_core.testing.case import Case
    from dp_core.testing.checks import Check

_CLASS = {kind: f"{kind.title().replace('_', '')}Conformance" for kind in KINDS}


def is_config(text: str) -> bool:
    """Whether ``--check`` is asked about a config, a file or a preset, and not about a plugin."""
    return text.endswith((".yaml", ".yml")) or Path(text).is_file() or text in presets()


def check_plugin(registry: Registry, name: str, overrides: Sequence[str] = ()) -> int:
    """Print a line for each component of a plugin, with default options. Status 2 if a rule is broken.

    Args:
        name: of its entry point, ``<distribution>:<name>``, or of the distribution: all its plugins.
        overrides: none; they change configs.

    Raises:
        PluginError: there is no such plugin, or it cannot be loaded.
    """
    plugins = find_plugins(registry, name)
    if overrides:
        raise PluginError(f"'{overrides[0]}' changes a config, and '{name}' is a plugin; leave it out")
    status = 0
    for plugin in plugins:
        print(f"{plugin.name} of {plugin.provider}")
        for component in plugin.components:
            found = check_component(registry, component)
            print(f"  {component.kind}/{component.name}: {found.summary()}")
            for line in found.details():
                print(f"    {line}")
            if found.broken:
                status = USAGE_ERROR
    return status


def find_plugins(registry: Registry, name: str) -> list[PluginRecord]:
    """The plugins that ``name`` means; see `check_plugin`."""
    matches = [p for p in registry.plugins if name in (p.name, f"{p.distribution}:{p.name}")]
    of_distribution = [p for p in registry.plugins if is_named(name, [p.distribution])]
    if not matches and of_distribution:
        matches = of_distribution
    elif len(matches) > 1:
        choices = " or ".join(f"'{plugin.distribution}:{plugin.name}'" for plugin in matches)
        raise PluginError(f"plugin '{name}' is provided by {len(matches)} packages; write {choices}")
    if not matches:
        known = [*(plugin.name for plugin in registry.plugins), *presets()]
        close = difflib.get_close_matches(name.rpartition(":")[2], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "dp-run --list shows plugins, dp-run --list configs configs"
        raise PluginError(f"'{name}' is neither a config (no such file, does not end in .yaml) nor a plugin; {hint}")
    if unusable := [plugin for plugin in matches if plugin.status != "ok"]:
        raise PluginError("; ".join(map(str, unusable)))
    return matches


@attrs.define
class Outcome:
    """What became of the rules for one component."""

    kept: int = 0
    broken: list[str] = attrs.field(factory=list)
    """Rules, each with what is wrong."""
    settings: list[str] = attrs.field(factory=list)
    """What it was built for."""
    refused: list[str] = attrs.field(factory=list)
    """What it could not be built for, with reasons."""
    not_checked: list[str] = attrs.field(factory=list)
    """Rules that nobody can tell about here, with reasons."""

    def summary(self) -> str:
        """One line."""
        if self.broken:
            return f"{len(self.broken)} of {self.kept + len(self.broken)} checks failed"
        if not self.settings:
            return f"its description is sound; not checked further: {self.refused[0]}"
        titles = [title for title in self.settings if title]
        return f"ok, {self.kept} checks" + (f" ({', '.join(titles)})" if titles else "")

    def details(self) -> Iterator[str]:
        """Lines below it."""
        yield from self.broken
        if self.settings:
            yield from (f"not checked: {reason}" for reason in dict.fromkeys([*self.refused, *self.not_checked]))


def check_component(registry: Registry, component: Component) -> Outcome:
    """Check all rules, with default options in all settings of the kind."""
    from dp_core.testing.case import cases_of
    from dp_core.testing.checks import EACH, ONCE

    cases, outcome = cases_of(registry, component), Outcome()
    for check in ONCE:
        if reason := _apply(check, cases[0].undecided, outcome):
            outcome.not_checked.append(f"{check.__name__}: {reason}")
    is_built, *others = EACH[component.kind]
    for case in cases:
        n_broken = len(outcome.broken)
        if reason := _apply(is_built, case, outcome):
            hint = "" if component.missing() else f"; say what fits in the {_CLASS[component.kind]} of your tests"
            outcome.refused.append(f"{case.title}: {reason}{hint}".removeprefix(": "))
            continue
        outcome.settings.append(case.title)
        if len(outcome.broken) > n_broken:
            continue  # every other check would say the same
        for check in others:
            if reason := _apply(check, case, outcome):
                outcome.not_checked.append(f"{check.__name__}: {reason}")
    return outcome


def _apply(check: Check, case: Case, outcome: Outcome) -> str | None:
    """Count a check, or say why it cannot be made."""
    from dp_core.testing.case import ConformanceError, NotChecked

    try:
        check(case)
    except NotChecked as reason:
        return str(reason)
    except ConformanceError as error:
        outcome.broken.append(f"{check.__name__}: {error}")
    except Exception as error:  # whatever the code of others raises is a finding about it
        outcome.broken.append(f"{check.__name__}: {case}: {type(error).__name__}: {error}")
    else:
        outcome.kept += 1
    return None
