"""What every image encoder has to do, in training and in evaluation; `BaseEncoder` says it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp_core.errors import ConfigError
from dp_core.interfaces import BaseEncoder
from dp_core.pretrained import skip_pretrained_weights
from dp_core.registry import Registry

STATE = {"pose": {"shape": [3], "type": "low_dim"}, "grip": {"shape": [2, 2], "type": "low_dim"}}
CAMERAS = {"top": {"shape": [3, 48, 40], "type": "rgb"}, "hand": {"shape": [3, 48, 40], "type": "rgb"}}
OTHER_SIZE = {"side": {"shape": [3, 44, 60], "type": "rgb"}}
MIXED = {"pose": STATE["pose"], "top": CAMERAS["top"], "grip": STATE["grip"], "hand": CAMERAS["hand"]}

WITHOUT_CROP: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [4, 8], "feature_dimension": 8},
    "lerobot": {"spatial_softmax_num_keypoints": 4},
    "multi_image": {"use_group_norm": True},
    "robomimic": {"crop_shape": None, "feature_dimension": 8, "num_kp": 4},
    "timm": {"model_name": "test_resnet"},
}
CROP = {"crop_shape": [36, 36]}
TIMM = {"name": "timm", "model_name": "test_resnet", **CROP}
ENCODERS: dict[str, dict[str, Any]] = {
    **{name: {"name": name, **options, **CROP} for name, options in WITHOUT_CROP.items()},
    "multi_image-shared": {"name": "multi_image", "share_rgb_model": True, "use_group_norm": True, **CROP},
    "r3m": {"name": "r3m", "pretrained": False},
    "robomimic-own-crop": {"name": "robomimic", "eval_fixed_crop": False, **WITHOUT_CROP["robomimic"], **CROP},
    "timm-shared": {"name": "timm", "model_name": "test_resnet", "share_rgb_model": True, **CROP},
    "timm-crop-ratio": {"name": "timm", "model_name": "test_resnet", "crop_ratio": 0.8, "feature_aggregation": "max"},
    "timm-keypoints": {**TIMM, "feature_aggregation": "spatial_softmax", "num_kp": 4},
    "timm-soft-attention": {**TIMM, "feature_aggregation": "soft_attention"},
    "timm-spatial-embedding": {**TIMM, "feature_aggregation": "spatial_embedding"},
    "timm-attention-pool": {**TIMM, "feature_aggregation": "attention_pool_2d"},
}
"""All crop at random."""
FROZEN: dict[str, dict[str, Any]] = {
    "multi_image": {"name": "multi_image", "weights": "IMAGENET1K_V1", "frozen": True, **CROP},
    "r3m": {"name": "r3m", "frozen": True},
    "timm": {"name": "timm", "model_name": "test_resnet", "pretrained": True, "frozen": True, **CROP},
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    """What is installed here."""
    return Registry.discover()


def shape_meta(obs: dict[str, Any]) -> dict[str, Any]:
    return {"obs": obs, "action": {"shape": [2]}}


def random_obs(obs: dict[str, Any], count: int, seed: int = 0) -> dict[str, Tensor]:
    """Normalised, in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return {key: 2 * torch.rand(count, *spec["shape"], generator=generator) - 1 for key, spec in obs.items()}


@pytest.fixture(scope="module")
def encoder(request: pytest.FixtureRequest, registry: Registry) -> BaseEncoder:
    """For two cameras among states."""
    torch.manual_seed(0)
    built: BaseEncoder = registry.build("encoder", ENCODERS[request.param], shape_meta=shape_meta(MIXED))
    return built


every_encoder = pytest.mark.parametrize("encoder", ENCODERS, indirect=True)


@torch.no_grad()
def encode(encoder: BaseEncoder, obs: dict[str, Tensor]) -> Tensor:
    return encoder(obs)


