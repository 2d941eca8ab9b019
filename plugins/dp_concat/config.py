"""Options of the encoder that consists of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from attrs.validators import ge, optional

from dp_core import Slot, option, slot
from dp_core.config.declared import STEP, TOKENS, VECTOR, WINDOW, gives, sees
from dp_core.errors import did_you_mean, quoted
from dp_core.shape_meta import subset


@attrs.frozen(kw_only=True)
class PartOptions:
    """One part: an encoder and the observations that it is given."""

    keys: list[str] | None = option(
        None,
        help="observations that it encodes; a key may be given to several parts; null, in one part at most: those that "
        "no part names",
    )
    encoder: Slot = slot("encoder", help="what encodes them")


@attrs.frozen(kw_only=True)
class ConcatConfig:
    """Parts by a name, which is that of their weights, too. Features are in the order of the parts."""

    parts: dict[str, PartOptions] = option(
        help="by a name of your choice: an encoder and its keys; null removes a part"
    )
    token_dim: int | None = option(
        None,
        help="where a part gives tokens: the size that all are projected to, vectors as one token each; null: that of "
        "the first part that gives them",
        validator=optional(ge(1)),
    )

    @property
    def gives(self) -> str:
        """Tokens if any part gives them, see `BaseEncoder`."""
        return TOKENS if any(gives(part.encoder) == TOKENS for part in self.parts.values()) else VECTOR

    @property
    def sees(self) -> str:
        """The window if any part sees it, see `BaseEncoder`; the others are given its steps."""
        return WINDOW if any(sees(part.encoder) == WINDOW for part in self.parts.values()) else STEP

    def keys_of_parts(self, observations: Iterable[str]) -> dict[str, list[str]]:
        """Divide the keys of ``observations`` among the parts, each in that order."""
        named = {key for part in self.parts.values() for key in part.keys or ()}
        keys = list(observations)
        return {
            name: [key for key in keys if (key not in named if part.keys is None else key in part.keys)]
            for name, part in self.parts.items()
        }

    def inside(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Yield what the encoders of the parts are built with, see `dp_core.config.judge`."""
        for name, keys in self.keys_of_parts(shape_meta["obs"]).items():
            yield f"parts.{name}", {"shape_meta": subset(shape_meta, keys)}

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report keys that there are not, that are given to nothing, and parts that are given nothing."""
        yield from self._name_problems()
        known = shape_meta["obs"]
        for name, part in self.parts.items():
            if part.keys == []:
                yield f"parts.{name}.keys", "is empty; name keys, or leave it out for those that no part names"
            for key in dict.fromkeys(part.keys or ()):
                if key not in known:
                    hint = did_you_mean(key, known, f"choose from {quoted(known)}")
                    yield f"parts.{name}.keys", f"'{key}' is not a key of shape_meta; {hint}"
                elif (part.keys or []).count(key) > 1:
                    yield f"parts.{name}.keys", f"'{key}' is there twice; once is enough"
        yield from self._rest_problems(known)
        if self.token_dim is not None and self.gives != TOKENS:
            yield "token_dim", "is of tokens, and no part gives any; leave it out"

    def _name_problems(self) -> Iterable[tuple[str, str]]:
        if not self.parts:
            yield "parts", "are missing; name at least one"
        for name in self.parts:
            if not name.isidentifier():
                yield f"parts.{name}", "names weights; use letters, digits and underscores"

    def _rest_problems(self, known: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        rest = [name for name, part in self.parts.items() if part.keys is None]
        for name in rest[1:]:
            yield f"parts.{name}.keys", f"are missing, as are those of '{rest[0]}'; only one part gets what is left"
        named = {key for part in self.parts.values() for key in part.keys or ()}
        left = [key for key in known if key not in named]
        if rest and not left:
            yield f"parts.{rest[0]}", "the other parts have all keys, and leave nothing to it; leave it out"
        if left and self.parts and not rest:
            does = "is" if len(left) == 1 else "are"
            yield (
                "parts",
                f"{quoted(left, ' and ')} {does} given to no part; add to the keys of one, or add a part without keys",
            )
