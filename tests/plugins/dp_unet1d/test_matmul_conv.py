"""Convolutions as matrix products equal torch's own, with their gradients, and are used where they pay only."""

import pytest
import torch
from torch.nn import functional as F

from dp_unet1d import matmul_conv
from dp_unet1d.matmul_conv import Conv1d, ConvTranspose1d, _Conv1d, _ConvTranspose1d


@pytest.fixture
def products(monkeypatch):
    """Every layer is computed as a product."""
    monkeypatch.setattr(matmul_conv, "_is_faster_as_product", lambda *_: True)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("length", [4, 16])
def test_a_convolution_is_that_of_torch(products, kernel, stride, length):
    layer = Conv1d(6, 10, kernel, stride=stride, padding=kernel // 2).double()
    x = torch.randn(3, 6, length, dtype=torch.float64, requires_grad=True)

    y = layer(x)

    expected = F.conv1d(x, layer.weight, layer.bias, stride, kernel // 2)
    inputs = [x, layer.weight, layer.bias]
    pull = torch.randn_like(y)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y, inputs, pull), torch.autograd.grad(expected, inputs, pull))


@pytest.mark.parametrize("length", [1, 4, 8])
def test_a_transposed_convolution_is_that_of_torch(products, length):
    layer = ConvTranspose1d(6, 10, 4, stride=2, padding=1).double()
    x = torch.randn(3, 6, length, dtype=torch.float64, requires_grad=True)

    y = layer(x)

    expected = F.conv_transpose1d(x, layer.weight, layer.bias, 2, 1)
    inputs = [x, layer.weight, layer.bias]
    pull = torch.randn_like(y)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y, inputs, pull), torch.autograd.grad(expected, inputs, pull))


@pytest.mark.parametrize("function", [_Conv1d, _ConvTranspose1d])
def test_gradients_are_those_of_finite_differences(function):
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 3, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda *inputs: function.apply(*inputs, 2, 1), (x, weight, bias))


def test_a_network_computes_the_same_either_way(registry, monkeypatch):
    unet = registry.build(
        "denoiser",
        {"name": "unet1d", "down_dims": [16, 32], "diffusion_step_embed_dim": 8, "kernel_size": 5},
        input_dim=2,
        horizon=8,
        n_obs_steps=2,
        global_cond_dim=5,
        local_cond_dim=None,
    )
    inputs = torch.randn(4, 8, 2), torch.randint(0, 100, (4,))
    condition = torch.randn(4, 5)
    outs, gradients = [], []
    for is_faster in (False, True):
        monkeypatch.setattr(matmul_conv, "_is_faster_as_product", lambda *_, answer=is_faster: answer)
        unet.zero_grad()
        out = unet(*inputs, global_cond=condition)
        out.square().sum().backward()
        outs.append(out.detach())
        gradients.append([parameter.grad.clone() for parameter in unet.parameters()])

    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=2e-6)
    for plain, product in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, product, rtol=0, atol=1e-5 * max(plain.abs().max().item(), 1))


def is_product(layer, x):
    y = layer(x)
    return y.grad_fn is not None and type(y.grad_fn).__name__.startswith("_Conv")


@pytest.mark.parametrize(
    ("channels", "length", "batch", "expected"),
    [(512, 8, 8, True), (1024, 4, 64, True), (256, 16, 256, False), (64, 16, 8, False)],
)
def test_large_layers_of_short_sequences_are_trained_as_products(channels, length, batch, expected):
    with torch.device("meta"):
        layer = Conv1d(channels, channels, 5, padding=2)
    x = torch.empty(batch, channels, length)

    assert matmul_conv._is_faster_as_product(x, layer.weight, batch * length) == expected


def test_double_precision_gets_torch_s_own_layers():
    layer, x = Conv1d(512, 512, 5, padding=2), torch.randn(2, 512, 4)

    assert is_product(layer, x)
    assert not is_product(layer.double(), x.double())


@pytest.mark.parametrize(("channels", "dtype"), [(512, torch.bfloat16), (64, torch.float32)])
@pytest.mark.parametrize("kind", [Conv1d, ConvTranspose1d])
def test_autocast_computes_large_layers_in_its_precision_and_small_ones_in_full(kind, channels, dtype):
    layer = kind(channels, channels, 4, stride=2, padding=1)
    x = torch.randn(2, channels, 8, requires_grad=True)
    expected = layer(x)
    gradients = torch.autograd.grad(expected.square().sum(), [x, *layer.parameters()])

    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    lower = torch.autograd.grad(y.float().square().sum(), [x, *layer.parameters()])

    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.02)
    for one, other in zip(lower, gradients, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.03 * other.abs().max().item())


@pytest.mark.parametrize(("length", "stride"), [(4, 1), (4, 2)])
def test_a_packed_layer_computes_the_same_and_keeps_its_state(length, stride):
    layer, x = Conv1d(512, 512, 5, stride=stride, padding=2), torch.randn(1, 512, length)
    state = layer.state_dict().keys()
    with torch.no_grad():
        expected = layer(x)

        layer.pack()
        y = layer(x)

    assert layer._packed is not None
    assert layer.state_dict().keys() == state
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)


def test_a_packed_layer_follows_weights_that_are_loaded_later():
    layer, other, x = Conv1d(512, 512, 5, padding=2), Conv1d(512, 512, 5, padding=2), torch.randn(1, 512, 4)
    layer.pack()
    with torch.no_grad():
        layer(x)

        layer.load_state_dict(other.state_dict())

        torch.testing.assert_close(layer(x), other(x), rtol=0, atol=1e-5)


def test_autocast_leaves_small_layers_in_the_precision_of_their_weights():
    layer = Conv1d(8, 8, 3, padding=1).bfloat16()

    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 8, 4)).dtype == torch.bfloat16


def test_only_large_layers_of_few_steps_are_packed():
    layer, small = Conv1d(512, 512, 5, padding=2), Conv1d(64, 64, 5, padding=2)
    layer.pack()
    small.pack()

    with torch.no_grad():
        layer(torch.randn(4, 512, 4))
        small(torch.randn(1, 64, 4))
    layer(torch.randn(1, 512, 4)).sum().backward()

    assert (layer._packed, small._packed) == (None, None)
    assert layer.weight.grad is not None