def repeated(obs: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    return {key: value.repeat_interleave(count, dim=0) for key, value in obs.items()}


def test_every_image_encoder_is_here(registry: Registry) -> None:
    built_in = {component.name for component in registry.components("encoder") if component.distribution == "dp-core"}

    of_images = built_in - {"concat", "lowdim", "pointnet", "sentence", "temporal", "token_embedding"}
    assert {block["name"] for block in ENCODERS.values()} == of_images


@every_encoder
def test_states_are_in_the_features_as_they_are(encoder: BaseEncoder) -> None:
    encoder.eval()
    obs = random_obs(MIXED, 1)
    features = encode(encoder, obs)

    for key in STATE:
        changed = obs | {key: obs[key] + 0.1}
        columns = (encode(encoder, changed) != features)[0]
        assert torch.equal(features[:, columns], obs[key].flatten(1))


@every_encoder
def test_each_camera_has_features_of_its_own(encoder: BaseEncoder) -> None:
    encoder.eval()
    obs = random_obs(MIXED, 1)
    features = encode(encoder, obs)
    columns = {key: (encode(encoder, obs | {key: -obs[key]}) != features)[0] for key in MIXED}

    assert features.shape == (1, encoder.output_dim)
    assert features.dtype == torch.float32
    assert all(changed.any() for changed in columns.values())
    assert torch.stack(list(columns.values())).sum(0).max() == 1


@every_encoder
def test_crops_are_random_per_sample_in_training_and_fixed_in_evaluation(encoder: BaseEncoder) -> None:
    obs = repeated(random_obs(MIXED, 1), 2)

    encoder.eval()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, other = encode(encoder, obs)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(one, other)

    encoder.train()
    one, other = encode(encoder, obs)
    assert (one - other).abs().max() > 1e-3


@every_encoder
def test_evaluation_gives_equal_features_whatever_else_is_in_the_batch(encoder: BaseEncoder) -> None:
    encoder.eval()
    obs = random_obs(MIXED, 2)

    together = encode(encoder, obs)

    assert torch.equal(encode(encoder, obs), together)
    torch.testing.assert_close(encode(encoder, {key: value[1:] for key, value in obs.items()}), together[1:])


@every_encoder
def test_observations_are_left_as_they_are(encoder: BaseEncoder) -> None:
    obs = random_obs(MIXED, 2)
    given = {key: value.clone() for key, value in obs.items()}

    encode(encoder.train(), obs)

    assert list(obs) == list(given)
    assert all(torch.equal(obs[key], given[key]) for key in given)


@every_encoder
def test_every_parameter_learns(encoder: BaseEncoder) -> None:
    encoder.train().zero_grad()
    torch.manual_seed(0)
    features = encoder(random_obs(MIXED, 3))
    # A plain sum can be constant: the probabilities of a softmax, or what a normalisation leaves.
    (features * torch.randn_like(features)).sum().backward()

    idle = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


TASKS = {
    "states without cameras": STATE,
    "cameras without state": CAMERAS,
    "one camera": {"top": CAMERAS["top"]},
    "cameras of different sizes": CAMERAS | OTHER_SIZE | STATE,
}
REFUSED = {
    ("lerobot", "states without cameras"): (
        "encoder 'lerobot' has 1 problem\n  name: 'lerobot' encodes images, and shape_meta has none; choose 'lowdim'"
    ),
    ("lerobot", "cameras of different sizes"): (
        "encoder 'lerobot' has 1 problem\n"
        "  images differ in shape: [3, 48, 40] of 'top', [3, 48, 40] of 'hand', [3, 44, 60] of 'side'; LeRobot's "
        "encoder takes images of one shape"
    ),
}
"""What an encoder that is here for the weights of others cannot do, as they could not."""


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ENCODERS)
def test_whatever_a_task_observes_is_encoded(name: str, task: str, registry: Registry) -> None:
    meta = shape_meta(TASKS[task])
    if (name, task) in REFUSED:
        with pytest.raises(ConfigError) as caught:
            registry.build("encoder", ENCODERS[name], shape_meta=meta)
        assert str(caught.value) == REFUSED[name, task]
        return
    encoder: BaseEncoder = registry.build("encoder", ENCODERS[name], shape_meta=meta)

    features = encode(encoder.eval(), random_obs(TASKS[task], 2))

    assert features.shape == (2, encoder.output_dim)
    assert features.isfinite().all()


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "lerobot"])
def test_without_cameras_features_are_the_states(name: str, registry: Registry) -> None:
    encoder: BaseEncoder = registry.build("encoder", ENCODERS[name], shape_meta=shape_meta(STATE))
    obs = random_obs(STATE, 2)

    features = encode(encoder, obs)

    states = torch.cat([value.flatten(1) for value in obs.values()], dim=-1)
    assert torch.equal(features.sort().values, states.sort().values)
    assert list(encoder.parameters()) == []


