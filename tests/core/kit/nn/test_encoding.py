"""Encoders of steps and of windows, run on windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp_core.interfaces import BaseEncoder
from dp_core.kit.nn.encoding import encode_window


class Lengths(BaseEncoder):
    """Gives the lengths of sentences beside numbers; notes what it was given."""

    output_dim = 2

    def forward(self, obs: dict[str, Any]) -> Tensor:
        self.given = obs["text"]
        return torch.stack([torch.tensor([float(len(text)) for text in obs["text"]]), obs["x"].flatten(1)[:, -1]], 1)


X = torch.arange(6.0).reshape(2, 3, 1)
TEXT = [["a", "bb", "ccc"], ["dddd", "e", "ff"]]


def test_steps_are_members_of_the_batch() -> None:
    for text in (TEXT, np.array(TEXT, dtype=object)):
        encoder = Lengths()
        features = encode_window(encoder, {"text": text, "x": X}, sees_window=False)

        assert encoder.given == ["a", "bb", "ccc", "dddd", "e", "ff"]
        assert features.tolist() == [[[1, 0], [2, 1], [3, 2]], [[4, 3], [1, 4], [2, 5]]]


def test_windows_are_given_whole() -> None:
    encoder = Lengths()
    features = encode_window(encoder, {"text": np.array(TEXT, dtype=object), "x": X}, sees_window=True)

    assert encoder.given == TEXT
    assert features.tolist() == [[[3, 2]], [[3, 5]]]
