"""Rules of config classes: methods that judge their options, and may ask for those of blocks around.

``check`` yields what is wrong, ``advise`` what is possible but hardly meant, and ``preflight`` what this machine lacks,
each as pairs of an option and a message. ``inside`` yields what rules of the blocks in it are answered instead of what
lies further out, see `dp_core.config.judge`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from dp_core.config.wording import unknown_option
from dp_core.errors import DpError, PluginError, did_you_mean

USUAL_CONTEXT = ("shape_meta", "horizon")
"""Names that a rule may ask for although a run need not have them. It is not asked then."""

RULES = ("check", "advise")
"""The methods of config classes that judge options; each yields pairs of an option and a message."""


def public_names(config: type) -> list[str]:
    """List what the blocks of a config class can be asked for: options and properties."""
    return [name for name in dir(config) if not name.startswith("_")] + [field.name for field in attrs.fields(config)]


def questions(config: type, rule: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of ``rule``, one of `RULES` or ``inside``, of a config class; empty if it has none."""
    method = getattr(config, rule, None)
    return dict(list(inspect.signature(method).parameters.items())[1:]) if method else {}


def no_answer(name: str, blocks: Iterable[type]) -> str:
    """Write the message that none of the config classes ``blocks`` has what a rule asks for."""
    known = {*USUAL_CONTEXT, *(known for block in blocks for known in public_names(block))}
    hint = did_you_mean(name, sorted(known), "give it a default if it need not be there")
    return f"asks for '{name}', which no block has; {hint}"


def reports(config: Any, method: str, owner: str, **arguments: Any) -> list[tuple[str, str]]:
    """Collect the pairs of an option and a message that ``check``, ``advise`` or ``preflight`` of a config yields.

    Args:
        owner: whose options they are, for messages.
        arguments: the answers to its `questions`.

    Raises:
        PluginError: the method fails, or yields something else; names the component.
    """
    options = list(attrs.fields_dict(type(config)))
    found = _yielded(config, method, owner, arguments)
    for report in found:
        if not (isinstance(report, tuple) and len(report) == 2 and all(isinstance(part, str) for part in report)):
            where = method_label(config, method, owner)
            raise PluginError(f"{where} must yield (option, message), got {report!r}")
        name = _option_in(report[0])
        if name not in ("", "name", *options) and not (name == "shape" and name in arguments):
            where = method_label(config, method, owner)
            raise PluginError(f"{where} reports '{report[0]}': {unknown_option(name, options)}")
    return found


def contexts(config: Any, owner: str, **arguments: Any) -> dict[str, Mapping[str, Any]]:
    """Collect what ``inside`` of a config yields: by a path below it, what rules there are answered.

    Args:
        owner: whose options they are, for messages.
        arguments: the answers to its `questions`.

    Raises:
        PluginError: the method fails, or yields something else; names the component.
    """
    options = list(attrs.fields_dict(type(config)))
    found = _yielded(config, "inside", owner, arguments)
    for each in found:
        if not (
            isinstance(each, tuple) and len(each) == 2 and isinstance(each[0], str) and isinstance(each[1], Mapping)
        ):
            where = method_label(config, "inside", owner)
            raise PluginError(f"{where} must yield (path, {{name: value}}), got {each!r}")
        name = _option_in(each[0])
        if name not in options:
            where = method_label(config, "inside", owner)
            raise PluginError(f"{where} yields '{each[0]}': {unknown_option(name, options)}")
    return dict(found)


def _yielded(config: Any, method: str, owner: str, arguments: Mapping[str, Any]) -> list[Any]:
    try:
        yielded = getattr(config, method)(**arguments)
        return list(yielded) if isinstance(yielded, Iterable) else [yielded]
    except (DpError, OSError):
        raise  # of the user's files
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise PluginError(
            f"{method_label(config, method, owner)} failed: {text}; fix the plugin (--traceback shows where)"
        ) from error


def _option_in(path: str) -> str:
    """Return the first name of a dotted path."""
    return re.split(r"[.\[]", path)[0]


def method_label(config: Any, method: str, owner: str) -> str:
    """Name a method and whose it is, for messages; ``owner`` may be empty."""
    return f"{owner}: {type(config).__name__}.{method}".removeprefix(": ")