@pytest.mark.parametrize("name", WITHOUT_CROP)
def test_without_a_crop_nothing_is_random(name: str, registry: Registry) -> None:
    obs = CAMERAS if name == "lerobot" else CAMERAS | OTHER_SIZE
    encoder: BaseEncoder = registry.build("encoder", {"name": name, **WITHOUT_CROP[name]}, shape_meta=shape_meta(obs))

    one, other = encode(encoder.train(), repeated(random_obs(obs, 1), 2))

    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_means_frozen(name: str, registry: Registry) -> None:
    """No gradient, no drift of batch statistics in training, nothing for the optimizer; crops stay random."""
    with skip_pretrained_weights():
        encoder: BaseEncoder = registry.build("encoder", FROZEN[name], shape_meta=shape_meta(CAMERAS))
    policy = nn.ModuleDict({"encoder": encoder, "head": nn.Linear(encoder.output_dim, 1)}).train()
    optimizer = registry.build("optimizer", {"name": "adamw", "weight_decay": 0.1}, policy=policy)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}

    features = encoder(repeated(random_obs(CAMERAS, 1), 2))
    policy["head"](features).sum().backward()
    optimizer.step()

    assert not features.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == [
        id(p) for p in policy["head"].parameters()
    ]
    assert not torch.equal(*features.detach())


RANDOM_WEIGHTS = {
    "multi_image": (
        {},
        "is true, and the weights are random, which would never learn; set 'weights' or 'checkpoint_path', or leave it "
        "out",
    ),
    "r3m": (
        {"pretrained": False},
        "is true, and without 'pretrained' the weights are random, which would never learn; leave one of them out",
    ),
    "timm": (
        {},
        "is true, and the weights are random, which would never learn; set 'pretrained: true' or 'checkpoint_path', or "
        "leave it out",
    ),
}


@pytest.mark.parametrize("name", FROZEN)
def test_random_weights_are_not_frozen(name: str, registry: Registry) -> None:
    options, problem = RANDOM_WEIGHTS[name]
    with pytest.raises(ConfigError) as caught:
        registry.build("encoder", {"name": name, "frozen": True, **options}, shape_meta=shape_meta(CAMERAS))

    assert str(caught.value) == f"encoder '{name}' has 1 problem\n  frozen: {problem}"


@pytest.mark.parametrize("name", FROZEN)
def test_networks_may_learn_at_a_rate_of_their_own(name: str, registry: Registry) -> None:
    block = {key: value for key, value in FROZEN[name].items() if key != "frozen"}
    with skip_pretrained_weights():
        encoder = registry.build("encoder", block | {"lr_multiplier": 0.1}, shape_meta=shape_meta(CAMERAS))
    policy = nn.ModuleDict({"encoder": encoder, "head": nn.Linear(encoder.output_dim, 1)})

    rest, networks = registry.build("optimizer", {"name": "adamw", "lr": 0.01}, policy=policy).param_groups

    assert (rest["lr"], networks["lr"]) == (0.01, 0.001)
    assert [id(p) for p in networks["params"]] == [id(p) for p in encoder.parameters()]


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_networks_have_no_rate(name: str, registry: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.build("encoder", FROZEN[name] | {"lr_multiplier": 0.1}, shape_meta=shape_meta(CAMERAS))

    kind = "models" if name == "timm" else "networks"
    assert str(caught.value) == (
        f"encoder '{name}' has 1 problem\n"
        f"  lr_multiplier: is set, and {kind} that are 'frozen' do not learn; leave one of them out"
    )


def test_keypoints_in_a_map_of_one_pixel_are_refused_by_lerobots_encoder(registry: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.build(
            "encoder", {"name": "lerobot", "crop_shape": [32, 32]}, shape_meta=shape_meta({"top": CAMERAS["top"]})
        )

    assert str(caught.value) == (
        "encoder 'lerobot' has 1 problem\n"
        "  crop_shape: the network leaves 1 pixel of the 32 x 32 of 'top', and keypoints say where in an image "
        "something is; use more than 32 pixels, or another encoder"
    )
