"""Turns the OmegaConf nodes in a checkpoint into plain containers, interpolations resolved."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from dp_convert.restricted_pickle import Node

_DEEPEST = 50
"""Interpolations that refer to interpolations; more is a circle."""
_LARGEST = 1_000_000
"""Values and characters that are written out. A few lines that refer to each other can stand for any number of them."""

_INNERMOST = re.compile(r"\$\{([^${}]*)\}")


class _Unresolved(Exception):  # noqa: N818 -- not an error: the text stays as it is
    pass


def plain_config(node: Any) -> Any:
    """Convert ``node`` to plain containers and values, with every ``${...}`` replaced that needs no code to run.

    References and the arithmetic of ``${eval:...}`` are resolved. What calls anything else, such as ``${now:...}``,
    stays as it is written.

    Raises:
        ValueError: written out, it is too large for a config.
    """
    size = _Size()
    root = _plain(node, size)
    return _Resolver(root, size).resolve(root, ())


class _Size:
    """Counts what is written out, wherever it comes from."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, value: Any) -> None:
        """Take note of a value, without what is inside.

        Raises:
            ValueError: that makes too many.
        """
        self._count += 1 + (len(value) if isinstance(value, str | bytes | bytearray) else 0)
        if self._count > _LARGEST:
            raise ValueError(f"more than {_LARGEST} values and characters once its references are written out")


def _plain(node: Any, size: _Size) -> Any:
    size.add(node)
    if isinstance(node, Node):
        attributes = vars(node)
        return _plain(attributes["_content"] if "_content" in attributes else attributes.get("_val"), size)
    if isinstance(node, Mapping):
        return {_plain(key, size): _plain(value, size) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value, size) for value in node]
    return node


class _Resolver:
    def __init__(self, root: Any, size: _Size) -> None:
        self._root = root
        self._size = size

    def resolve(self, value: Any, path: tuple[str, ...], depth: int = 0) -> Any:
        """``value``, which is at ``path`` of the config, without interpolations."""
        self._size.add(value)
        if isinstance(value, dict):
            return {key: self.resolve(item, (*path, str(key)), depth) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, (*path, str(index)), depth) for index, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        try:
            return self._text(value, path, depth)
        except _Unresolved:
            return value

    def _text(self, text: str, path: tuple[str, ...], depth: int) -> Any:
        if depth > _DEEPEST:
            raise _Unresolved
        while match := _INNERMOST.search(text):
            value = self._interpolation(match[1], path, depth)
            if match.span() == (0, len(text)):
                return value
            text = text[: match.start()] + str(value) + text[match.end() :]
            self._size.add(text)
        return text

    def _interpolation(self, inside: str, path: tuple[str, ...], depth: int) -> Any:
        name, colon, argument = inside.partition(":")
        if not colon:
            return self._reference(inside.strip(), path, depth)
        if name.strip() == "eval":
            return evaluate(argument)
        raise _Unresolved

    def _reference(self, name: str, path: tuple[str, ...], depth: int) -> Any:
        """``a.b``, from the top; ``.a`` beside the option itself, ``..a`` one block further out."""
        dots = len(name) - len(name.lstrip("."))
        base = path[: len(path) - dots] if dots else ()
        target = (*base, *(key for key in name.lstrip(".").split(".") if key))
        found: Any = self._root
        for key in target:
            if isinstance(found, str):
                found = self.resolve(found, target, depth + 1)
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                raise _Unresolved
        return self.resolve(found, target, depth + 1)


_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISON: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_NUMBERS = (bool, int, float)


def evaluate(text: str) -> Any:
    """Compute an expression of numbers, strings, comparisons and conditions; nothing can be called.

    Raises:
        _Unresolved: it is something else.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise _Unresolved from error


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, (*_NUMBERS, str)):
            return value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_number(left), _number(right))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value) for value in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_value(value) for value in values)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISON:
            return _COMPARISON[type(op)](_value(left), _value(right))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body) if _value(test) else _value(orelse)
    raise _Unresolved


def _number(node: ast.expr) -> Any:
    # Numbers only: 'a' * 10 ** 9 would be a value as well.
    value = _value(node)
    if not isinstance(value, _NUMBERS):
        raise _Unresolved
    return value
