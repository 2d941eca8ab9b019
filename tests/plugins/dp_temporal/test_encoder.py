"""Attention over the steps of the window."""

import pytest
import torch

from dp_core.errors import ConfigError

SHAPE_META = {"obs": {"state": {"shape": [3]}}, "action": {"shape": [2]}}
SMALL = {"name": "temporal", "encoder": "lowdim", "n_emb": 8, "n_head": 2, "n_layer": 1}


@pytest.fixture
def build(registry):
    def build_encoder(**options):
        torch.manual_seed(0)
        runtime = {"shape_meta": SHAPE_META, "n_obs_steps": 4}
        return registry.build("encoder", {**SMALL, **options}, **runtime).eval()

    return build_encoder


def test_a_window_becomes_one_vector_which_depends_on_every_step_and_on_their_order(build):
    encoder, window = build(), torch.randn(2, 4, 3)
    features = encoder({"state": window})

    assert features.shape == (2, encoder.output_dim) == (2, 8)
    for step in range(4):
        changed = window.clone()
        changed[:, step] += 1
        assert not torch.allclose(encoder({"state": changed}), features)
    assert not torch.allclose(encoder({"state": window[:, [1, 0, 2, 3]]}), features)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"n_head": 3}, "n_head: 3 does not divide n_emb 8; choose one that does"),
        ({"encoder": SMALL}, "encoder: 'temporal' sees the window itself; choose one that gives a vector of each step"),
    ],
)
def test_what_does_not_fit_is_refused(build, options, problem):
    with pytest.raises(ConfigError) as caught:
        build(**options)

    assert [str(each) for each in caught.value.problems] == [problem]
