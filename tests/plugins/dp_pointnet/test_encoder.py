"""The encoder of point clouds."""

import pytest
import torch

from dp_core.errors import ConfigError

SHAPE_META = {
    "obs": {"cloud": {"shape": [20, 6], "type": "points"}, "grip": {"shape": [2]}},
    "action": {"shape": [2]},
}


def task(**obs):
    return {"obs": obs, "action": {"shape": [2]}}


@pytest.fixture
def build(registry):
    def build_encoder(shape_meta=SHAPE_META, **options):
        torch.manual_seed(0)
        return registry.build("encoder", {"name": "pointnet", **options}, shape_meta=shape_meta).eval()

    return build_encoder


def test_the_order_of_points_does_not_matter_and_other_keys_are_as_they_are(build):
    encoder, cloud, grip = build(), torch.randn(2, 20, 6), torch.randn(2, 2)
    features = encoder({"cloud": cloud, "grip": grip})

    assert features.shape == (2, encoder.output_dim) == (2, 64 + 2)
    assert torch.allclose(encoder({"cloud": cloud.flip(1), "grip": grip}), features, atol=1e-6)
    assert torch.equal(features[:, 64:], grip)


def test_its_sizes_are_those_of_3d_diffusion_policy(build):
    shapes = {
        name: list(p.shape) for name, p in build(task(cloud={"shape": [9, 3], "type": "points"})).named_parameters()
    }

    linear = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    assert linear == {
        "nets.cloud.mlp.0.weight": [64, 3],
        "nets.cloud.mlp.3.weight": [128, 64],
        "nets.cloud.mlp.6.weight": [256, 128],
        "nets.cloud.final_projection.0.weight": [64, 256],
    }


@pytest.mark.parametrize(
    ("obs", "problem"),
    [
        ({"grip": {"shape": [2]}}, "name: 'pointnet' encodes points, and shape_meta has none; choose 'lowdim'"),
        (
            {"a.b": {"shape": [9, 3], "type": "points"}},
            "the key 'a.b' of points names a part of the encoder and has no dots; write 'a_b'",
        ),
    ],
)
def test_what_it_cannot_encode_is_refused(build, obs, problem):
    with pytest.raises(ConfigError) as caught:
        build(task(**obs))

    assert [str(each) for each in caught.value.problems] == [problem]
