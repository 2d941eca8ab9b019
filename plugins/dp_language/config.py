"""Options of the encoders of language."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
from attrs.validators import ge, gt

from dp_core import option
from dp_core.config.declared import TOKENS, VECTOR
from dp_core.pretrained import pretrained_weights_wanted


@attrs.frozen(kw_only=True)
class SentenceConfig:
    """A sentence embedder, and a layer that is trained on what it gives.

    A checkpoint holds all that acting needs: the embedder's weights, its configuration and its tokenizer.
    """

    takes: ClassVar[tuple[str, ...]] = ("text",)

    checkpoint_path: Path | None = option(
        None,
        help="folder of an embedder that transformers can read: config.json, the tokenizer, weights; needs no network",
    )
    model_name: str | None = option(
        None,
        help="instead: its name on the hub, such as sentence-transformers/all-MiniLM-L6-v2; fetched in a fresh run "
        "only, unless it is in the cache",
    )
    frozen: bool = option(
        True, help="do not train the embedder, and embed every sentence once; false: it is trained with the rest"
    )
    lr_multiplier: float = option(
        1.0,
        help="learning rate of an embedder that is not frozen, relative to the optimizer's; 0.1 suits pretrained ones",
        validator=gt(0),
    )
    pooling: Literal["mean", "cls"] | None = option(
        None,
        help="from words to the sentence: their mean, or the first token; null: what 1_Pooling/config.json says, as "
        "sentence-transformers writes it, else the mean",
    )
    feature_dimension: int = option(64, help="size of the feature of one key", validator=ge(1))

    def check(self) -> Iterable[tuple[str, str]]:
        """Report that no embedder is named, or two are, and options that have no effect."""
        if (self.checkpoint_path is None) == (self.model_name is None):
            found = "are both missing" if self.model_name is None else "are both set"
            yield "checkpoint_path", f"and 'model_name' {found}; choose one of them"
        if self.frozen and self.lr_multiplier != 1:
            yield "lr_multiplier", "is set, and an embedder that is 'frozen' does not learn; leave one of them out"

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report an absent folder, unless a checkpoint of ours replaces it."""
        if self.checkpoint_path and pretrained_weights_wanted() and not self.checkpoint_path.is_dir():
            yield "checkpoint_path", f"folder '{self.checkpoint_path}' does not exist"


@attrs.frozen(kw_only=True)
class TokenEmbeddingConfig:
    """Vectors of ids. How many there are, `vocabulary_size` of the key says."""

    takes: ClassVar[tuple[str, ...]] = ("tokens",)

    embedding_dim: int = option(64, help="size of the vector of one id", validator=ge(1))
    as_tokens: bool = option(
        False,
        help="give the vector of each id as a token, for denoisers that attend to them; false: those of a key become "
        "one feature",
    )
    feature_dimension: int = option(64, help="size of the feature of one key, without as_tokens", validator=ge(1))

    @property
    def gives(self) -> str:
        """Tokens if that is asked for, see `BaseEncoder`."""
        return TOKENS if self.as_tokens else VECTOR

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report keys that cannot name a table."""
        for key in shape_meta["obs"]:
            if "." in key:
                name = key.replace(".", "_")
                yield "", f"the key '{key}' names a part of the encoder and has no dots; write '{name}'"
