"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_language.config import SentenceConfig, TokenEmbeddingConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="sentence",
        target="dp_language.sentence:SentenceEncoder",
        config=SentenceConfig,
        summary="a sentence embedder of transformers, for what the robot is told to do",
        requires=("transformers",),
        extra="language",
    )
    yield Component(
        kind="encoder",
        name="token_embedding",
        target="dp_language.token_embedding:TokenEmbeddingEncoder",
        config=TokenEmbeddingConfig,
        summary="a learnt vector for every id of a vocabulary",
    )
