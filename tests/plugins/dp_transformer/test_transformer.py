"""The transformer against the original's numbers (tests/golden/README.md, b), and its rules."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dp_core import load_policy
from dp_core.errors import ConfigError, InputError

CONFIGS = json.loads((Path(__file__).parents[2] / "golden" / "b_transformer_configs.json").read_text())
SMALL = {"n_layer": 2, "n_head": 4, "n_emb": 32}
OUTPUT_TOLERANCE = 2.5e-5
GRADIENT_TOLERANCE = 2.2e-5
"""Relative to the largest."""


@pytest.fixture
def build(registry):
    def build_transformer(*, input_dim=2, horizon=10, n_obs_steps=2, cond_dim=None, **options):
        """``cond_dim`` is the size of one observation, as the original counts."""
        return registry.build(
            "denoiser",
            {"name": "transformer", **options},
            input_dim=input_dim,
            horizon=horizon,
            n_obs_steps=n_obs_steps,
            global_cond_dim=None if cond_dim is None else n_obs_steps * cond_dim,
            local_cond_dim=None,
        )

    return build_transformer


@pytest.fixture
def build_variant(build):
    """By a name of the golden file. The original's networks have other defaults than its policies."""

    def build_by_name(name):
        options = {"causal_attn": False, **CONFIGS[name]["config"]}
        assert options.pop("output_dim") == options["input_dim"]
        return build(**options)

    return build_by_name


@pytest.fixture
def original(golden, build_variant, tensors):
    """A network with the original's weights, and what the original was given and gave."""
    file = np.load(golden("b_transformer_causal_obs.npz"))
    network, weights = build_variant("causal_obs"), tensors(file, "sd/")
    network.load_state_dict(weights, strict=True)
    parameters = [name for name, _ in network.named_parameters()]
    assert parameters == [name for name in weights if name in parameters]  # the order is that of optimizer states
    numbers = tensors(file, "T10/")
    return network.eval(), numbers | {"cond": numbers["cond"].flatten(1)}


def test_outputs_are_those_of_the_original(original):
    network, numbers = original

    with torch.no_grad():
        out = network(numbers["sample"], numbers["timestep"], global_cond=numbers["cond"])
        out_of_one_time = network(numbers["sample"], torch.tensor(50), global_cond=numbers["cond"])

    torch.testing.assert_close(out, numbers["out"], rtol=0, atol=OUTPUT_TOLERANCE)
    torch.testing.assert_close(out_of_one_time, numbers["out_scalar_t50"], rtol=0, atol=OUTPUT_TOLERANCE)


