"""What config classes declare besides options: what a component takes, needs, sees and gives, so that parts fit.

Class attributes or properties; a class that says nothing is as `dp_core.interfaces` describes as usual.
"""

from __future__ import annotations

from typing import Any

from dp_core.component import Component
from dp_core.config.fields import Slot
from dp_core.errors import PluginError, quoted

STEP = "step"
"""What an encoder sees: the observations of one step."""
WINDOW = "window"
"""What an encoder sees: those of the To steps of a window."""
VECTOR = "vector"
"""What an encoder gives of that: one vector."""
TOKENS = "tokens"
"""What an encoder gives of that: several vectors."""
IMAGES = "images"
"""Among what an encoder takes: keys of every modality that says that it is an image."""


def sees(encoder: Slot) -> str:
    """Return what an encoder sees, `STEP` or `WINDOW`.

    Raises:
        PluginError: its config class declares something else.
    """
    return _one_of(encoder, "sees", (STEP, WINDOW))


def gives(encoder: Slot) -> str:
    """Return what an encoder gives, `VECTOR` or `TOKENS`; errors as of `sees`."""
    return _one_of(encoder, "gives", (VECTOR, TOKENS))


def is_image(modality: Component) -> bool:
    """Tell whether observations of a modality are images (C, H, W): ``is_image: ClassVar[bool] = True`` says so."""
    return bool(getattr(modality.config, "is_image", False))


def names_in(component: Component, declaration: str, example: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the names that a config class lists in ``declaration``; None if it says nothing.

    Args:
        example: what it could say, for the message.

    Raises:
        PluginError: it is no tuple of names.
    """
    names = getattr(component.config, declaration, None)
    if names is not None and not (isinstance(names, tuple) and all(isinstance(name, str) for name in names)):
        raise PluginError(f"{_where(component, declaration)} must be a tuple such as {example!r}, got {names!r}")
    return names


def _one_of(slot: Slot, declaration: str, choices: tuple[str, str]) -> str:
    # Not getattr with a default, which would take what a property stumbles over for one that is not there.
    found: Any = getattr(slot.config, declaration) if declaration in dir(slot.config) else choices[0]
    if found not in choices:
        where = _where(slot.component, declaration)
        raise PluginError(f"{where} must be {quoted(choices, ' or ')}, got {found!r}")
    return str(found)


def _where(component: Component, declaration: str) -> str:
    return f"{component.label} of {component.distribution}: '{declaration}' of {component.config.__name__}"
