"""A sentence embedder of random weights, as small as they come, in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "push", "pull", "the", "block", "left", "right"]


def _write_embedder(folder: Path, *, hidden_size: int = 8, max_length: int = 8) -> Path:
    """Write what transformers reads: config.json, the tokenizer, random weights."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=hidden_size,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
        initializer_range=1.0,  # so that sentences differ as they do after training
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def write_embedder() -> Callable[..., Path]:
    """``write_embedder(folder, hidden_size=8)``: an embedder in a folder, which it returns."""
    return _write_embedder


@pytest.fixture(scope="session")
def embedder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small embedder."""
    pytest.importorskip("transformers")
    return _write_embedder(tmp_path_factory.mktemp("embedder"))
