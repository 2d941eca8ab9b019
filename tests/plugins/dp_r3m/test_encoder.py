"""R3M: its preprocessing, its file, and where the file comes from. Nothing here reaches the network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torchvision import transforms

from dp_core.config.tree import preflight
from dp_core.errors import ConfigError, DownloadError, DpError
from dp_core.pretrained import skip_pretrained_weights
from dp_r3m import weights as r3m_weights
from dp_r3m.config import R3MConfig
from dp_r3m.weights import fetch_weights

STATE = {"pos": {"shape": [2]}}
SHAPE_META = {"obs": {"image": {"shape": [3, 48, 64], "type": "rgb"}, **STATE}, "action": {"shape": [2]}}
OTHERWISE = "download it on a machine that can reach it, and copy it to '{}' or set 'checkpoint_path' to it"


def resnet() -> nn.Module:
    network = torchvision.models.resnet18()
    network.fc = nn.Identity()
    return network


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return resnet().eval()


@pytest.fixture(scope="module")
def published(network, tmp_path_factory) -> Path:
    """A file laid out as R3M's, with the weights of ``network``."""
    weights = {f"module.convnet.{name}": value for name, value in network.state_dict().items()}
    weights["module.lang_enc.model.embeddings.weight"] = torch.zeros(2, 2)
    weights["module.lang_rew.pred.0.weight"] = torch.zeros(2, 2)
    path = tmp_path_factory.mktemp("r3m") / "model.pt"
    torch.save({"r3m": weights, "global_step": 3}, path)
    return path


@pytest.fixture
def build(registry):
    def build_encoder(shape_meta=SHAPE_META, **options):
        return registry.build("encoder", {"name": "r3m", **options}, shape_meta=shape_meta)

    return build_encoder


