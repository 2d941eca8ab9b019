"""The timm encoder."""

import socket
import time

import pytest
import torch
from torch import nn

from dp_core.errors import DpError
from dp_core.weights import skip_pretrained_weights
from dp_timm.config import TimmConfig
from dp_timm.plugin import dp_components

timm = pytest.importorskip("timm")

PUSHT = {"obs": {"agent_pos": {"shape": [2]}, "image": {"shape": [3, 96, 96], "type": "rgb"}}, "action": {"shape": [2]}}


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
    """A machine that has neither the network nor anything in the cache of the hub."""

    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


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


def test_features_are_cameras_then_state_each_in_the_order_of_shape_meta():
    shape_meta = meta(qpos=(5,), wrist=(3, 40, 48), pose=(2, 3), top=(3, 64, 64))
    encoder = build(shape_meta, model_name="test_resnet").eval()
    obs = {key: torch.rand(3, *spec["shape"]) for key, spec in shape_meta["obs"].items()}

    features = encoder(obs)

    assert torch.equal(features[:, :96], encoder.models["wrist"](obs["wrist"]))
    assert torch.equal(features[:, 96:192], encoder.models["top"](obs["top"]))
    assert torch.equal(features[:, 192:], torch.cat([obs["qpos"], obs["pose"].flatten(1)], dim=1))


def test_shared_model_sees_every_camera():
    encoder = build(meta(left=(3, 48, 48), right=(3, 48, 48)), model_name="test_resnet", share_rgb_model=True).eval()
    image = torch.rand(2, 3, 48, 48)

    left, right = encoder({"left": image, "right": image}).chunk(2, dim=1)

    assert list(encoder.models) == ["left"]
    assert torch.equal(left, right)


def test_state_alone_needs_no_backbone():
    encoder = build(meta(qpos=(5,)))

    assert encoder.output_dim == 5
    assert list(encoder.parameters()) == []


def test_transformer_is_made_for_the_size_of_the_crop():
    encoder = build(model_name="test_vit", crop_shape=(48, 64))

    assert encoder.models["image"].backbone.patch_embed.grid_size == (3, 4)
    assert encoder({"image": torch.rand(2, 3, 96, 96), "agent_pos": torch.rand(2, 2)}).shape == (2, 66)


def test_crop_is_random_in_training_only():
    encoder = build(model_name="test_resnet", crop_shape=(48, 48))
    obs = {"image": torch.rand(1, 3, 96, 96), "agent_pos": torch.rand(1, 2)}

    assert not torch.equal(encoder(obs), encoder(obs))
    assert torch.equal(encoder.eval()(obs), encoder(obs))


def test_spatial_softmax_replaces_the_pooling_of_the_model():
    encoder = build(model_name="test_resnet", pool="spatial_softmax", num_kp=8)

    features = encoder({"image": torch.rand(2, 3, 96, 96) * 2 - 1, "agent_pos": torch.rand(2, 2)})

    assert features.shape == (2, encoder.output_dim) == (2, 18)
    assert features[:, :16].abs().max() <= 1


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

    assert "standardize" in str(published)
    assert has_batch_norm(published)
    assert has_batch_norm(from_file)
    assert list(TimmConfig(checkpoint_path=tmp_path / "gone.pth").preflight()) != []


def test_unreachable_weights_are_reported_at_once(no_network, capfd):
    start = time.monotonic()

    message = error_of(model_name="test_resnet", pretrained=True)

    assert time.monotonic() - start < 5
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


def test_unknown_tag_is_reported():
    assert error_of(model_name="resnet18.nobody") == (
        "encoder 'timm': model 'resnet18.nobody' fails for images [3, 96, 96]: "
        "RuntimeError: Invalid pretrained tag (nobody) for resnet18."
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


def test_spatial_softmax_of_tokens_is_refused():
    assert error_of(model_name="test_vit", pool="spatial_softmax") == (
        "encoder 'timm': pool 'spatial_softmax' needs feature maps (N, C, H, W), and 'test_vit' gives [1, 37, 64]; "
        "choose a convolutional model, or 'pool: model'"
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
            "set 'crop_shape', or use one model for each",
        )
    ]
    assert list(TimmConfig(share_rgb_model=True, crop_shape=(40, 40)).check(shape_meta=shape_meta)) == []


def save(model, folder):
    path = folder / "weights.pth"
    torch.save(model.state_dict(), path)
    return path


def has_batch_norm(module):
    return any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
