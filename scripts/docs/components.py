"""The page of all components that come with dp-core, whether the packages they need are installed or not."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distribution

from dp_core.component import KINDS, Component
from dp_core.config.describe import example, option_rows
from dp_core.discovery.installed import in_order, plugins_of
from dp_core.discovery.loading import load_plugins
from dp_core.errors import PluginError
from dp_core.registry import Registry

_HEAD = """\
# Components that come with dp-core

Made by `python -m scripts.docs`; do not edit. `dp-run --describe KIND/NAME` shows the same of everything that is
installed, components of other packages included. A name with dots is an option of a block: `training.seed` is
`training: {seed: ...}`.
"""


def own_components() -> Registry:
    """Load what dp-core's own plugins offer; no switch and no other package has a say.

    Raises:
        PluginError: one of them is broken.
    """
    plugins = load_plugins(in_order(plugins_of(distribution("dp-core"))))
    if broken := [plugin for plugin in plugins if plugin.status != "ok"]:
        raise PluginError(str(broken[0]))
    return Registry(plugins)


def components_page(registry: Registry) -> str:
    """Write, as Markdown, what there is by kind, then every component with its options and an example."""
    lines = [_HEAD, "| kind | components |", "|---|---|"]
    for kind in KINDS:
        names = [f"[`{c.name}`](#{_anchor(c)})" for c in registry.components(kind)]
        lines.append(f"| [{kind}](plugins/{kind}.md) | {', '.join(names)} |")
    for component in registry.components():
        lines += ["", *_section(component)]
    return "\n".join(lines) + "\n"


def _section(component: Component) -> Iterator[str]:
    yield f"## {component.kind}/{component.name}"
    yield ""
    yield f"{component.summary[0].upper()}{component.summary[1:]}."
    if component.requires:
        packages = ", ".join(f"`{name}`" for name in component.requires)
        yield f"Needs {packages}{_how_to_install(component)}."
    if component.data_commands:
        commands = " and ".join(f"`dp-data {command} {component.name}`" for command in component.data_commands)
        yield f"Demonstrations: {commands}."
    yield ""
    rows = [f"| `{name}` | {' | '.join(map(_cell, facts))} |" for name, *facts in option_rows(component.config)]
    yield from ["| option | type | default | |", "|---|---|---|---|", *rows] if rows else ["No options."]
    yield from ["", "```yaml", *example(component), "```"]


def _how_to_install(component: Component) -> str:
    """Not `Component.install_command`, which names what is missing here."""
    command = component.install_hint or (component.extra and f"pip install 'dp-core[{component.extra}]'")
    return f": `{command}`" if command else ", which dp-core installs"


def _anchor(component: Component) -> str:
    return f"{component.kind}{component.name}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<") or " "