def test_gradients_are_those_of_the_original(original):
    network, numbers = original
    sample = numbers["sample"].requires_grad_()

    network(sample, numbers["timestep"], global_cond=numbers["cond"]).square().sum().backward()

    expected = numbers["grad_sample_of_sum_out_squared"]
    tolerance = GRADIENT_TOLERANCE * expected.abs().max().item()
    torch.testing.assert_close(sample.grad, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("variant", CONFIGS)
def test_a_seed_draws_the_original_s_initial_weights(build_variant, variant):
    """Their means and standard deviations, which other draws, or the same in another order, would not have."""
    torch.manual_seed(0)

    parameters = dict(build_variant(variant).named_parameters())

    expected = CONFIGS[variant]["init_mean_std_seed0"]
    assert set(parameters) == set(expected)
    for name, parameter in parameters.items():
        found = (parameter.mean().item(), parameter.std(correction=0).item())
        assert found == pytest.approx(expected[name], rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("variant", CONFIGS)
def test_weight_decay_has_the_original_s_groups(registry, build_variant, variant):
    network = build_variant(variant)

    optimizer = registry.build("optimizer", {"name": "adamw", "weight_decay": 1e-3}, policy=network)

    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = [
        {"names": sorted(names[id(parameter)] for parameter in group["params"]), "weight_decay": group["weight_decay"]}
        for group in optimizer.param_groups
    ]
    expected = CONFIGS[variant]["optim_groups"]
    expected[1]["names"] = [name for name in expected[1]["names"] if name != "_dummy_variable"]  # a buffer here
    assert groups == expected


@pytest.mark.parametrize("variant", CONFIGS)
def test_masks_are_there_when_something_is_hidden(build_variant, variant):
    network, expected = build_variant(variant), CONFIGS[variant]

    assert (network.mask is not None, network.memory_mask is not None) == (
        expected["has_mask"],
        expected["has_memory_mask"],
    )
    assert network.pos_emb.shape[1] == expected["T"]
    assert (0 if network.cond_pos_emb is None else network.cond_pos_emb.shape[1]) == expected["T_cond"]


@pytest.mark.parametrize(
    ("dims", "options", "count"),
    [
        ({"input_dim": 2, "horizon": 16, "n_obs_steps": 2, "cond_dim": 20}, {}, 8_965_122),
        ({"input_dim": 2, "horizon": 16, "n_obs_steps": 2, "cond_dim": 66}, {}, 8_976_898),
        ({"input_dim": 2, "horizon": 5, "n_obs_steps": 3, "cond_dim": 16}, {}, 8_961_538),
        ({"input_dim": 9, "horizon": 16, "n_obs_steps": 4, "cond_dim": 60}, {"n_emb": 768}, 80_415_753),
    ],
)
def test_it_has_as_many_parameters_as_the_paper_says(build, dims, options, count):
    with torch.device("meta"):
        network = build(**dims, **options)

    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("variant", CONFIGS)
@pytest.mark.parametrize("length", [10, 7, 1])
def test_it_takes_any_length_up_to_the_horizon(build_variant, variant, length):
    cond = torch.randn(3, 14) if "cond_dim" in CONFIGS[variant]["config"] else None

    out = build_variant(variant)(torch.randn(3, length, 2), torch.tensor([0, 5, 99]), global_cond=cond)

    assert out.shape == (3, length, 2)


@pytest.mark.parametrize("variant", ["causal_obs", "causal_noobs", "causal_noobs_timetoken"])
def test_a_step_sees_only_earlier_steps(build_variant, variant):
    network = build_variant(variant).eval()
    cond = torch.randn(1, 14) if variant == "causal_obs" else None
    sample = torch.randn(1, 10, 2, requires_grad=True)

    out = network(sample, torch.tensor(3), global_cond=cond)
    (gradient,) = torch.autograd.grad(out[0, 4].sum(), sample)

    assert (gradient[0].abs().sum(dim=1) > 0).tolist() == [True] * 5 + [False] * 5
    torch.testing.assert_close(network(sample[:, :6], torch.tensor(3), global_cond=cond), out[:, :6])


def test_a_step_sees_observations_up_to_its_own(build):
    network = build(n_obs_steps=3, cond_dim=7, **SMALL).eval()
    cond = torch.randn(1, 21, requires_grad=True)

    out = network(torch.randn(1, 10, 2), torch.tensor(3), global_cond=cond)

    for step, seen in enumerate([[True, False, False], [True, True, False], [True, True, True], [True, True, True]]):
        (gradient,) = torch.autograd.grad(out[0, step].sum(), cond, retain_graph=True)
        assert (gradient.view(3, 7).abs().sum(dim=1) > 0).tolist() == seen


@pytest.mark.parametrize("time_as_cond", [True, False])
def test_every_step_depends_on_the_time(build, time_as_cond):
    network = build(time_as_cond=time_as_cond, **SMALL).eval()
    sample = torch.randn(1, 10, 2)

    early, late = (network(sample, torch.tensor(time)) for time in (0.1, 0.9))

    assert (early != late).any(dim=-1).all()


def test_every_parameter_gets_a_gradient(build):
    network = build(cond_dim=7, n_cond_layers=1, **SMALL)

    network(torch.randn(2, 10, 2), torch.tensor(3), global_cond=torch.randn(2, 14)).square().sum().backward()

    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_it_runs_in_half_precision(build):
    network = build(cond_dim=7, **SMALL).to(torch.bfloat16)
    sample, cond = torch.randn(2, 10, 2, dtype=torch.bfloat16), torch.randn(2, 14, dtype=torch.bfloat16)

    assert network(sample, torch.tensor(9), global_cond=cond).dtype == torch.bfloat16


def test_a_trained_policy_is_saved_and_loaded(trained_with):
    workspace = trained_with({"name": "transformer", "n_layer": 1, "n_head": 2, "n_emb": 8})
    obs = {"obs": torch.rand(2, 2, 20)}

    expected = workspace.ema_model.eval().predict_action(obs, torch.Generator().manual_seed(0))
    loaded = load_policy(workspace.get_checkpoint_path()).predict_action(obs, torch.Generator().manual_seed(0))

    assert torch.equal(loaded["action"], expected["action"])
    assert [group["weight_decay"] for group in workspace.optimizer.param_groups] == [1e-6, 0.0]


# -- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"n_emb": 30}, "n_head: 4 does not divide n_emb 30; choose one that does"),
        (
            {"n_emb": 33, "n_head": 3},
            "n_emb: 33 is odd, and a time is embedded as pairs of sine and cosine; choose 34",
        ),
        (
            {"time_as_cond": False, "n_cond_layers": 2},
            "n_cond_layers: 2 layers encode nothing with time_as_cond: false; choose 0",
        ),
    ],
)
def test_options_that_do_not_fit_are_reported(build, options, problem):
    with pytest.raises(ConfigError) as error:
        build(**options)

    assert str(error.value) == f"denoiser 'transformer' has 1 problem\n  {problem}"


