"""The timm encoder."""

import copy
import socket
from typing import get_args

import attrs
import pytest
import torch
from torch import nn

from dp_core.config import preflight, structure_block
from dp_core.config.fields import HELP
from dp_core.errors import ConfigError, DpError
from dp_core.pretrained import skip_pretrained_weights
from dp_timm.config import Aggregation, ColorJitterOptions, TimmConfig
from dp_timm.plugin import dp_components
from dp_timm.pooling import resized

timm = pytest.importorskip("timm")

PUSHT = {"obs": {"agent_pos": {"shape": [2]}, "image": {"shape": [3, 96, 96], "type": "rgb"}}, "action": {"shape": [2]}}

FROZEN_AT_RANDOM = (
    "frozen: is true, and the weights are random, which would never learn; set 'pretrained: true' or "
    "'checkpoint_path', or leave it out"
)
FROZEN_AND_LEARNING = "lr_multiplier: is set, and models that are 'frozen' do not learn; leave one of them out"
AGGREGATIONS = [name for name in get_args(Aggregation) if name != "tokens"]


def build(shape_meta=PUSHT, **options):
    (component,) = dp_components()
    return component.load()(TimmConfig(**options), shape_meta=shape_meta)


def meta(**shapes):
    obs = {
        key: {"shape": list(shape), "type": "rgb" if len(shape) == 3 else "low_dim"} for key, shape in shapes.items()
    }
    return {"obs": obs, "action": {"shape": [2]}}


def error_of(**options):
    with pytest.raises(DpError) as raised:
        build(**options)
    return str(raised.value)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """A machine that has neither the network nor anything in the cache of the hub; the hosts that were looked up."""
    attempts = []

    def refuse(host, *_args, **_kwargs):
        attempts.append(host)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return attempts


@pytest.mark.parametrize(
    ("model_name", "size"),
    [("test_resnet", 96), ("test_efficientnet", 256), ("test_convnext", 64), ("test_vit", 64), ("lcnet_035", 1280)],
)
def test_any_backbone_gives_its_own_features(model_name, size):
    encoder = build(model_name=model_name)
    obs = {"image": torch.rand(2, 3, 96, 96), "agent_pos": torch.rand(2, 2)}

    features = encoder(obs)

    assert features.shape == (2, encoder.output_dim) == (2, size + 2)
    assert torch.equal(features[:, -2:], obs["agent_pos"])
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_features_are_cameras_then_state_each_in_the_order_of_their_names():
    shape_meta = meta(qpos=(5,), wrist=(3, 40, 48), pose=(2, 3), top=(3, 64, 64))
    encoder = build(shape_meta, model_name="test_resnet").eval()
    obs = {key: torch.rand(3, *spec["shape"]) for key, spec in shape_meta["obs"].items()}

    features = encoder(obs)

    assert torch.equal(features[:, :96], encoder.key_model_map["top"](obs["top"]))
    assert torch.equal(features[:, 96:192], encoder.key_model_map["wrist"](obs["wrist"]))
    assert torch.equal(features[:, 192:], torch.cat([obs["pose"].flatten(1), obs["qpos"]], dim=1))


def test_models_begin_with_the_same_weights_and_learn_on_their_own():
    encoder = build(meta(left=(3, 48, 48), right=(3, 48, 48)), model_name="test_resnet")
    left, right = (list(encoder.key_model_map[key].parameters()) for key in ("left", "right"))

    assert all(torch.equal(one, other) for one, other in zip(left, right, strict=True))
    assert not {id(parameter) for parameter in left} & {id(parameter) for parameter in right}


def test_shared_model_sees_every_camera():
    encoder = build(meta(left=(3, 48, 48), right=(3, 48, 48)), model_name="test_resnet", share_rgb_model=True).eval()
    image = torch.rand(2, 3, 48, 48)

    left, right = encoder({"left": image, "right": image}).chunk(2, dim=1)

    assert torch.equal(left, right)
    assert encoder.key_model_map["left"] is encoder.key_model_map["right"]


