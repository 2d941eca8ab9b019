"""Options of the temporal encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import attrs
from attrs.validators import and_, ge, lt

from dp_core import Slot, option, slot
from dp_core.config.declared import STEP, VECTOR, gives, sees


@attrs.frozen(kw_only=True)
class TemporalConfig:
    """A small transformer over what another encoder gives of each observed step."""

    sees: ClassVar[str] = "window"

    encoder: Slot = slot("encoder", help="encodes each step; one that sees a step and gives a vector")
    n_layer: int = option(2, help="layers of self-attention over the steps", validator=ge(1))
    n_head: int = option(4, help="heads of every attention; divides n_emb", validator=ge(1))
    n_emb: int = option(256, help="size of a step within the layers, and of the feature", validator=ge(1))
    p_drop: float = option(0.1, help="dropout inside the layers", validator=and_(ge(0), lt(1)))

    def check(self) -> Iterable[tuple[str, str]]:
        """Report sizes that do not split into heads, and encoders that do not give one vector for each step."""
        if self.n_emb % self.n_head:
            yield "n_head", f"{self.n_head} does not divide n_emb {self.n_emb}; choose one that does"
        if sees(self.encoder) != STEP or gives(self.encoder) != VECTOR:
            does = "gives tokens" if gives(self.encoder) != VECTOR else "sees the window itself"
            yield "encoder", f"'{self.encoder.component.name}' {does}; choose one that gives a vector of each step"
