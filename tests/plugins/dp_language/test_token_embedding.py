"""Learnt vectors of ids."""

import pytest
import torch

from dp_core.errors import ConfigError

IDS = {"words": {"shape": [3], "type": "tokens", "vocabulary_size": 5}}
CLASS = {"kind": {"shape": [], "type": "tokens", "vocabulary_size": 2}}


@pytest.fixture
def build(registry):
    def build_encoder(obs, **options):
        block = {"name": "token_embedding", "embedding_dim": 4, "feature_dimension": 6, **options}
        return registry.build("encoder", block, shape_meta={"obs": obs, "action": {"shape": [2]}}).eval()

    return build_encoder


def test_a_feature_depends_on_ids_and_their_order(build):
    encoder = build(IDS | CLASS)
    features = encoder({"words": torch.tensor([[0, 1, 2], [2, 1, 0], [0, 1, 2]]), "kind": torch.tensor([0, 0, 1])})

    assert features.shape == (3, encoder.output_dim) == (3, 12)
    assert not torch.allclose(features[0, :6], features[1, :6])
    assert torch.equal(features[0, :6], features[2, :6])
    assert not torch.allclose(features[0, 6:], features[2, 6:])


def test_each_id_may_be_a_token(build):
    encoder = build(IDS | CLASS, as_tokens=True)
    tokens = encoder({"words": torch.tensor([[0, 1, 2]]), "kind": torch.tensor([1])})

    assert tokens.shape == (1, encoder.n_tokens, encoder.output_dim) == (1, 4, 4)
    assert torch.equal(tokens[0, 3], encoder.tables["kind"].weight[1])


def test_keys_that_cannot_name_a_table_are_refused(build):
    with pytest.raises(ConfigError) as caught:
        build({"a.b": IDS["words"]})

    assert [str(each) for each in caught.value.problems] == [
        "the key 'a.b' names a part of the encoder and has no dots; write 'a_b'"
    ]