def test_batch_statistics_of_a_shared_model_are_those_of_all_cameras():
    options = {"model_name": "test_resnet", "share_rgb_model": True, "use_group_norm": False}
    encoder = build(meta(left=(3, 48, 48), right=(3, 48, 48)), **options)
    left, right = torch.rand(2, 2, 3, 48, 48)
    model = copy.deepcopy(encoder.key_model_map["left"])

    features = encoder({"left": left, "right": right})

    expected = model(torch.cat([left, right])).unflatten(0, (2, 2)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(features, expected)


def test_state_alone_needs_no_backbone():
    encoder = build(meta(qpos=(5,)))

    assert encoder.output_dim == 5
    assert list(encoder.parameters()) == []


def test_transformer_is_made_for_the_size_of_the_crop():
    encoder = build(model_name="test_vit", crop_shape=(48, 64))

    assert encoder.key_model_map["image"].patch_embed.grid_size == (3, 4)
    assert encoder({"image": torch.rand(2, 3, 96, 96), "agent_pos": torch.rand(2, 2)}).shape == (2, 66)


def test_crop_is_random_in_training_only():
    encoder = build(model_name="test_resnet", crop_shape=(48, 48))
    obs = {"image": torch.rand(1, 3, 96, 96), "agent_pos": torch.rand(1, 2)}

    assert not torch.equal(encoder(obs), encoder(obs))
    assert torch.equal(encoder.eval()(obs), encoder(obs))


def test_spatial_softmax_replaces_the_pooling_of_the_model():
    encoder = build(model_name="test_resnet", feature_aggregation="spatial_softmax", num_kp=8)

    features = encoder({"image": torch.rand(2, 3, 96, 96) * 2 - 1, "agent_pos": torch.rand(2, 2)})

    assert features.shape == (2, encoder.output_dim) == (2, 18)
    assert features[:, :16].abs().max() <= 1


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("model_name", ["test_resnet", "test_convnext", "test_vit"])
def test_maps_and_tokens_are_aggregated_and_everything_learns(model_name, aggregation):
    encoder = build(meta(image=(3, 64, 96)), model_name=model_name, feature_aggregation=aggregation, num_kp=4)

    features = encoder({"image": torch.rand(2, 3, 64, 96)})
    (features * torch.randn_like(features)).sum().backward()

    assert features.shape == (2, encoder.output_dim)
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("model_name", ["test_resnet", "test_efficientnet", "swin_tiny_patch4_window7_224"])
def test_the_average_is_that_of_models_that_average(model_name):
    """Also where channels are last, as in a Swin transformer."""
    shape_meta = meta(image=(3, 64, 64))
    own = build(shape_meta, model_name=model_name).eval()
    ours = build(shape_meta, model_name=model_name, feature_aggregation="avg").eval()
    image = torch.rand(2, 3, 64, 64)

    for one, other in zip(ours.parameters(), own.parameters(), strict=True):
        one.data = other.data

    torch.testing.assert_close(ours({"image": image}), own({"image": image}))


def test_tokens_of_patches_are_laid_out_as_in_the_image():
    """A patch that differs moves the token at its place the most."""
    encoder = build(meta(image=(3, 64, 96)), model_name="test_vit", feature_aggregation="max").eval()
    image = torch.zeros(1, 3, 64, 96)
    other = image.clone()
    other[..., 16:32, 64:80] = 1
    layout, model = encoder._layouts["image"], encoder.key_model_map["image"]

    change = (layout.to_maps(model(other)) - layout.to_maps(model(image))).norm(dim=1)[0]

    assert change.shape == (4, 6)
    assert divmod(int(change.argmax()), 6) == (1, 4)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_features_are_the_same_bit_for_bit_whether_weights_learn_or_not(aggregation):
    """Averaged weights do not, and those that are loaded from their checkpoint do."""
    encoder = build(model_name="test_resnet", feature_aggregation=aggregation).eval()
    obs = {"image": torch.rand(4, 3, 64, 64), "agent_pos": torch.rand(4, 2)}

    with torch.no_grad():
        learning, averaged = encoder(obs), encoder.requires_grad_(False)(obs)

    assert torch.equal(learning, averaged)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_cameras_of_different_sizes_share_the_aggregation(aggregation):
    shape_meta = meta(top=(3, 64, 64), wrist=(3, 96, 128))
    encoder = build(shape_meta, model_name="test_resnet", feature_aggregation=aggregation)
    obs = {key: torch.rand(2, *spec["shape"]) for key, spec in shape_meta["obs"].items()}

    assert encoder(obs).shape == (2, encoder.output_dim)


def test_what_is_learnt_per_place_is_interpolated():
    """Rows and columns keep their sense; the entry that is of no place stays as it is."""
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    embedding = torch.stack([rows, columns], dim=-1).flatten(0, 1)

    larger = resized(torch.cat([torch.tensor([[7.0, 9.0]]), embedding]), (4, 6), (8, 12))

    assert larger.shape == (1 + 8 * 12, 2)
    assert larger[0].tolist() == [7, 9]
    row, column = larger[1:].unflatten(0, (8, 12))[3:5, 4:8].unbind(-1)
    torch.testing.assert_close(row, torch.tensor([1.25, 1.75])[:, None].expand(2, 4), rtol=0, atol=0.1)
    torch.testing.assert_close(column, torch.tensor([1.75, 2.25, 2.75, 3.25]).expand(2, 4), rtol=0, atol=0.1)
    assert resized(embedding, (4, 6), (4, 6)) is embedding


def test_the_transformer_looks_at_its_own_image_alone():
    """UMI's attends to the other images of the batch instead, and gives the same for all of them."""
    encoder = build(meta(image=(3, 64, 64)), model_name="test_resnet", feature_aggregation="transformer").eval()
    images = torch.rand(3, 3, 64, 64)

    features = encoder({"image": images})

    torch.testing.assert_close(encoder({"image": images[:1]}), features[:1])
    assert (features[0] - features[1]).abs().max() > 1e-4


def test_class_token_of_a_vit_that_would_average_its_patches():
    encoder = build(meta(image=(3, 64, 64)), model_name="vit_tiny_patch16_dinov3_qkvb").eval()
    image = torch.rand(1, 3, 64, 64)

    token = encoder.key_model_map["image"].forward_features(image)[:, 0]

    assert torch.equal(encoder({"image": image}), token)


def test_models_learn_at_a_rate_of_their_own_through_the_whole_schedule(registry):
    encoder = build(model_name="test_resnet", feature_aggregation="soft_attention", lr_multiplier=0.1)
    policy = nn.ModuleDict({"encoder": encoder, "head": nn.Linear(encoder.output_dim, 1)})
    optimizer = registry.build("optimizer", {"name": "adamw", "lr": 1e-3}, policy=policy)
    schedule = registry.build(
        "lr_schedule", {"name": "cosine", "num_warmup_steps": 2}, optimizer=optimizer, num_training_steps=10
    )
    rest, models = optimizer.param_groups

    assert {id(p) for p in models["params"]} == {id(p) for p in encoder.key_model_map.parameters()}
    assert {id(p) for p in rest["params"]} == {
        id(p) for p in [*encoder.attention.parameters(), *policy["head"].parameters()]
    }
    assert (rest["initial_lr"], models["initial_lr"]) == (1e-3, 1e-4)
    for _ in range(10):
        assert models["lr"] == pytest.approx(rest["lr"] / 10)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("share", [False, True])
def test_frozen_means_frozen(share, tmp_path, registry):
    """No gradient, no drift, no dropout; what turns maps into features learns."""
    model = timm.create_model("test_resnet")
    shape_meta = meta(left=(3, 64, 64), right=(3, 64, 64))
    encoder = build(
        shape_meta,
        model_name="test_resnet",
        checkpoint_path=save(model, tmp_path),
        frozen=True,
        share_rgb_model=share,
        feature_aggregation="soft_attention",
        crop_ratio=0.8,
    ).train()
    optimizer = registry.build("optimizer", {"name": "adamw", "weight_decay": 0.1, "lr": 0.01}, policy=encoder)
    before = copy.deepcopy(encoder.state_dict())

    encoder({key: torch.rand(2, 3, 64, 64) for key in ("left", "right")}).square().sum().backward()
    optimizer.step()

    changed = [name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["attention.0.weight"]
    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == [id(encoder.attention[0].weight)]
    assert has_batch_norm(encoder)


@pytest.mark.parametrize("model_name", ["test_resnet", "test_efficientnet"])
def test_batch_norm_is_replaced_unless_weights_are_pretrained(model_name, tmp_path):
    file = save(timm.create_model(model_name), tmp_path)
    groups = build(model_name=model_name)
    kept = build(model_name=model_name, checkpoint_path=file)
    forced = build(model_name=model_name, checkpoint_path=file, use_group_norm=True)

    assert [has_batch_norm(encoder) for encoder in (groups, kept, forced)] == [False, True, False]


def test_activation_survives_the_replacement_of_its_normalisation():
    """timm's efficient nets have layers that do both."""
    with_batch_norm, with_group_norm = (
        [type(module) for module in build(model_name="test_efficientnet", use_group_norm=value).modules()]
        for value in (False, True)
    )

    assert with_batch_norm.count(nn.SiLU) == with_group_norm.count(nn.SiLU) > 0


def test_checkpoint_of_a_classifier_gives_its_features_for_its_own_image_statistics(tmp_path):
    model = timm.create_model("test_resnet", num_classes=10).eval()
    encoder = build(model_name="test_resnet", checkpoint_path=save(model, tmp_path)).eval()
    image = torch.rand(2, 3, 96, 96)
    mean, std = (torch.tensor(model.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))

    features = encoder({"image": image * 2 - 1, "agent_pos": torch.zeros(2, 2)})[:, :-2]

    expected = model.forward_head(model.forward_features((image - mean) / std), pre_logits=True)
    torch.testing.assert_close(features, expected)


def test_checkpoint_fits_images_with_another_number_of_channels(tmp_path):
    file = save(timm.create_model("test_resnet"), tmp_path)

    encoder = build(meta(depth=(1, 48, 48)), model_name="test_resnet", checkpoint_path=file)

    assert encoder({"depth": torch.rand(2, 1, 48, 48)}).shape == (2, 96)


def test_loaders_need_neither_the_network_nor_the_file(no_network, tmp_path):
    with skip_pretrained_weights():
        published = build(model_name="test_resnet", pretrained=True)
        from_file = build(model_name="test_resnet", checkpoint_path=tmp_path / "gone.pth")

    assert "Standardize" in str(published)
    assert has_batch_norm(published)
    assert has_batch_norm(from_file)
    assert list(TimmConfig(checkpoint_path=tmp_path / "gone.pth").preflight()) != []


def test_unreachable_weights_are_reported_after_one_attempt(no_network, capfd):
    message = error_of(model_name="test_resnet", pretrained=True)

    assert len(no_network) == 1, "the hub's own client tries again and again, for most of a minute"
    assert message == (
        "encoder 'timm': the weights of 'test_resnet' are not in the cache and cannot be fetched from "
        "https://huggingface.co; set 'checkpoint_path' to a file that holds them, or train from scratch with "
        "'pretrained: false'"
    )
    assert capfd.readouterr() == ("", "")


def test_mistyped_model_name_is_reported_with_the_nearest():
    assert error_of(model_name="resnet81") == (
        f"encoder 'timm': model_name 'resnet81' is not a model of timm {timm.__version__}; did you mean 'resnet18'?"
    )


def test_the_option_says_that_a_config_s_check_does_not_know_the_names(registry):
    config = structure_block(registry, "encoder", {"name": "timm", "model_name": "resnet81"}, {"shape_meta": PUSHT})

    assert list(preflight(config)) == []
    assert attrs.fields(TimmConfig).model_name.metadata[HELP].endswith("; looked up when the run starts")


def test_unknown_tag_is_reported():
    assert error_of(model_name="resnet18.nobody") == (
        "encoder 'timm': model 'resnet18.nobody' fails for images [3, 96, 96]: "
        "RuntimeError: Invalid pretrained tag (nobody) for resnet18"
    )


def test_image_too_small_for_the_model_is_reported():
    message = error_of(model_name="test_vit", crop_shape=(8, 8))

    assert message.startswith("encoder 'timm': model 'test_vit' fails for images [3, 8, 8]: ")
    assert "\n" not in message


def test_checkpoint_of_another_size_is_refused(tmp_path):
    file = save(timm.create_model("test_resnet", layers=(1, 1, 1, 1), channels=(8, 8, 8, 8)), tmp_path)

    assert error_of(model_name="test_resnet", checkpoint_path=file).startswith(
        f"encoder 'timm': checkpoint_path '{file}' cannot be loaded: RuntimeError: "
    )


def test_model_whose_tokens_have_no_place_is_refused():
    assert error_of(model_name="mixer_s32_224", resize_shape=(224, 224), feature_aggregation="avg") == (
        "encoder 'timm': feature_aggregation 'avg' needs feature maps or tokens of patches, and 'mixer_s32_224' gives "
        "[1, 49, 512]; choose another model, or 'feature_aggregation: null'"
    )


@pytest.mark.parametrize("aggregation", ["spatial_softmax", "soft_attention"])
def test_maps_of_one_pixel_tell_no_places_apart(aggregation):
    options = {"model_name": "test_resnet", "crop_shape": (32, 24)}

    assert error_of(feature_aggregation=aggregation, **options) == (
        f"encoder 'timm': feature_aggregation '{aggregation}' tells places apart, and 'test_resnet' leaves 1 pixel of "
        "images of 32 x 24; use larger images, or 'feature_aggregation: avg'"
    )
    assert build(feature_aggregation="avg", **options).output_dim == 98


def test_half_a_resnet_of_other_parts_is_refused():
    assert error_of(model_name="resnetv2_18", feature_aggregation="avg", downsample_ratio=16) == (
        "encoder 'timm': downsample_ratio 16 needs a ResNet with four stages 'layer1' to 'layer4', and 'resnetv2_18' "
        "is built otherwise; leave it out"
    )


def test_checkpoint_of_something_else_is_refused(tmp_path):
    file = save(nn.Linear(2, 2), tmp_path)

    assert error_of(model_name="test_resnet", checkpoint_path=file) == (
        f"encoder 'timm': checkpoint_path '{file}' holds no weights of 'test_resnet', but for example 'weight'; "
        "expected a state dict of timm"
    )


def test_unreadable_checkpoint_is_refused(tmp_path):
    file = tmp_path / "weights.pth"
    file.write_text("hello")

    assert error_of(model_name="test_resnet", checkpoint_path=file).startswith(
        f"encoder 'timm': checkpoint_path '{file}' cannot be loaded: "
    )


def test_missing_checkpoint_is_found_before_the_run(tmp_path):
    config = TimmConfig(checkpoint_path=tmp_path / "gone.pth")

    assert list(config.preflight()) == [("checkpoint_path", f"file '{tmp_path / 'gone.pth'}' does not exist")]
    with skip_pretrained_weights():
        assert list(config.preflight()) == []


def test_crop_larger_than_an_image_is_a_config_problem():
    assert list(TimmConfig(crop_shape=(96, 128)).check(shape_meta=PUSHT)) == [
        ("crop_shape", "[96, 128] is larger than the image (96, 96) of 'image'; choose at most 96 x 96")
    ]


def test_shared_model_needs_images_of_one_shape():
    shape_meta = meta(left=(3, 48, 48), right=(3, 64, 48))

    assert list(TimmConfig(share_rgb_model=True).check(shape_meta=shape_meta)) == [
        (
            "share_rgb_model",
            "images differ in shape: [3, 48, 48] of 'left', [3, 64, 48] of 'right'; "
            "set 'resize_shape' or 'crop_shape', or use one model for each",
        )
    ]
    assert list(TimmConfig(share_rgb_model=True, crop_shape=(40, 40)).check(shape_meta=shape_meta)) == []
    assert list(TimmConfig(share_rgb_model=True, resize_shape=(40, 40)).check(shape_meta=shape_meta)) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"frozen": True}, FROZEN_AT_RANDOM),
        ({"frozen": True, "lr_multiplier": 0.1, "pretrained": True}, FROZEN_AND_LEARNING),
        (
            {"frozen": True, "pretrained": True, "use_group_norm": True},
            "use_group_norm: is true, and the weights were trained with other normalisation and cannot adapt while "
            "'frozen'; leave one of them out",
        ),
        (
            {"crop_shape": [40, 40], "crop_ratio": 0.9},
            "crop_ratio: is set, and so is 'crop_shape'; leave one of them out",
        ),
        (
            {"resize_shape": [40, 48], "crop_shape": [48, 40]},
            "crop_shape: [48, 40] is larger than resize_shape [40, 48]",
        ),
        (
            {"model_name": "convnext_atto", "feature_aggregation": "avg", "downsample_ratio": 16},
            "downsample_ratio: is of a ResNet, and the model is 'convnext_atto'; leave it out",
        ),
        (
            {"downsample_ratio": 16},
            "downsample_ratio: is of the feature maps, and without 'feature_aggregation' the model continues to its "
            "own features; choose one, such as 'avg'",
        ),
        (
            {"feature_aggregation": "max", "position_encording": "sinusoidal"},
            "position_encording: is of the transformer, and feature_aggregation is 'max'; leave it out, or set "
            "'feature_aggregation: transformer'",
        ),
        ({"downsample_ratio": 8, "feature_aggregation": "avg"}, "downsample_ratio: 8 is not one of 16, 32"),
        (
            {"color_jitter": {"colour": 1}},
            "color_jitter.colour: unknown option; the options are brightness, contrast, saturation, hue",
        ),
        ({"color_jitter": {"hue": 0.6}}, "color_jitter.hue: must be <= 0.5: 0.6"),
    ],
)
def test_options_that_do_not_fit_are_said(registry, options, problem):
    with pytest.raises(ConfigError) as caught:
        registry.build("encoder", {"name": "timm", **options}, shape_meta=PUSHT)

    assert str(caught.value) == f"encoder 'timm' has 1 problem\n  {problem}"


