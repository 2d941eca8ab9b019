"""`Embedder`: a sentence embedder of transformers, and the description that it can be made of without its files."""

from __future__ import annotations

import contextlib
import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as hf_logging

from dp_core.errors import DpError, InputError
from dp_core.kit.nn.hub import endpoint, impatient_hub

_POOLING_FILE = "1_Pooling/config.json"
"""Where sentence-transformers notes how words become a sentence."""
_NO_LIMIT = 10**6
"""Tokenizers without a limit of their own say 10**30."""


@attrs.frozen
class Description:
    """All of an embedder but its weights, as text."""

    config: str
    """JSON, transformers' own, with ``model_type``."""
    tokenizer: str
    """JSON, that of the package tokenizers."""
    pad_id: int
    max_length: int
    """Tokens of the longest sentence."""
    pooling: str
    """``mean`` or ``cls``."""

    def to_bytes(self) -> Tensor:
        """Return it as bytes (n,), uint8, such as a state dict can hold."""
        return torch.frombuffer(bytearray(json.dumps(attrs.asdict(self)).encode()), dtype=torch.uint8)

    @classmethod
    def of_bytes(cls, given: Tensor) -> Description:
        """Read what `to_bytes` wrote."""
        return cls(**json.loads(bytes(given.cpu().tolist())))


class Embedder(nn.Module):
    """Turns sentences into vectors."""

    def __init__(self, description: Description, model: nn.Module) -> None:
        super().__init__()
        self.description = description
        self.model = model
        self.output_dim = _size_of(model)
        self._tokenizer: Any = Tokenizer.from_str(description.tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.enable_padding(pad_id=description.pad_id)

    @classmethod
    def empty(cls, description: Description) -> Embedder:
        """Make one with random weights, for those of a state dict."""
        config = json.loads(description.config)
        model = AutoModel.from_config(AutoConfig.for_model(**config))
        return cls(description, _without_pooler(model).float())

    def forward(self, sentences: Sequence[str]) -> Tensor:
        """Embed sentences (N) as vectors (N, output_dim), float32.

        Raises:
            InputError: a sentence is longer than the embedder was trained for.
        """
        encoded = self._tokenizer.encode_batch(list(sentences))
        mask = self._tensor([each.attention_mask for each in encoded])
        lengths = mask.sum(1).tolist()
        limit = self.description.max_length
        if too_long := [(text, n) for text, n in zip(sentences, lengths, strict=True) if n > limit]:
            text, length = too_long[0]
            raise InputError(
                f"encoder 'sentence': '{textwrap.shorten(text, 40)}' has {length} tokens; the embedder takes {limit} "
                "at most; say it in fewer words"
            )
        states = self.model(input_ids=self._tensor([each.ids for each in encoded]), attention_mask=mask)
        words: Tensor = states.last_hidden_state  # (N, L, D)
        if self.description.pooling == "cls":
            return words[:, 0]
        weights = mask[:, :, None].to(words.dtype)
        return (words * weights).sum(1) / weights.sum(1).clamp(min=1)

    def _tensor(self, rows: list[list[int]]) -> Tensor:
        return torch.tensor(rows, device=next(self.model.parameters()).device)


def read_embedder(source: Path | str, pooling: str | None, *, with_weights: bool) -> Embedder:
    """Read an embedder from its folder, or get it from the hub by its name.

    Args:
        pooling: None for what the files say.
        with_weights: False leaves them random.

    Raises:
        DpError: it is out of reach, or no sentence embedder.
    """
    if isinstance(source, Path) and not source.is_dir():
        raise DpError(f"encoder 'sentence': folder '{source}' does not exist")
    try:
        if isinstance(source, Path):
            return _read(source, pooling, with_weights)
        with impatient_hub():
            return _read(source, pooling, with_weights)
    except DpError:
        raise
    except OSError as error:
        if isinstance(source, Path):
            raise _unreadable(source, error) from error
        raise DpError(
            f"encoder 'sentence': '{source}' is not in the cache and cannot be fetched from {endpoint()}; "
            "set 'checkpoint_path' to a folder that holds it"
        ) from error
    except Exception as error:  # a folder can hold anything
        raise _unreadable(source, error) from error


def _read(source: Path | str, pooling: str | None, with_weights: bool) -> Embedder:
    config = AutoConfig.from_pretrained(source)
    if config.is_encoder_decoder:
        raise DpError(
            f"encoder 'sentence': '{source}' is of type {config.model_type}, which translates; choose a sentence "
            "embedder, such as sentence-transformers/all-MiniLM-L6-v2"
        )
    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    if not tokenizer.is_fast:
        raise DpError(f"encoder 'sentence': '{source}' has no tokenizer.json, nor what transformers could make it of")
    limits = (tokenizer.model_max_length, getattr(config, "max_position_embeddings", _NO_LIMIT))
    description = Description(
        config=json.dumps(config.to_dict()),
        tokenizer=tokenizer.backend_tokenizer.to_str(),
        pad_id=tokenizer.pad_token_id or 0,
        max_length=int(min(limits)),
        pooling=pooling or _pooling_of(source),
    )
    embedder = Embedder(description, _with_weights(source)) if with_weights else Embedder.empty(description)
    with torch.no_grad():
        embedder.eval()(["is it one?"])
    return embedder


def _with_weights(source: Path | str) -> nn.Module:
    with _quiet():
        model, info = AutoModel.from_pretrained(source, output_loading_info=True)
    model = _without_pooler(model)
    if missing := sorted(set(info["missing_keys"]) & set(model.state_dict())):
        raise DpError(
            f"encoder 'sentence': '{source}' holds no '{missing[0]}'; {len(missing)} of the {len(model.state_dict())} "
            "weights expected are absent; choose a sentence embedder, such as sentence-transformers/all-MiniLM-L6-v2"
        )
    return model.float()


def _without_pooler(model: nn.Module) -> nn.Module:
    """Take away a layer that sentence embedders do not use: it would neither learn nor say anything."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # type: ignore[assignment]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and reports; what matters is said otherwise."""
    verbosity, has_bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if has_bars:
            hf_logging.enable_progress_bar()


def _pooling_of(source: Path | str) -> str:
    """Look up what sentence-transformers noted; the mean where there is no note."""
    if isinstance(source, Path):
        path: str | None = str(source / _POOLING_FILE)
    else:
        from transformers.utils import cached_file

        path = cached_file(
            source,
            _POOLING_FILE,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    if path is None or not Path(path).is_file():
        return "mean"
    noted = json.loads(Path(path).read_text(encoding="utf-8"))
    if noted.get("pooling_mode_cls_token") or noted.get("pooling_mode") == "cls":
        return "cls"
    if noted.get("pooling_mode_mean_tokens") or noted.get("pooling_mode") == "mean":
        return "mean"
    raise DpError(f"encoder 'sentence': {path} asks for a pooling other than 'mean' and 'cls'; set 'pooling' to one")


def _size_of(model: nn.Module) -> int:
    config: Any = model.config
    return int(config.hidden_size)


def _unreadable(source: Path | str, error: Exception) -> DpError:
    reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200).rstrip(".: ")
    return DpError(f"encoder 'sentence': '{source}' holds no sentence embedder that transformers can read: {reason}")
