"""Optimizers and schedules: the original's learning rates, what is optimised, and what survives a resume."""

from __future__ import annotations

import copy
import pickle

import attrs
import numpy as np
import pytest
import torch
from torch import nn

from dp_core.errors import InputError
from dp_core.interfaces import BaseDenoiser, BaseEncoder
from dp_optim import optimizers, schedules
from dp_optim.config import AdamConfig, AdamWConfig, ConstantConfig, SGDConfig, WarmupConfig
from dp_optim.plugin import dp_components


@pytest.fixture(scope="module")
def rates(golden) -> dict[str, np.ndarray]:
    with np.load(golden("g_lr.npz")) as archive:
        return dict(archive)


def optimizer() -> torch.optim.Optimizer:
    return optimizers.adamw(AdamWConfig(), policy=nn.Linear(2, 1))


def used_rates(schedule: torch.optim.lr_scheduler.LRScheduler, count: int) -> list[float]:
    """Learning rate of each of the next steps."""
    used = []
    for _ in range(count):
        used.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return used


@pytest.mark.parametrize(
    ("case", "name", "warmup", "total"),
    [
        ("cosine", "cosine", 500, 2000),
        ("cosine_nowarm", "cosine", 0, 100),
        ("linear", "linear", 500, 2000),
        ("constant_with_warmup", "constant_with_warmup", 500, 2000),
        ("constant", "constant", None, 2000),
    ],
)
def test_learning_rates_equal_the_original_and_do_not_rise_after_the_end(rates, case, name, warmup, total) -> None:
    config = ConstantConfig() if warmup is None else WarmupConfig(num_warmup_steps=warmup)
    schedule = getattr(schedules, name)(config, optimizer=optimizer(), num_training_steps=total)

    used = used_rates(schedule, total + 51)

    np.testing.assert_allclose(used[: total + 1], rates[case][: total + 1], rtol=1e-15, atol=1e-19)
    assert set(used[total:]) == {used[total]}


def test_schedule_goes_on_where_it_was(rates) -> None:
    first, second = (
        schedules.cosine(WarmupConfig(num_warmup_steps=500), optimizer=optimizer(), num_training_steps=2000)
        for _ in range(2)
    )
    used_rates(first, 1200)

    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())

    np.testing.assert_allclose(used_rates(second, 800), rates["cosine_resumed_last_epoch_1199"], rtol=1e-15, atol=1e-19)


def test_resumed_schedule_has_the_length_of_its_own_config() -> None:
    short = schedules.linear(WarmupConfig(num_warmup_steps=0), optimizer=optimizer(), num_training_steps=10)
    used_rates(short, 5)
    longer = schedules.linear(WarmupConfig(num_warmup_steps=0), optimizer=optimizer(), num_training_steps=20)

    longer.load_state_dict(short.state_dict())

    assert used_rates(longer, 2)[1] == pytest.approx(1e-4 * (1 - 6 / 20))


@pytest.mark.parametrize("name", ["cosine", "linear", "constant_with_warmup", "constant"])
def test_state_is_plain_and_the_schedule_can_be_pickled(tmp_path, name) -> None:
    config = ConstantConfig() if name == "constant" else WarmupConfig(num_warmup_steps=1)
    schedule = getattr(schedules, name)(config, optimizer=optimizer(), num_training_steps=5)

    used_rates(schedule, 2)

    torch.save(schedule.state_dict(), tmp_path / "state.pt")
    torch.load(tmp_path / "state.pt", weights_only=True)
    twin = pickle.loads(pickle.dumps(schedule))

    assert used_rates(twin, 7) == used_rates(schedule, 7)


def test_warm_up_longer_than_the_run_is_mentioned(caplog) -> None:
    schedules.cosine(WarmupConfig(), optimizer=optimizer(), num_training_steps=6)

    assert caplog.messages == [
        "lr_schedule.num_warmup_steps: 500 steps of warm-up in a run of 6: the full learning rate is never reached"
    ]


@pytest.mark.parametrize(
    ("build", "config", "kind"),
    [
        (optimizers.adamw, AdamWConfig(), torch.optim.AdamW),
        (optimizers.adam, AdamConfig(), torch.optim.Adam),
        (optimizers.sgd, SGDConfig(nesterov=True), torch.optim.SGD),
    ],
)
@pytest.mark.parametrize("fused", [None, False])
def test_options_reach_torch_and_a_step_changes_the_weights(build, config, kind, fused) -> None:
    policy = nn.Linear(2, 1)
    before = copy.deepcopy(policy.weight)
    config = attrs.evolve(config, fused=fused)

    built = build(config, policy=policy)
    policy(torch.ones(1, 2)).sum().backward()
    built.step()

    assert type(built) is kind
    assert built.param_groups[0]["lr"] == config.lr
    assert built.param_groups[0]["fused"] is (fused is None)
    assert not torch.equal(policy.weight, before)


@pytest.mark.parametrize(
    ("build", "config"),
    [
        (optimizers.adamw, AdamWConfig()),
        (optimizers.adam, AdamConfig(weight_decay=0.1)),
        (optimizers.sgd, SGDConfig(momentum=0.9, nesterov=True)),
    ],
)
def test_a_fused_step_is_that_of_the_plain_one(build, config) -> None:
    torch.manual_seed(0)
    plain, inputs = nn.Linear(5, 3), torch.randn(4, 5)
    fused = copy.deepcopy(plain)

    for policy, is_fused in ((plain, False), (fused, None)):
        built = build(attrs.evolve(config, fused=is_fused, lr=0.1), policy=policy)
        for _ in range(5):
            built.zero_grad()
            policy(inputs).square().sum().backward()
            built.step()

    torch.testing.assert_close(fused.weight, plain.weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fused.bias, plain.bias, rtol=1e-5, atol=1e-6)


