"""`Origin`: for which place of a config an object was built, and by whose component."""

from __future__ import annotations

import traceback
import weakref
from typing import Any, cast

import attrs

from dp_core.component import Component


@attrs.frozen
class Origin:
    """Name a component in messages. As text it survives pickling, to and from worker processes."""

    path: str
    """The dotted path of the block in the config; empty for what no config names."""
    label: str
    """The component with its kind, such as ``encoder 'depth'``."""
    provider: str = ""
    """The distribution and its version, such as ``dp-lab 0.3``; empty for what no package offers."""
    component: Component | None = attrs.field(default=None, eq=False, repr=False)
    """The component itself; None where there is none, and after pickling."""

    @classmethod
    def of(cls, component: Component, path: str = "") -> Origin:
        """Return that of what ``component`` builds for the block ``path``."""
        return cls(path, component.label, f"{component.distribution} {component.version}".strip(), component)

    def __deepcopy__(self, memo: object) -> Origin:
        return self

    def __reduce__(self) -> tuple[type[Origin], tuple[str, str, str]]:
        # Without the component: a class of options that was made in a function cannot be pickled.
        return Origin, (self.path, self.label, self.provider)

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.label}" + (f" of {self.provider}" if self.provider else "")


@attrs.frozen(eq=False)
class _Built:
    reference: weakref.ref[Any]
    origin: Origin
    is_own: bool
    """Whether the class is the target itself, so that whatever is of this class comes from the component."""


_ORIGIN = "_dp_origin"
"""The attribute of a module. Copies of it, such as averaged weights, then have it too."""
_built: dict[int, _Built] = {}
"""By id. Beside objects other than modules, not in them: of those, attributes may be the state that they compare by."""


def remember(built: Any, origin: Origin, target: Any = None) -> None:
    """Note where ``built`` comes from; it is forgotten with the object.

    An object that a component passes on from another keeps its first origin, which is the innermost. What cannot be
    referred to weakly is not noted: what it raises is reported for what it is part of.

    Args:
        target: what was called to build it.
    """
    key = id(built)
    if _exactly(built) is not None:
        return
    if hasattr(built, "named_modules"):
        built.__dict__[_ORIGIN] = origin
        return
    try:
        reference = weakref.ref(built, lambda _: _built.pop(key, None))
    except TypeError:
        return
    _built[key] = _Built(reference, origin, type(built) is target)


def component_of(module: object) -> Component | None:
    """Return the component that built a module, or the original of a copy; None if none did."""
    origin = _exactly(module)
    return origin.component if origin is not None else None


def origin_of(thing: object) -> Origin | None:
    """Tell where an object comes from; a copy (averaged weights, a validation set) comes from where the original does.

    Where the copy is no module, and several objects of its class are alive, the path names the places of all.
    """
    if (exact := _exactly(thing)) is not None:
        return exact
    alike = {
        built.origin: None for built in list(_built.values()) if built.is_own and type(built.reference()) is type(thing)
    }
    if not alike:
        return None
    first, *others = alike
    if any((other.label, other.provider) != (first.label, first.provider) for other in others):
        return None
    return attrs.evolve(first, path=" or ".join(sorted(origin.path for origin in alike)))


def origin_in(error: BaseException) -> Origin | None:
    """Find the innermost component in a method of which ``error`` was raised; None if it was raised in none's."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        # Methods only. Of a function, the first argument is what it works on, and need not be to blame.
        if frame.f_code.co_argcount and frame.f_code.co_varnames[0] == "self":
            origin = origin_of(frame.f_locals.get("self"))
            if origin is not None:
                return origin
    return None


def _exactly(thing: object) -> Origin | None:
    # Not getattr: a module that hands on the attributes of what it wraps is not what it wraps.
    inside = getattr(thing, "__dict__", {}).get(_ORIGIN)
    if inside is not None:
        return cast(Origin, inside)
    built = _built.get(id(thing))
    return built.origin if built is not None and built.reference() is thing else None