def test_a_policy_whose_observations_nothing_attends_to_is_reported(registry):
    block = {
        "name": "diffusion",
        "horizon": 16,
        "n_obs_steps": 2,
        "n_action_steps": 8,
        "encoder": "lowdim",
        "denoiser": {"name": "transformer", "time_as_cond": False, **SMALL},
    }
    shape_meta = {"obs": {"state": {"shape": [3], "type": "low_dim"}}, "action": {"shape": [2]}}

    with pytest.raises(ConfigError) as error:
        registry.build("policy", block, shape_meta=shape_meta)
    registry.build("policy", {**block, "obs_as_global_cond": False}, shape_meta=shape_meta)

    assert str(error.value) == (
        "policy 'diffusion' has 1 problem\n"
        "  denoiser.time_as_cond: false leaves nothing that attends to observations; choose true, "
        "or obs_as_global_cond: false"
    )


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ({"local_cond_dim": 3}, "local conditioning is not supported; choose another denoiser"),
        ({"global_cond_dim": 7}, "global_cond_dim 7 does not divide into 2 observation steps"),
        (
            {"global_cond_dim": 8, "time_as_cond": False},
            "'time_as_cond: false' takes no global conditioning; choose true",
        ),
    ],
)
def test_sizes_that_it_cannot_be_built_with_are_reported(registry, sizes, problem):
    runtime = {
        "input_dim": 2,
        "horizon": 10,
        "n_obs_steps": 2,
        "global_cond_dim": None,
        "local_cond_dim": None,
        **sizes,
    }
    options = {"time_as_cond": runtime.pop("time_as_cond", True), **SMALL}

    with pytest.raises(InputError) as error:
        registry.build("denoiser", {"name": "transformer", **options}, **runtime)

    assert str(error.value) == f"transformer: {problem}"


@pytest.mark.parametrize(
    ("length", "conditions", "problem"),
    [
        (
            11,
            {"global_cond": 14},
            "the trajectory has 11 steps; at most 10, the horizon it was built with, have a position",
        ),
        (10, {}, "'global_cond' is missing; the network was built with it"),
        (10, {"global_cond": 14, "local_cond": 3}, "'local_cond' was given; the network takes none"),
    ],
)
def test_inputs_that_it_was_not_built_for_are_reported(build, length, conditions, problem):
    network = build(cond_dim=7, **SMALL)
    given = {name: torch.randn(1, size) for name, size in conditions.items()}

    with pytest.raises(InputError) as error:
        network(torch.randn(1, length, 2), torch.tensor(0), **given)

    assert str(error.value) == f"transformer: {problem}"


TOKENS = {"input_dim": 2, "horizon": 6, "n_obs_steps": 2, "global_cond_dim": None, "token_dim": 5, "n_tokens": 4}


def test_a_step_sees_the_tokens_of_no_later_one(registry):
    network = registry.build("denoiser", {"name": "transformer", **SMALL}, **TOKENS).eval()
    sample, tokens = torch.randn(1, 6, 2), torch.randn(1, 4, 5)
    before = network(sample, torch.tensor(7), tokens=tokens)
    changed = tokens.clone()
    changed[:, 2:] += 1  # of the second of the two steps

    is_other = (network(sample, torch.tensor(7), tokens=changed) != before).any(-1)[0].tolist()
    assert is_other == [False, True, True, True, True, True]
    assert network.prepare(torch.tensor([7]), tokens=tokens)(sample, 0).equal(before)


def test_tokens_add_one_layer_and_places(registry, build):
    shapes = {name: list(p.shape) for name, p in build(**SMALL, horizon=6).named_parameters()}
    network = registry.build("denoiser", {"name": "transformer", **SMALL}, **TOKENS)
    found = {name: list(p.shape) for name, p in network.named_parameters()}

    assert found == shapes | {
        "cond_token_emb.weight": [32, 5], "cond_token_emb.bias": [32], "cond_pos_emb": [1, 1 + 4, 32]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sizes", "message"),
    [
        ({"time_as_cond": False}, {}, "transformer: 'time_as_cond: false' attends to no tokens; choose true"),
        ({}, {"n_tokens": 3}, "transformer: 3 tokens do not divide into 2 observation steps"),
    ],
)
def test_tokens_that_nothing_can_attend_to_are_refused(registry, options, sizes, message):
    with pytest.raises(InputError) as caught:
        registry.build("denoiser", {"name": "transformer", **SMALL, **options}, **TOKENS | sizes)

    assert str(caught.value) == message


def test_tokens_are_there_exactly_if_the_network_was_built_with_them(registry, build):
    network = registry.build("denoiser", {"name": "transformer", **SMALL}, **TOKENS)
    sample, time = torch.randn(1, 6, 2), torch.tensor(7)
    with pytest.raises(InputError) as missing:
        network(sample, time)
    with pytest.raises(InputError) as given:
        build(**SMALL)(sample, time, tokens=torch.zeros(1, 4, 5))

    assert str(missing.value) == "transformer: 'tokens' are missing; the network was built with them"
    assert str(given.value) == "transformer: 'tokens' were given; the network was built without them"
