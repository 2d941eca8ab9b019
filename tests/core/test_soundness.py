"""What of a state must be finite, and what need not be."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dp_core.soundness import unsound


class Net(nn.Module):
    """One of each: parameters, running statistics, a mask, whole numbers, nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)
        self.small = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
        self.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
        self.lazy = nn.LazyLinear(2)
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))
        self.register_buffer("empty", torch.empty(0))


N_TENSORS = 8


def put(name: str, value: float) -> Net:
    net = Net()
    tensor = {**dict(net.named_parameters()), **dict(net.named_buffers())}[name]
    with torch.no_grad():
        tensor[-1] = value
    return net


def test_a_state_of_numbers_and_masks_is_sound() -> None:
    assert unsound({"model": Net(), "count": 3, "absent": None}) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "name", ["layer.weight", "layer.bias", "small", "phase", "norm.running_mean", "norm.running_var"]
)
def test_weights_and_running_statistics_have_to_be_finite(name: str, value: float) -> None:
    assert unsound({"model": put(name, value)}) == [f"model (1 of {N_TENSORS} tensors, first '{name}')"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_other_buffers_mean_what_they_hold(value: float) -> None:
    """The mask of a transformer is infinite; statistics of data that a checkpoint does not know are NaN."""
    assert unsound({"model": put("mask", value)}) == []


def test_the_largest_numbers_are_numbers() -> None:
    """Their sum and their norm overflow."""
    net = nn.Linear(100, 100)
    nn.init.constant_(net.weight, torch.finfo(torch.float32).max)

    assert unsound({"model": net}) == []


def test_each_part_is_named_with_the_first_of_its_tensors() -> None:
    net = put("layer.weight", math.nan)
    with torch.no_grad():
        net.small[:] = math.inf

    assert unsound({"model": net, "sound": Net(), "average": put("norm.running_var", math.inf)}) == [
        f"model (2 of {N_TENSORS} tensors, first 'small')",
        f"average (1 of {N_TENSORS} tensors, first 'norm.running_var')",
    ]


@pytest.mark.parametrize(
    ("gradient", "name"),
    [
        (math.nan, "exp_avg"),
        (1e25, "exp_avg_sq"),  # its square is infinite, for ever: the weight is finite and never changes again
    ],
)
def test_what_an_optimizer_accumulated_has_to_be_finite(gradient: float, name: str) -> None:
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.tensor([0.0, gradient, 0.0])
    optimizer.step()

    (problem,) = unsound({"optimizer": optimizer})
    assert problem.endswith(f"of 3 tensors, first '{name} of parameter 0')")


class Loss:
    def __init__(self, value: float) -> None:
        self.value = value

    def unsound(self) -> str | None:
        return None if math.isfinite(self.value) else f"the loss is {self.value}"


def test_a_part_may_know_by_itself() -> None:
    assert unsound({"good": Loss(1.0), "bad": Loss(math.inf)}) == ["bad (the loss is inf)"]