def test_colours_of_depth_are_not_changed():
    config = TimmConfig(color_jitter=ColorJitterOptions())

    assert list(config.check(shape_meta=meta(depth=(1, 48, 48)))) == [
        ("color_jitter", "changes red, green and blue, and images of 'depth' have 1 channels; leave it out")
    ]


def save(model, folder):
    path = folder / "weights.pth"
    torch.save(model.state_dict(), path)
    return path


def has_batch_norm(module):
    return any(isinstance(part, nn.BatchNorm2d) for part in module.modules())


@pytest.mark.parametrize(("model_name", "size"), [("test_vit", 64), ("test_resnet", 96)])
def test_places_of_all_cameras_are_tokens_and_every_other_key_is_one(model_name, size):
    shape_meta = {"obs": {
        "state.arm": {"shape": [2, 3]}, "flag": {"shape": []},
        "wrist": {"shape": [3, 64, 96], "type": "rgb"}, "front": {"shape": [3, 32, 32], "type": "rgb"},
    }, "action": {"shape": [2]}}  # fmt: skip
    encoder = build(shape_meta, model_name=model_name, feature_aggregation="tokens").eval()
    obs = {key: torch.rand(2, *spec["shape"]) for key, spec in shape_meta["obs"].items()}
    tokens = encoder(obs)

    places = {"test_vit": 2 * 2 + 4 * 6, "test_resnet": 1 + 2 * 3}[model_name]
    assert tokens.shape == (2, encoder.n_tokens, encoder.output_dim) == (2, places + 2, size)
    assert torch.equal(tokens[:, -1], encoder.low_dim_projections[1](obs["state.arm"].flatten(1)))
    changed = encoder(obs | {"wrist": 1 - obs["wrist"]}) != tokens
    n_front = {"test_vit": 4, "test_resnet": 1}[model_name]
    assert changed.any(-1)[0].tolist() == [False] * n_front + [True] * (places - n_front) + [False] * 2


def test_tokens_without_an_image_are_refused(registry):
    block = {"name": "timm", "feature_aggregation": "tokens"}
    with pytest.raises(ConfigError) as caught:
        structure_block(registry, "encoder", block, {"shape_meta": {"obs": {"x": {"shape": [2]}}}})

    assert [str(problem) for problem in caught.value.problems] == [
        "feature_aggregation: 'tokens' are of images, and shape_meta has none; choose another encoder"
    ]
