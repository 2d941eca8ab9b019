"""The page of hooks, from their signatures and docstrings in `dp_core.hooks`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from dp_core import hooks
from dp_core.hooks import PROJECT, DiscoveryHooks, RunHooks

_HEAD = """\
# Hooks

Made by `python -m scripts.docs` from `dp_core/hooks.py`; do not edit.

An implementation has the name of the hook and is marked `@hookimpl`. It may take fewer arguments than the hook has, in
any order.
"""
_SECTION_OR_HOOK = re.compile(r"^    # -- (?P<section>.+?) -+$|^    def (?P<hook>dp_\w+)", re.M)


def hooks_page() -> str:
    """Write, as Markdown, what the two plugin managers are, then every hook in the order of the file, that of a run."""
    lines = [_HEAD, _rest(hooks)]
    for title, specification in (("Discovery", DiscoveryHooks), ("A run", RunHooks)):
        lines += ["", f"## {title}", "", _paragraphs(specification), *_members(specification)]
    return "\n".join(lines) + "\n"


def hooks_of(specification: type) -> list[Any]:
    """List the functions that specify hooks."""
    return [member for name, member in vars(specification).items() if name.startswith("dp_")]


def _members(specification: type) -> Iterator[str]:
    """Sections as the comments of the source have them."""
    for found in _SECTION_OR_HOOK.finditer(inspect.getsource(specification)):
        if found["section"]:
            yield from ["", f"### {found['section'][0].upper()}{found['section'][1:]}"]
        else:
            yield from ["", *_hook(vars(specification)[found["hook"]])]


def _hook(hook: Any) -> Iterator[str]:
    arguments = [
        name if parameter.annotation is parameter.empty else f"{name}: {parameter.annotation}"
        for name, parameter in list(inspect.signature(hook).parameters.items())[1:]
    ]
    result = inspect.signature(hook).return_annotation
    yield from [f"#### `{hook.__name__}`", "", "```python"]
    yield f"def {hook.__name__}({', '.join(arguments)}) -> {result}"
    yield from ["```", "", _paragraphs(hook)]
    if getattr(hook, f"{PROJECT}_spec")["firstresult"]:
        yield from ["", "The first implementation that returns something other than `None` is the last that is called."]


def _paragraphs(documented: Any) -> str:
    return _as_markdown(inspect.getdoc(documented) or "")


def _rest(documented: Any) -> str:
    """Without the first paragraph, which is a title."""
    return _paragraphs(documented).partition("\n\n")[2]


def _as_markdown(text: str) -> str:
    return text.replace("``", "`")