def test_adamw_has_the_papers_defaults() -> None:
    group = optimizer().param_groups[0]

    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (1e-4, (0.95, 0.999), 1e-8, 1e-6)


def test_frozen_parameters_are_left_out() -> None:
    policy = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1).requires_grad_(False))

    built = optimizers.adamw(AdamWConfig(), policy=policy)

    assert [id(p) for p in built.param_groups[0]["params"]] == [id(p) for p in policy[0].parameters()]


class Denoiser(BaseDenoiser):
    """A layer whose bias does not decay."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, sample, timestep, local_cond=None, global_cond=None):
        return self.layer(sample)

    def no_weight_decay(self) -> set[str]:
        return {"layer.bias"}


class Encoder(BaseEncoder):
    """A layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, obs):
        return self.layer(obs["state"])


@pytest.mark.parametrize(
    ("encoder_weight_decay", "expected"),
    [
        (
            None,
            [(["0.weight", "0.bias", "1.layer.weight", "1.layer.bias", "2.layer.weight"], 0.1), (["2.layer.bias"], 0)],
        ),
        (
            0.2,
            [
                (["0.weight", "0.bias", "2.layer.weight"], 0.1),
                (["2.layer.bias"], 0),
                (["1.layer.weight", "1.layer.bias"], 0.2),
            ],
        ),
    ],
)
@pytest.mark.parametrize(
    ("build", "config"),
    [(optimizers.adamw, AdamWConfig), (optimizers.adam, AdamConfig), (optimizers.sgd, SGDConfig)],
)
def test_parameters_are_grouped_by_who_asks_for_another_decay(build, config, encoder_weight_decay, expected) -> None:
    policy = nn.Sequential(nn.Linear(2, 2), Encoder(), Denoiser())
    names = {id(parameter): name for name, parameter in policy.named_parameters()}

    built = build(config(weight_decay=0.1, encoder_weight_decay=encoder_weight_decay), policy=policy)

    groups = built.param_groups
    assert [([names[id(p)] for p in group["params"]], group["weight_decay"]) for group in groups] == expected


def test_a_policy_that_asks_for_nothing_has_one_group_in_its_own_order() -> None:
    policy = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))

    (group,) = optimizers.adamw(AdamWConfig(encoder_weight_decay=0.5), policy=policy).param_groups

    assert [id(p) for p in group["params"]] == [id(p) for p in policy.parameters()]


class SlowEncoder(Encoder):
    """The layer's weight learns at a tenth of the rate."""

    def lr_multipliers(self) -> dict[str, float]:
        return {"layer.weight": 0.1}


@pytest.mark.parametrize(
    ("build", "config"),
    [(optimizers.adamw, AdamWConfig), (optimizers.adam, AdamConfig), (optimizers.sgd, SGDConfig)],
)
def test_what_an_encoder_names_learns_at_its_own_rate(build, config) -> None:
    policy = nn.Sequential(nn.Linear(2, 2), SlowEncoder(), Denoiser())
    names = {id(parameter): name for name, parameter in policy.named_parameters()}

    groups = build(config(lr=0.01, weight_decay=0.1), policy=policy).param_groups

    assert [([names[id(p)] for p in group["params"]], group["lr"], group["weight_decay"]) for group in groups] == [
        (["0.weight", "0.bias", "1.layer.bias", "2.layer.weight"], 0.01, 0.1),
        (["2.layer.bias"], 0.01, 0),
        (["1.layer.weight"], 0.001, 0.1),
    ]


def test_rate_and_decay_of_an_encoder_go_together_and_follow_the_schedule() -> None:
    policy = nn.Sequential(nn.Linear(2, 2), SlowEncoder())
    built = optimizers.adamw(AdamWConfig(lr=0.01, weight_decay=0.1, encoder_weight_decay=0.2), policy=policy)
    schedule = schedules.cosine(WarmupConfig(num_warmup_steps=2), optimizer=built, num_training_steps=10)

    assert [(group["initial_lr"], group["weight_decay"]) for group in built.param_groups] == [
        (0.01, 0.1),
        (0.01, 0.2),
        (0.001, 0.2),
    ]
    for _ in range(10):
        full, _, slow = (group["lr"] for group in built.param_groups)
        assert slow == pytest.approx(full / 10)
        built.step()
        schedule.step()


def test_policy_without_trained_parameters_is_refused() -> None:
    with pytest.raises(InputError) as error:
        optimizers.adamw(AdamWConfig(), policy=nn.Linear(2, 1).requires_grad_(False))

    assert str(error.value) == (
        "optimizer: the policy has no parameter that requires a gradient; unfreeze a part of it"
    )


@pytest.mark.parametrize(
    "option",
    [{"lr": -1.0}, {"betas": (0.9, 1.0)}, {"eps": 0.0}, {"weight_decay": -1.0}, {"encoder_weight_decay": -1.0}],
)
def test_options_out_of_range_are_refused(option) -> None:
    with pytest.raises(ValueError):
        AdamWConfig(**option)


def test_every_component_can_be_imported() -> None:
    assert all(callable(component.load()) for component in dp_components())
