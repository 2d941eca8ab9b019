"""Turns what the code of a component raises into a `ComponentError` that names the component."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from dp_core.border.carried import NOTES, WHEN, UnportableError
from dp_core.border.origin import Origin, origin_in, origin_of
from dp_core.errors import ComponentError, DpError

_LONGEST = 400
"""Characters of a message that are shown; the traceback has all of them."""


@contextmanager
def naming(component: object = None) -> Iterator[None]:
    """Name the component in whose code an exception is raised inside the ``with`` block; see `named`.

    Args:
        component: the object to name if it is nobody else's, for example since it was raised in another process; or its
            `Origin`.
    """
    try:
        yield
    except Exception as error:
        raise named(error, component)  # noqa: B904 -- it has its cause


def named(error: Exception, component: object = None) -> Exception:
    """Return a `ComponentError` about ``error``, to be raised from it.

    The innermost component in one of whose methods it was raised is named. These come back as they are: what tells
    users of their own mistakes (a `DpError`, an `OSError` about a file, which gets a note), and what no component is
    known for.

    Args:
        component: what to name if the traceback leads through no component; the object, or its `Origin`.
    """
    if isinstance(error, DpError):
        return error
    origin = origin_in(error) or (component if isinstance(component, Origin) else origin_of(component))
    if origin is None:
        return error
    if isinstance(error, OSError) and error.filename is not None:
        # A file that is absent or must not be read: there is something to do for the user, as the command says.
        if not any(note.startswith("raised by ") for note in getattr(error, NOTES, ())):
            error.add_note(f"raised by {origin}")
        return error
    failure = _about(origin, f"raised {_when(error)}{describe(error)}")
    # What was added to the error on its way, such as what a run has saved, belongs to what is shown.
    for note in error.__dict__.pop(NOTES, ()):
        failure.add_note(note)
    failure.__cause__ = error
    return failure


def fault(component: object, what: str) -> ComponentError:
    """Return an error about what a component did, to be raised where it is noticed.

    Args:
        component: the object that is at fault.
        what: ends the sentence that begins with the component's name: ``returned NaN for finite observations``.
    """
    return _about(origin_of(component) or Origin("", f"'{type(component).__name__}'"), what)


def say_when(error: Exception, when: str) -> None:
    """Add to an error when it was raised: ``in step 3 of the test episode with seed 100000``.

    It becomes part of the line that names the component; of an error that says itself what is wrong, a note.
    """
    if isinstance(error, DpError):
        error.add_note(when)
    else:
        error.__dict__.setdefault(WHEN, when)


def describe(error: BaseException) -> str:
    """Say in one line what was raised: type and text; of a `ComponentError`, what the component raised."""
    if isinstance(error, ComponentError) and error.__cause__ is not None:
        error = error.__cause__
    text = textwrap.shorten(str(error), _LONGEST)
    if isinstance(error, UnportableError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _when(error: BaseException) -> str:
    when = getattr(error, WHEN, "")
    return f"{when}: " if when else ""


def _about(origin: Origin, what: str) -> ComponentError:
    return ComponentError(f"{origin} {what}", path=origin.path, component=origin.label, provider=origin.provider)
