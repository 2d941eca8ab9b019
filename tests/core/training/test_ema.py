"""Averaged weights: the original's numbers, what is averaged and what is copied, and the counter over a resume."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from dp_core.errors import InputError
from dp_core.training.ema import EMAModel

CONFIGS = ["default", "dp_config", "after4", "gamma2", "max0.5", "min0.3"]
OPTIONS = ("update_after_step", "inv_gamma", "power", "min_value", "max_value")


@pytest.fixture(scope="module")
def weights(golden) -> dict[str, np.ndarray]:
    with np.load(golden("f_ema.npz")) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def configs(golden) -> dict[str, dict]:
    return json.loads(golden("f_ema_configs.json").read_text())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 4)
        self.bn = nn.BatchNorm1d(4)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def load(self, weights: dict[str, np.ndarray], step: int) -> None:
        self.load_state_dict({name: torch.tensor(weights[f"model/step{step}/{name}"]) for name in self.state_dict()})


@pytest.mark.parametrize("name", CONFIGS)
def test_decay_equals_the_original(configs, name) -> None:
    options = {key: value for key, value in configs[name].items() if key in OPTIONS}
    ema = EMAModel(Net(), **options)

    assert {step: ema.get_decay(int(step)) for step in configs[name]["decay_at"]} == configs[name]["decay_at"]


@pytest.mark.parametrize("name", CONFIGS)
def test_averaged_weights_equal_the_original_bit_for_bit(weights, configs, name) -> None:
    options = {key: value for key, value in configs[name].items() if key in OPTIONS}
    model = Net()
    model.load(weights, 0)
    ema = EMAModel(copy.deepcopy(model), **options)
    compared = 0
    for step in range(12):
        model.load(weights, step)
        ema.step(model)
        for key, value in ema.averaged_model.state_dict().items():
            if (expected := weights.get(f"{name}/after{step + 1}/{key}")) is not None:
                np.testing.assert_array_equal(value.numpy(), expected, err_msg=f"{step} {key}")
                compared += 1

    assert compared == 5 * 9
    assert ema.optimization_step == configs[name]["optimization_step"]


@pytest.mark.parametrize("single_pass", [False, True])
def test_an_average_is_that_of_exact_arithmetic_but_for_rounding(single_pass) -> None:
    """Of weights near 1, whose last place is 1.2e-7. One pass and two round differently, none worse than the other."""
    torch.manual_seed(0)
    model = nn.Linear(64, 64, bias=False)
    ema = EMAModel(copy.deepcopy(model), single_pass=single_pass)
    exact = model.weight.detach().double()

    for step in range(200):
        nn.init.normal_(model.weight, mean=1.0, std=0.1)
        exact = exact * ema.get_decay(step) + model.weight.detach().double() * (1 - ema.get_decay(step))
        ema.step(model)

    averaged = ema.averaged_model.weight.double()
    assert (averaged - exact).abs().max() < 10 * 1.2e-7
    assert exact.min() > 0.5


@pytest.mark.parametrize("single_pass", [False, True])
def test_first_steps_copy_exactly(single_pass) -> None:
    model = Net()
    ema = EMAModel(copy.deepcopy(model), single_pass=single_pass)
    nn.init.normal_(model.lin.weight)

    ema.step(model)

    assert torch.equal(ema.averaged_model.lin.weight, model.lin.weight)


def test_freezing_later_copies_from_then_on() -> None:
    model = Net()
    ema = EMAModel(copy.deepcopy(model), min_value=0.9)
    for _ in range(3):
        ema.step(model)

    model.lin.requires_grad_(False).weight.fill_(7)
    ema.step(model)

    assert (ema.averaged_model.lin.weight == 7).all()


@pytest.mark.parametrize("tie", ["same_module", "same_parameter", "same_storage"])
def test_tied_weights_are_averaged_once(tie) -> None:
    model = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    if tie == "same_module":
        model[1] = model[0]
    elif tie == "same_parameter":
        model[1].weight = model[0].weight
    else:
        model[1].weight = nn.Parameter(model[0].weight.data)
    nn.init.zeros_(model[0].weight)
    ema = EMAModel(copy.deepcopy(model), min_value=0.5, max_value=0.5)
    for _ in range(2):
        ema.step(model)

    nn.init.ones_(model[0].weight)
    ema.step(model)

    assert (ema.averaged_model[0].weight == 0.5).all()
    assert (ema.averaged_model[1].weight == 0.5).all()


def test_counter_goes_on_after_a_resume() -> None:
    model = Net()
    ema = EMAModel(copy.deepcopy(model))
    for _ in range(5):
        ema.step(model)

    resumed = EMAModel(copy.deepcopy(ema.averaged_model))
    resumed.load_state_dict(ema.state_dict())
    nn.init.normal_(model.lin.weight)
    ema.step(model)
    resumed.step(model)

    assert resumed.optimization_step == 6
    assert torch.equal(resumed.averaged_model.lin.weight, ema.averaged_model.lin.weight)
    assert not torch.equal(resumed.averaged_model.lin.weight, model.lin.weight)


def test_average_is_for_evaluation_and_leaves_the_model_trainable() -> None:
    model = Net()

    ema = EMAModel(copy.deepcopy(model))

    assert not ema.averaged_model.training
    assert not any(parameter.requires_grad for parameter in ema.averaged_model.parameters())
    assert model.training
    assert model.lin.weight.requires_grad


def test_averages_low_precision_weights_in_the_precision_of_the_average() -> None:
    model = nn.Linear(2, 2, bias=False)
    ema = EMAModel(copy.deepcopy(model))

    ema.step(model.bfloat16())

    assert ema.averaged_model.weight.dtype == torch.float32
    assert torch.equal(ema.averaged_model.weight, model.weight.float())


@pytest.fixture
def trained() -> tuple[Net, Net]:
    """A model whose batch normalisation has seen data, and a copy from before."""
    torch.manual_seed(0)
    model = Net()
    before = copy.deepcopy(model)
    model.bn(3 + 2 * torch.randn(100, 4))
    return model, before


def test_buffers_are_copied_where_that_is_wanted(trained) -> None:
    model, average = trained
    ema = EMAModel(average, min_value=0.5, buffers="copy")

    ema.step(model)

    assert model.bn.num_batches_tracked == 1
    for name, buffer in model.named_buffers():
        assert torch.equal(average.get_buffer(name), buffer), name
        assert average.get_buffer(name).data_ptr() != buffer.data_ptr()


def test_buffers_are_kept_otherwise(trained) -> None:
    model, average = trained

    EMAModel(average).step(model)

    assert average.bn.running_mean.tolist() == [0] * 4
    assert average.bn.num_batches_tracked == 0


def test_a_buffer_that_the_model_replaces_is_followed(trained) -> None:
    """Assigning to ``self.running_mean`` puts another tensor in its place."""
    model, average = trained
    ema = EMAModel(average, buffers="copy")
    ema.step(model)

    model.bn.running_mean = torch.full((4,), 7.0)
    ema.step(model)

    assert average.bn.running_mean.tolist() == [7.0] * 4


def test_buffers_that_are_not_saved_stay_the_averages_own() -> None:
    model = nn.Module()
    model.register_buffer("cache", torch.ones(2), persistent=False)
    average = nn.Module()
    average.register_buffer("cache", torch.zeros(3), persistent=False)

    EMAModel(average, buffers="copy").step(model)

    assert average.cache.tolist() == [0, 0, 0]


def test_model_with_other_buffers_is_refused_where_they_are_copied() -> None:
    model, other = nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False)

    EMAModel(copy.deepcopy(model)).step(other)
    with pytest.raises(InputError) as error:
        EMAModel(copy.deepcopy(model), buffers="copy").step(other)

    assert str(error.value) == (
        "ema: the two models have different buffers, such as 'num_batches_tracked'; "
        "average a deep copy of the model that is trained"
    )


def test_model_with_other_parameters_is_refused() -> None:
    ema = EMAModel(nn.Linear(2, 2))

    with pytest.raises(InputError) as error:
        ema.step(nn.Linear(2, 2, bias=False))

    assert str(error.value) == (
        "ema: the two models have different parameters, such as 'bias'; "
        "average a deep copy of the model that is trained"
    )
