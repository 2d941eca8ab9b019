"""Rules of config classes: methods that judge their options, and may ask for those of blocks around.

``check`` yields what is wrong, ``advise`` what is possible but hardly meant, and ``preflight`` what this machine lacks,
each as pairs of an option and a message.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
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
    """Return the parameters of ``rule``, one of `RULES`, of a config class; empty if it has no such method."""
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
    where = method_label(config, method, owner)
    try:
        reported = getattr(config, method)(**arguments)
        found = list(reported) if isinstance(reported, Iterable) else [reported]
    except (DpError, OSError):
        raise  # of the user's files
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise PluginError(f"{where} failed: {text}; fix the plugin (--traceback shows where)") from error
    options = list(attrs.fields_dict(type(config)))
    for report in found:
        if not (isinstance(report, tuple) and len(report) == 2 and all(isinstance(part, str) for part in report)):
            raise PluginError(f"{where} must yield (option, message), got {report!r}")
        name = re.split(r"[.\[]", report[0])[0]
        if name not in ("", "name", *options) and not (name == "shape" and name in arguments):
            raise PluginError(f"{where} reports '{report[0]}': {unknown_option(name, options)}")
    return found


def method_label(config: Any, method: str, owner: str) -> str:
    """Name a method and whose it is, for messages; ``owner`` may be empty."""
    return f"{owner}: {type(config).__name__}.{method}".removeprefix(": ")
