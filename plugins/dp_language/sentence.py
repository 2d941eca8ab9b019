"""`SentenceEncoder`: what the robot is told to do, as a feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from dp_core.errors import DpError
from dp_core.interfaces import BaseEncoder
from dp_core.pretrained import pretrained_weights_wanted
from dp_language.embedder import Description, Embedder, read_embedder

if TYPE_CHECKING:
    from dp_language.config import SentenceConfig

_MOST_REMEMBERED = 4096
"""Sentences; more are no instructions, and memory is not to grow without end."""


class SentenceEncoder(BaseEncoder):
    """Embeds every different sentence of a batch once, normalises, and projects to a feature for each key of text.

    Embeddings of a frozen embedder are remembered. Its configuration and tokenizer are in the state dict, as bytes: one
    that is built to receive the weights of a checkpoint needs no other file, and takes the embedder of the checkpoint,
    whatever is in the folder now.
    """

    description: Tensor
    """The bytes of a `Description`; empty while there is no embedder."""

    def __init__(self, config: SentenceConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self._keys = list(shape_meta["obs"])
        self._config = config
        self._remembered: dict[str, Tensor] = {}
        self.output_dim = len(self._keys) * config.feature_dimension
        self.embedder: Embedder | None = None
        self.register_buffer("description", torch.zeros(0, dtype=torch.uint8))
        if (embedder := _available(config)) is not None:
            self._install(embedder)
        size = 1 if embedder is None else embedder.output_dim  # a checkpoint brings the embedder, and with it the size
        self.norm = nn.LayerNorm(size)
        self.projection = nn.Linear(size, config.feature_dimension)

    def _install(self, embedder: Embedder) -> None:
        device = self.description.device
        self.embedder = embedder.to(device)
        self.description = embedder.description.to_bytes().to(device)
        if self._config.frozen:
            embedder.requires_grad_(False)
        self.train(self.training)

    def _resize(self, size: int) -> None:
        """Make room for the weights of another embedder; parameters stay themselves, for optimizers that have them."""
        norm, projection = self.norm, self.projection
        norm.normalized_shape, projection.in_features = (size,), size
        for parameter, shape in (
            (norm.weight, (size,)),
            (norm.bias, (size,)),
            (projection.weight, (projection.out_features, size)),
        ):
            parameter.data = parameter.new_zeros(shape)

    def train(self, mode: bool = True) -> Self:
        """Switch mode, but keep a frozen embedder in evaluation, so that it drops nothing."""
        super().train(mode)
        if self._config.frozen and self.embedder is not None:
            self.embedder.eval()
        return self

    def lr_multipliers(self) -> dict[str, float]:
        """Return the relative learning rate of the embedder, which was trained before; see `BaseEncoder`.

        Raises:
            DpError: it is to be trained, and its files are not here: training cannot go on.
        """
        factor = self._config.lr_multiplier
        if self._config.frozen:
            return {}
        if self.embedder is None:
            raise DpError(
                "encoder 'sentence': training an embedder that is not 'frozen' needs its files, and "
                f"'{self._config.checkpoint_path or self._config.model_name}' is not a folder here; set "
                "'checkpoint_path' to one that holds them"
            )
        names = [f"embedder.{name}" for name, _ in self.embedder.named_parameters()]
        return dict.fromkeys(names, factor) if factor != 1 else {}

    def forward(self, obs: Mapping[str, Sequence[str]]) -> Tensor:  # type: ignore[override]  # text is no tensor
        """Encode sentences {key: N strings} of one step as features (N, Do); see `BaseEncoder`."""
        features = [self.projection(self.norm(self._embedded(obs[key]))) for key in self._keys]
        return torch.cat(features, dim=-1)

    def _embedded(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings (N, size) of sentences, each of which is looked at once."""
        if self.embedder is None:
            raise DpError("encoder 'sentence': has no embedder yet; load the weights that it was built for")
        different = list(dict.fromkeys(sentences))
        vectors = self._recalled(different) if self._config.frozen else self.embedder(different)
        place = {sentence: index for index, sentence in enumerate(different)}
        return vectors[torch.tensor([place[sentence] for sentence in sentences], device=vectors.device)]

    def _recalled(self, sentences: Sequence[str]) -> Tensor:
        assert self.embedder is not None
        if new := [sentence for sentence in sentences if sentence not in self._remembered]:
            if len(self._remembered) + len(new) > _MOST_REMEMBERED:
                self._remembered.clear()
                new = list(sentences)
            # Not inference_mode, under which what is remembered could not be used in training; and not in the lower
            # precision of one step, as the next may have another.
            with torch.no_grad(), torch.autocast(self.description.device.type, enabled=False):
                # One by one, as padding to the longest rounds otherwise, and what is remembered is to be the same.
                self._remembered |= {sentence: self.embedder([sentence])[0] for sentence in new}
        return torch.stack([self._remembered[sentence] for sentence in sentences])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._remembered.clear()  # of another device or type
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Make the embedder that ``state_dict`` describes, whose weights torch then loads into it."""
        self._remembered.clear()
        given = state_dict.get(f"{prefix}description")
        if given is not None and given.numel() and not torch.equal(given.cpu(), self.description.cpu()):
            embedder = Embedder.empty(Description.of_bytes(given))
            self._install(embedder)
            self._resize(embedder.output_dim)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _available(config: SentenceConfig) -> Embedder | None:
    """Read the embedder that is to be trained with; for weights of a checkpoint, only what is in the folder."""
    if pretrained_weights_wanted():
        source = config.checkpoint_path or config.model_name
        assert source is not None
        return read_embedder(source, config.pooling, with_weights=True)
    if config.checkpoint_path is not None and config.checkpoint_path.is_dir():
        return read_embedder(config.checkpoint_path, config.pooling, with_weights=False)
    return None
