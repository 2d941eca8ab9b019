"""The encoder of low-dimensional observations."""

import pytest
import torch

from dp_core.errors import ConfigError

SHAPE_META = {
    "obs": {"pose": {"shape": [2, 3], "type": "low_dim"}, "grip": {"shape": [1]}, "arm": {"shape": [2]}},
    "action": {"shape": [2]},
}


def test_it_concatenates_in_the_order_of_shape_meta(registry):
    encoder = registry.build("encoder", "lowdim", shape_meta=SHAPE_META)
    obs = {"arm": torch.tensor([[8.0, 9]]), "pose": torch.arange(6.0).view(1, 2, 3), "grip": torch.tensor([[7.0]])}

    features = encoder(obs)

    assert features.tolist() == [[0, 1, 2, 3, 4, 5, 7, 8, 9]]
    assert encoder.output_dim == 9


def test_it_adds_nothing_to_a_state_dict(registry):
    assert not registry.build("encoder", "lowdim", shape_meta=SHAPE_META).state_dict()


def test_it_rejects_images(registry):
    images = {"front": {"shape": [3, 8, 8], "type": "rgb"}, "wrist": {"shape": [3, 8, 8], "type": "rgb"}}

    with pytest.raises(ConfigError) as error:
        registry.build("encoder", "lowdim", shape_meta={"obs": SHAPE_META["obs"] | images, "action": {"shape": [2]}})

    assert str(error.value) == (
        "encoder 'lowdim' has 1 problem\n"
        "  lowdim takes keys of type low_dim; 'front' and 'wrist' are rgb; choose another encoder, or give them to "
        "another part, see encoder 'concat'"
    )
