"""Options of the diffusion transformer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import attrs
from attrs.validators import and_, ge, lt

from dp_core import option


@attrs.frozen(kw_only=True)
class DiT1DConfig:
    """The size of the network."""

    takes: ClassVar[tuple[str, ...]] = ("end_timestep", "tokens")

    n_layer: int = option(8, help="blocks, each self-attention and an MLP", validator=ge(1))
    n_head: int = option(4, help="heads of every attention; divides n_emb", validator=ge(1))
    n_emb: int = option(256, help="size of a token; even", validator=ge(4))
    position: Literal["rotary", "learned"] = option(
        "rotary", help="how a token knows its step: rotary takes any length, learned at most the horizon"
    )
    p_drop: float = option(0.1, help="dropout in attention and in the MLPs", validator=and_(ge(0), lt(1)))

    def check(self) -> Iterable[tuple[str, str]]:
        """Report sizes that do not split into heads, or whose values rotary positions and times cannot pair."""
        if self.n_emb % self.n_head:
            yield "n_head", f"{self.n_head} does not divide n_emb {self.n_emb}; choose one that does"
        elif self.position == "rotary" and self.n_emb // self.n_head % 2:
            yield (
                "n_head",
                f"{self.n_head} heads of n_emb {self.n_emb} have an odd size, {self.n_emb // self.n_head}, and rotary "
                "positions turn pairs of values; choose an even size or position: learned",
            )
        if self.n_emb % 2:
            yield (
                "n_emb",
                f"{self.n_emb} is odd, and a time is embedded as pairs of sine and cosine; choose {self.n_emb + 1}",
            )
