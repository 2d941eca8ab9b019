"""Unpickles what strangers wrote, without running it.

A pickle is a program: it names functions and calls them. Here every name is looked up in a table of harmless
substitutes, which build tensors, containers and inert nodes; any other name ends the reading before anything is
called.
"""

from __future__ import annotations

import copyreg
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, Any, NoReturn

from dp_core.errors import CheckpointError

_ADMITTED = "only tensors, containers, plain values and OmegaConf nodes"

_NODES = (
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.StringNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
)
_TYPES = (
    *(f"builtins.{name}" for name in ("dict", "list", "tuple", "str", "int", "float", "bool", "bytes", "object")),
    *(f"typing.{name}" for name in ("Any", "Dict", "List", "Tuple", "Union", "Optional")),
)
"""Named in the annotations of OmegaConf nodes; never called."""


class Node:
    """The rest of an OmegaConf object: its class's name and its attributes, without its behaviour."""

    kind = ""


class TypeName:
    """A type that the file names without needing it."""

    __slots__ = ()


class Substitute:
    """A function of ours in place of one that the file names. Takes no attributes, whatever the pickle tries."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise pickle.UnpicklingError(f"the attribute '{name}' of a function is set")

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError("the state of a function is set")


class RestrictedUnpickler(pickle.Unpickler):
    """Admits containers, plain values, OmegaConf nodes (as `Node`) and what the caller adds."""

    def __init__(
        self,
        file: IO[bytes],
        source: str,
        *,
        substitutes: Mapping[str, Any] | None = None,
        load_persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        """Prepare to read from ``file``.

        Args:
            source: how messages call it.
            substitutes: by full name, what stands for further classes and functions.
            load_persistent: makes what the pickle keeps outside of itself; None where nothing may be.
        """
        super().__init__(file, encoding="utf-8")
        self._source = source
        self._load_persistent = load_persistent
        # Classes are made anew for every file: a pickle can set attributes of a class, and must reach no other file.
        nodes = {name: type("Node", (Node,), {"kind": name.rpartition(".")[2]}) for name in _NODES}
        self._table: dict[str, Any] = {**_substitutes(), **nodes, **(substitutes or {})}

    def find_class(self, module: str, name: str) -> Any:
        """Return the substitute for the class or function of that name.

        Raises:
            CheckpointError: it is not admitted.
        """
        # Until protocol 2, built-in names are written as Python 2 called them.
        full_name = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full_name not in self._table:
            raise CheckpointError(
                f"{self._source}: refers to '{full_name}', which could run code; expected {_ADMITTED}; nothing was run"
            )
        return self._table[full_name]

    def persistent_load(self, pid: Any) -> Any:
        """Return what the pickle keeps outside of itself: the numbers of tensors.

        Raises:
            CheckpointError: the caller allows no such thing.
        """
        if self._load_persistent is None:
            raise CheckpointError(
                f"{self._source}: refers to an object outside of it, {pid!r}; expected {_ADMITTED}; nothing was run"
            )
        return self._load_persistent(pid)

    def load(self) -> Any:
        """Read one object.

        Raises:
            CheckpointError: the pickle names what is not admitted, or is damaged.
        """
        # Numbers stand for names as well (`copyreg.add_extension`); what they were found to mean is remembered for all
        # pickles of the process, and then `find_class` is not asked.
        copyreg.clear_extension_cache()
        try:
            return super().load()
        except CheckpointError:
            raise
        # A damaged pickle, or one made to do harm, can fail in any way, here and in the substitutes.
        except Exception as error:
            raise CheckpointError(
                f"{self._source}: cannot be read: {type(error).__name__}: {error}; nothing was run"
            ) from error
        finally:
            copyreg.clear_extension_cache()  # nor may others be given our substitutes


def _substitutes() -> dict[str, Any]:
    type_name = TypeName()
    sets = {"set": Substitute(set), "frozenset": Substitute(frozenset)}
    load_type = Substitute(lambda name: sets.get(name, type_name))
    return {
        **dict.fromkeys(_TYPES, type_name),
        **{f"builtins.{name}": substitute for name, substitute in sets.items()},
        "collections.OrderedDict": Substitute(_ordered_dict),
        "collections.defaultdict": Substitute(_default_dict),
        "_codecs.encode": Substitute(_encode),
        # dill writes built-in types by name.
        "dill._dill._load_type": load_type,
    }


def _ordered_dict(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(items)


def _default_dict(factory: Any = None, items: Any = ()) -> dict[Any, Any]:
    return dict(items)


def _encode(text: str, encoding: str) -> bytes:
    """Bytes, as pickles of protocol 2 have them."""
    if encoding != "latin1" or type(text) is not str:
        raise pickle.UnpicklingError(f"bytes are encoded in {encoding!r}")
    return text.encode("latin1")
