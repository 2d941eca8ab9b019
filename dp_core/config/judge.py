"""The second pass over a config: rules across options and components.

`Judge.judge` walks the tree from the outside in, and asks each block for its ``check``, then for its ``advise``. The
names of a rule's parameters say what it asks for: an option or a property of the innermost block around it that has one
of this name (``horizon``, ``dataset``), or a value that is known beside the config (``shape_meta`` at run time). What
no block has takes the parameter's default; without one, the rule is a mistake of the plugin, unless not all of the
config is there or the name is in `USUAL_CONTEXT`: then the rule is not asked. Nor is it asked if an option of its own
block, or what it asks for, was found wrong in the first pass or by a rule further out: one mistake is to be reported
once, and a rule never sees a value of the wrong type. So ``advise`` is silent where ``check`` was not, and its texts
are logged only if the whole config is sound.

What a block gives to the components that are plugged into it need not be what it was given itself: a block that has
other observations for its parts, or another number of steps, says so in a method ``inside``, which asks for what it
needs as rules do::

    def inside(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
        for name, part in self.parts.items():
            yield f"parts.{name}", {"shape_meta": subset(shape_meta, part.keys)}

It yields a path below the block, and what rules there are answered instead of what lies further out. Where it cannot
be asked, because something is wrong with the block, nothing inside is judged: the answers would be those of the run.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from dp_core.config.checks import unmet_needs, untaken_keys
from dp_core.config.fields import Slot
from dp_core.config.findings import Findings
from dp_core.config.rules import USUAL_CONTEXT, contexts, method_label, no_answer, questions, reports
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.task import ComponentSource, ShapeMeta
from dp_core.config.tree import children, is_options, option_paths, owner_of
from dp_core.config.wording import join_path
from dp_core.errors import PluginError

_MISSING: Any = object()
"""Stands for the arguments of a method that is not asked."""


class Judge:
    """Asks the rules of config classes and records what they find."""

    def __init__(self, findings: Findings, registry: ComponentSource) -> None:
        """Take where findings go, and where the modalities of a plain `shape_meta` are looked up."""
        self._findings = findings
        self._registry = registry

    def judge(self, node: Any, path: str, scopes: tuple[Any, ...], *, owner: str = "", is_whole: bool = False) -> None:
        """Ask ``node`` and everything below it.

        Args:
            scopes: the enclosing blocks, innermost first.
            owner: whose options they are, for messages.
            is_whole: ``scopes`` lack none, so that what no block has is not there.
        """
        self._judge(node, path, scopes, owner, is_whole, {})

    def judge_callbacks(self, config: Any) -> None:
        """Ask whether the workspace of a whole config has what its callbacks need."""
        if isinstance(config, WorkspaceConfig) and self._findings.is_sound(config, "callbacks"):
            for key, message in unmet_needs(config):
                self._findings.fail(join_path("callbacks", key), message)

    def _judge(
        self,
        node: Any,
        path: str,
        scopes: tuple[Any, ...],
        owner: str,
        is_whole: bool,
        insides: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """As `judge`; ``insides`` are what rules at some paths are answered instead."""
        if isinstance(node, ShapeMeta):
            return  # the rules of modalities are asked in the first pass: they need to know no other block
        owner = owner_of(node) or owner
        if path in insides:
            scopes = (types.SimpleNamespace(**insides[path]), *scopes)
        if isinstance(node, Slot):
            self._judge_takes(node, path, scopes)
            node = node.config
        if is_options(node):
            self._judge_one(node, path, scopes, owner, is_whole)
            found = self._contexts(node, path, scopes, owner, is_whole)
            if found is None:
                return
            scopes, insides = (node, *scopes), {**insides, **found}
        for name, child in children(node):
            if self._findings.is_sound(node, name):
                self._judge(child, join_path(path, name), scopes, owner, is_whole, insides)

    def _judge_takes(self, slot: Slot, path: str, scopes: tuple[Any, ...]) -> None:
        """Ask whether an encoder takes the types of all keys that it is given."""
        block = self._block_with("shape_meta", scopes)
        if slot.component.kind != "encoder" or block is None or not self._findings.is_sound(block, "shape_meta"):
            return
        for message in untaken_keys(slot.component, block.shape_meta, self._registry):
            self._findings.fail(path, message)
            self._findings.mark_unsound(slot.config, "name")

    def _judge_one(self, config: Any, path: str, scopes: tuple[Any, ...], owner: str, is_whole: bool) -> None:
        for name, message in self._answers("check", config, path, scopes, owner, is_whole):
            self._findings.fail(join_path(path, name), message)
            self._findings.mark_unsound(config, name.partition(".")[0])
        for name, message in self._answers("advise", config, path, scopes, owner, is_whole):
            self._findings.advise(join_path(path, name), message)

    def _answers(
        self, rule: str, config: Any, path: str, scopes: tuple[Any, ...], owner: str, is_whole: bool
    ) -> list[tuple[str, str]]:
        """Ask a method of `RULES` about ``config``, unless it has none, or what it looks at is not sound."""
        if not hasattr(type(config), rule):
            return []
        arguments = self._arguments(rule, config, path, scopes, owner, is_whole)
        if arguments is _MISSING:
            return []
        try:
            return reports(config, rule, owner, **arguments)
        except PluginError:
            # It asked a part of the block for something that depends on an option that is wrong, and reported.
            if self._is_sound_throughout(config):
                raise
            return []

    def _is_sound_throughout(self, node: Any) -> bool:
        options = node.config if isinstance(node, Slot) else node
        return self._findings.is_sound(options) and all(
            self._is_sound_throughout(child) for _, child in children(options)
        )

    def _contexts(
        self, config: Any, path: str, scopes: tuple[Any, ...], owner: str, is_whole: bool
    ) -> dict[str, Mapping[str, Any]] | None:
        """Ask for what is different inside of ``config``, by path; None if that cannot be asked."""
        if not hasattr(type(config), "inside"):
            return {}
        arguments = self._arguments("inside", config, path, scopes, owner, is_whole)
        if arguments is _MISSING:
            return None
        found = contexts(config, owner, **arguments)
        there = list(option_paths(config))
        for below in found:
            if not any(option == below or option.startswith(f"{below}.") for option in there):
                raise PluginError(
                    f"{method_label(config, 'inside', owner)} yields '{below}', where there is nothing; yield paths "
                    "of options, or of what is in them"
                )
        return {join_path(path, below): given for below, given in found.items()}

    def _arguments(
        self, method: str, config: Any, path: str, scopes: tuple[Any, ...], owner: str, is_whole: bool
    ) -> Any:
        """Look up what a method of ``config`` asks for, by name; `_MISSING` if it is not to be asked."""
        if not self._findings.is_sound(config):
            return _MISSING
        arguments = {}
        for name, parameter in questions(type(config), method).items():
            block = self._block_with(name, scopes)
            if block is None and parameter.default is not parameter.empty:
                continue  # a rule about a block that need not be there
            if block is None and is_whole and name not in USUAL_CONTEXT:
                self._findings.fail(path, f"{method_label(config, method, owner)} {no_answer(name, map(type, scopes))}")
            if block is None or not self._findings.is_sound(block, name):
                return _MISSING
            arguments[name] = getattr(block, name)
        return arguments

    def _block_with(self, name: str, scopes: tuple[Any, ...]) -> Any:
        return next((scope for scope in scopes if hasattr(scope, name)), None)
