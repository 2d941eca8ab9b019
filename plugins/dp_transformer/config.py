"""Options of the transformer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import attrs
from attrs.validators import and_, ge, lt

from dp_core import option

_IS_PROBABILITY = and_(ge(0), lt(1))


@attrs.frozen(kw_only=True)
class TransformerConfig:
    """The size of the network; names and defaults are those of the original's transformer policies."""

    takes: ClassVar[tuple[str, ...]] = ("end_timestep", "tokens")

    n_layer: int = option(8, help="layers of the decoder", validator=ge(1))
    n_head: int = option(4, help="heads of every attention; divides n_emb", validator=ge(1))
    n_emb: int = option(256, help="size of a token; even", validator=ge(4))
    p_drop_emb: float = option(0.0, help="dropout of tokens, after positions are added", validator=_IS_PROBABILITY)
    p_drop_attn: float = option(0.3, help="dropout inside the layers", validator=_IS_PROBABILITY)
    causal_attn: bool = option(
        True,
        help="a step sees only earlier ones, and observations up to its own; the authors found it critical, though "
        "paths can then change from one mode to another on their way",
    )
    time_as_cond: bool = option(
        True, help="the time is attended to across; false: it is the first token of an encoder without observations"
    )
    n_cond_layers: int = option(0, help="layers of the encoder of time and observations; 0: an MLP", validator=ge(0))

    def check(self, obs_as_global_cond: bool = False, obs_as_local_cond: bool = False) -> Iterable[tuple[str, str]]:
        """Report sizes that do not split into heads and pairs, and observations that nothing would attend to."""
        if obs_as_local_cond:
            yield (
                "name",
                "'transformer' attends to observations as tokens, and takes no vector per step of the trajectory; "
                "set obs_as_local_cond: false, or choose a denoiser that does, such as 'unet1d'",
            )
        if self.n_emb % self.n_head:
            yield "n_head", f"{self.n_head} does not divide n_emb {self.n_emb}; choose one that does"
        if self.n_emb % 2:
            yield (
                "n_emb",
                f"{self.n_emb} is odd, and a time is embedded as pairs of sine and cosine; choose {self.n_emb + 1}",
            )
        if self.time_as_cond:
            return
        if obs_as_global_cond:
            yield (
                "time_as_cond",
                "false leaves nothing that attends to observations; choose true, or obs_as_global_cond: false",
            )
        if self.n_cond_layers:
            yield "n_cond_layers", f"{self.n_cond_layers} layers encode nothing with time_as_cond: false; choose 0"