@pytest.fixture
def home(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def drive(published) -> Iterator[str]:
    """A server that behaves like Google Drive: a page first, the file where its form leads."""
    pages = {
        "/large": '<html><title>Google Drive - Virus scan warning</title><form action="/search"></form><form '
        'id="download-form" action="/download" method="get"><input type="submit" value="Download anyway"/>'
        '<input type="hidden" name="id" value="1A1ic"><input type="hidden" name="confirm" value="t&amp;u"></form>',
        "/quota": "<html><title>Google Drive - Quota exceeded</title><p>Sorry</p>",
    }

    class Drive(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            is_file = self.path in ("/small", "/download?id=1A1ic&confirm=t%26u")
            content = page.encode() if page else published.read_bytes() if is_file else b"something else"
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8" if page else "application/octet-stream")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Drive) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


# -- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(48, 64), (224, 224), (300, 260)])
def test_features_are_those_of_the_network_after_r3m_s_own_preprocessing(build, network, published, size):
    """Resize to 256, cut out 224 unless that is the size, ImageNet's statistics of images in [0, 1]."""
    obs = {"image": {"shape": [3, *size], "type": "rgb"}, **STATE}
    encoder = build({"obs": obs, "action": {"shape": [2]}}, checkpoint_path=published).eval()
    images, positions = torch.rand(2, 3, *size), torch.rand(2, 2)

    features = encoder({"image": 2 * images - 1, "pos": positions})

    cut = [] if size == (224, 224) else [transforms.Resize(256, antialias=True), transforms.CenterCrop(224)]
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = network(transforms.Compose([*cut, normalise])(images))
    torch.testing.assert_close(features[:, :512], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(features[:, 512:], positions)
    assert encoder.output_dim == 514


def test_crops_are_random_per_image_in_training_unless_they_are_to_be_the_centre(build):
    images = torch.rand(1, 3, 48, 64).expand(4, -1, -1, -1)
    random, centre = (build(pretrained=False, random_crop=random).transforms["image"] for random in (True, False))

    assert random.train()(images).unique(dim=0).shape[0] > 1
    assert centre.train()(images).unique(dim=0).shape[0] == random.eval()(images).unique(dim=0).shape[0] == 1
    assert torch.equal(centre(images), random(images))


# -- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model_name", "size"), [("resnet34", 512), ("resnet50", 2048)])
def test_other_networks_have_features_of_their_own_size(build, model_name, size):
    assert build(pretrained=False, model_name=model_name).output_dim == size + 2


@pytest.mark.parametrize("share", [False, True])
def test_cameras_can_share_a_network_whatever_their_size(build, published, share):
    obs = {"top": {"shape": [3, 48, 64], "type": "rgb"}, "hand": {"shape": [3, 40, 40], "type": "rgb"}}
    encoder = build({"obs": obs, "action": {"shape": [2]}}, checkpoint_path=published, share_rgb_model=share).eval()
    image = torch.rand(1, 3, 40, 40)

    features = encoder({"top": torch.rand(1, 3, 48, 64), "hand": image})

    assert list(encoder.models) == (["top"] if share else ["top", "hand"])
    owner = encoder.models["top" if share else "hand"]
    torch.testing.assert_close(features[:, 512:], owner(encoder.transforms["hand"](image)))


def test_state_alone_needs_no_network_and_no_weights(build, home):
    encoder = build({"obs": STATE, "action": {"shape": [2]}})

    assert encoder.output_dim == 2
    assert list(encoder.parameters()) == []


def test_frozen_means_frozen(build, published):
    """No gradient, no drift of batch statistics; crops stay random."""
    encoder = build(checkpoint_path=published, frozen=True)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}

    features = encoder.train()({"image": torch.rand(1, 3, 48, 64).expand(2, -1, -1, -1), "pos": torch.ones(2, 2)})

    assert not features.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not torch.equal(*features)


def test_what_is_not_frozen_learns(build, published):
    encoder = build(checkpoint_path=published)
    before = encoder.models["image"].bn1.running_mean.clone()

    encoder({"image": torch.rand(2, 3, 48, 64), "pos": torch.ones(2, 2)}).square().sum().backward()

    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert not torch.equal(encoder.models["image"].bn1.running_mean, before)


# -- weights ----------------------------------------------------------------------------------------------------------


def test_a_copy_that_r3m_downloaded_is_found(build, home, network, published):
    path = home / ".r3m" / "r3m_18" / "model.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(published.read_bytes())

    assert torch.equal(build().models["image"].conv1.weight, network.conv1.weight)


def test_weights_are_downloaded_to_where_r3m_keeps_them_when_asked(build, home, network, drive, published, monkeypatch):
    monkeypatch.setitem(r3m_weights.ADDRESSES, "resnet18", f"{drive}/large")

    encoder = build(download=True)

    assert torch.equal(encoder.models["image"].conv1.weight, network.conv1.weight)
    assert (home / ".r3m" / "r3m_18" / "model.pt").read_bytes() == published.read_bytes()
    monkeypatch.setitem(r3m_weights.ADDRESSES, "resnet18", "nowhere")
    build(download=True)


def test_a_file_without_a_page_before_it_is_downloaded(drive, network, published, tmp_path):
    model = resnet()

    fetch_weights(model, f"{drive}/small", tmp_path / "model.pt")

    assert torch.equal(model.conv1.weight, network.conv1.weight)


def test_a_page_without_a_way_to_the_file_is_said(drive, tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(DownloadError) as caught:
        fetch_weights(resnet(), f"{drive}/quota", path)

    assert str(caught.value) == (
        f"{drive}/quota: gives a page instead of the file ('Google Drive - Quota exceeded'); {OTHERWISE.format(path)}"
    )


def test_something_else_is_not_kept(drive, tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(DownloadError) as caught:
        fetch_weights(resnet(), f"{drive}/other", path)

    message = str(caught.value)
    assert message.startswith(f"{drive}/other: is not a file of weights, or not a whole one (")
    assert message.endswith(f"); nothing was written to '{path}'")
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_it_is_said_what_to_do(build, home, monkeypatch):
    monkeypatch.setitem(r3m_weights.ADDRESSES, "resnet18", "http://127.0.0.1:1/uc")

    with pytest.raises(DpError) as caught:
        build(download=True)

    path = home / ".r3m" / "r3m_18" / "model.pt"
    assert str(caught.value) == (
        f"encoder 'r3m': http://127.0.0.1:1/uc: cannot be reached ([Errno 111] Connection refused); "
        f"{OTHERWISE.format(path)}"
    )
    assert not path.parent.exists()


@pytest.mark.parametrize("options", [{}, {"download": True}, {"checkpoint_path": "none.pt"}])
def test_the_encoder_of_a_checkpoint_needs_no_file(build, home, options):
    with skip_pretrained_weights():
        assert list(preflight(R3MConfig(**options))) == []
        build(**options)


def test_absent_weights_are_said_before_the_run_and_at_its_start(build, home, tmp_path):
    kept, mine = home / ".r3m" / "r3m_50" / "model.pt", tmp_path / "none.pt"
    not_kept = (
        f"the weights are not in '{kept}'; set 'download: true' to fetch them, or 'checkpoint_path' to a file that "
        "holds them"
    )

    assert [str(problem) for problem in preflight(R3MConfig(model_name="resnet50"))] == [f"pretrained: {not_kept}"]
    assert [str(problem) for problem in preflight(R3MConfig(checkpoint_path=mine))] == [
        f"checkpoint_path: file '{mine}' does not exist"
    ]
    assert list(preflight(R3MConfig(download=True))) == list(preflight(R3MConfig(pretrained=False))) == []
    with pytest.raises(DpError) as caught:
        build(model_name="resnet50")
    assert str(caught.value) == f"encoder 'r3m': {not_kept}"


def test_files_of_others_are_said(build, published, tmp_path):
    torch.save({"model": {}}, tmp_path / "other.pt")

    with pytest.raises(DpError) as caught:
        build(checkpoint_path=tmp_path / "other.pt")
    assert str(caught.value) == (
        f"encoder 'r3m': {tmp_path / 'other.pt'}: holds no entry 'r3m'; expected a file of R3M (model.pt)"
    )
    with pytest.raises(DpError) as caught:
        build(checkpoint_path=published, model_name="resnet34")
    assert str(caught.value) == (
        f"encoder 'r3m': {published}: holds no 'layer1.2.conv1.weight'; 96 of the 216 weights expected are absent"
    )


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"checkpoint_path": "model.pt", "pretrained": False},
            "checkpoint_path: is set, and 'pretrained' is false; leave one of them out",
        ),
        (
            {"download": True, "pretrained": False},
            "download: is true, and 'pretrained' is false; leave one of them out",
        ),
        (
            {"checkpoint_path": "model.pt", "download": True},
            "download: is true, and 'checkpoint_path' names a file; leave one of them out",
        ),
        (
            {"model_name": "resnet5"},
            "model_name: 'resnet5' is not one of 'resnet18', 'resnet34', 'resnet50'; did you mean 'resnet50'?",
        ),
    ],
)
def test_options_that_do_not_fit_are_said(build, options, problem):
    with pytest.raises(ConfigError) as caught:
        build(**options)

    assert str(caught.value) == f"encoder 'r3m' has 1 problem\n  {problem}"


def test_images_of_other_than_three_channels_are_refused(build):
    obs = {"depth": {"shape": [1, 32, 48], "type": "rgb"}}
    with pytest.raises(ConfigError) as caught:
        build({"obs": obs, "action": {"shape": [2]}}, pretrained=False)

    assert str(caught.value) == (
        "encoder 'r3m' has 1 problem\n"
        "  model_name: networks of R3M take 3 channels, and images of 'depth' have 1; choose the encoder 'timm'"
    )
