"""The diffusion transformer: how it starts, what depends on what, and that it learns."""

import pytest
import torch
from torch import nn

from dp_core import load_policy
from dp_core.errors import ConfigError, InputError
from dp_dit1d.blocks import Rotation

SMALL = {"n_layer": 2, "n_head": 2, "n_emb": 16}


@pytest.fixture
def build(registry):
    def build_dit(*, input_dim=2, horizon=8, global_cond_dim=None, local_cond_dim=None, **options):
        return registry.build(
            "denoiser",
            {"name": "dit1d", **SMALL, **options},
            input_dim=input_dim,
            horizon=horizon,
            n_obs_steps=2,
            global_cond_dim=global_cond_dim,
            local_cond_dim=local_cond_dim,
        )

    return build_dit


@pytest.fixture
def build_random(build):
    """A network that is past its start, where every output is zero; in eval mode."""

    def build_and_draw(**options):
        torch.manual_seed(0)
        network = build(**options)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
        return network.eval()

    return build_and_draw


@pytest.fixture(params=["rotary", "learned"])
def position(request):
    return request.param


@pytest.mark.parametrize("time", [torch.tensor(7), torch.tensor([0, 7, 99]), torch.tensor([0.0, 0.3, 1.0])])
@pytest.mark.parametrize("global_cond_dim", [None, 5])
@pytest.mark.parametrize("local_cond_dim", [None, 4])
def test_the_output_has_the_shape_of_the_trajectory(build, position, time, global_cond_dim, local_cond_dim):
    network = build(position=position, global_cond_dim=global_cond_dim, local_cond_dim=local_cond_dim)
    global_cond = None if global_cond_dim is None else torch.randn(3, global_cond_dim)
    local_cond = None if local_cond_dim is None else torch.randn(3, 7, local_cond_dim)

    assert network(torch.randn(3, 7, 2), time, local_cond, global_cond).shape == (3, 7, 2)


def test_it_starts_as_zero(build, position):
    network = build(position=position, global_cond_dim=3)

    out = network(torch.randn(2, 8, 2), torch.tensor(5), global_cond=torch.randn(2, 3))

    assert torch.equal(out, torch.zeros(2, 8, 2))


def test_every_parameter_gets_a_gradient_once_the_gates_have_opened(build, position):
    """The first step moves the last layer, the second what modulates; the third reaches everything."""
    network = build(position=position, global_cond_dim=3, local_cond_dim=4)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    for _ in range(3):
        optimizer.step()
        optimizer.zero_grad()
        out = network(torch.randn(4, 8, 2), torch.tensor(5), torch.randn(4, 8, 4), torch.randn(4, 3))
        (out - 1).square().sum().backward()

    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_equal_steps_come_out_different_because_positions_are_known(build_random, position):
    out = build_random(position=position)(torch.ones(1, 8, 2), torch.tensor(5))

    assert (out[0].diff(dim=0).abs().sum(dim=1) > 1e-4).all()


def test_steps_that_change_places_with_their_positions_come_out_in_those_places(build_random):
    network, order = build_random(position="learned"), torch.randperm(8)
    sample = torch.randn(2, 8, 2)

    expected = network(sample, torch.tensor(5))[:, order]
    with torch.no_grad():
        network.pos_emb.copy_(network.pos_emb[:, order].clone())

    torch.testing.assert_close(network(sample[:, order], torch.tensor(5)), expected)


def test_rotary_positions_tell_distances_only():
    query, key = torch.randn(2, 1, 1, 1, 8).expand(-1, -1, -1, 12, -1).unbind()  # the same at every position
    rotation = Rotation.of_positions(12, 8, like=query)

    scores = rotation(query) @ rotation(key).transpose(-1, -2)

    torch.testing.assert_close(scores[..., 1:, 1:], scores[..., :-1, :-1])
    torch.testing.assert_close(rotation(query).norm(dim=-1), query.norm(dim=-1))
    assert scores[0, 0, 0].unique().numel() == 12


def test_every_step_depends_on_every_step_and_every_condition(build_random, position):
    network = build_random(position=position, global_cond_dim=3, local_cond_dim=4)
    inputs = [torch.randn(1, 8, 2), torch.tensor([0.3]), torch.randn(1, 8, 4), torch.randn(1, 3)]
    out = network(*[value.requires_grad_() for value in inputs])

    for step in range(8):
        gradients = torch.autograd.grad(out[0, step].sum(), inputs, retain_graph=True)
        assert all(gradient.all() for gradient in gradients)


def test_samples_of_a_batch_do_not_see_each_other(build_random, position):
    network = build_random(position=position, global_cond_dim=3)
    sample, cond, times = torch.randn(3, 8, 2), torch.randn(3, 3), torch.tensor([0, 5, 99])

    together = network(sample, times, global_cond=cond)
    alone = torch.cat([network(sample[i : i + 1], times[i], global_cond=cond[i : i + 1]) for i in range(3)])

    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_dropout_is_off_in_eval_mode(build_random):
    network = build_random(p_drop=0.5)
    sample = torch.randn(2, 8, 2)

    assert torch.equal(network(sample, torch.tensor(5)), network(sample, torch.tensor(5)))
    network.train()
    assert not torch.equal(network(sample, torch.tensor(5)), network(sample, torch.tensor(5)))


def test_rotary_positions_take_trajectories_longer_than_the_horizon(build):
    assert build(horizon=4)(torch.randn(1, 9, 2), torch.tensor(0)).shape == (1, 9, 2)


def test_it_runs_in_half_precision(build, position):
    network = build(position=position, global_cond_dim=3).to(torch.bfloat16)
    sample, cond = torch.randn(2, 8, 2, dtype=torch.bfloat16), torch.randn(2, 3, dtype=torch.bfloat16)

    assert network(sample, torch.tensor(9), global_cond=cond).dtype == torch.bfloat16


def test_it_learns_a_trajectory_that_depends_on_step_and_condition(build, position):
    """From noise alone: the clean values have to come from the position and from the condition."""
    torch.manual_seed(0)
    network = build(input_dim=1, position=position, global_cond_dim=1, n_emb=32, p_drop=0.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)

    for _ in range(150):
        phase = 3 * torch.rand(64, 1)
        clean = torch.sin(phase + torch.arange(8))[..., None]
        loss = (network(torch.randn(64, 8, 1), torch.tensor(99), global_cond=phase) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss.item() < 0.05  # of a variance of 0.5


def test_matrices_decay_and_nothing_else(build, position):
    network = build(position=position, global_cond_dim=3)

    kept = network.no_weight_decay()

    matrices = {name for name, _ in network.named_parameters()} - kept
    assert all(name.endswith(".weight") for name in matrices)
    assert {name for name in kept if not name.endswith(".bias")} == {"origin" if position == "rotary" else "pos_emb"}


def test_a_trained_policy_is_saved_and_loaded(trained_with):
    workspace = trained_with({"name": "dit1d", "n_layer": 1, "n_head": 2, "n_emb": 8})
    obs = {"obs": torch.rand(2, 2, 20)}

    expected = workspace.ema_model.eval().predict_action(obs, torch.Generator().manual_seed(0))
    loaded = load_policy(workspace.get_checkpoint_path()).predict_action(obs, torch.Generator().manual_seed(0))

    assert torch.equal(loaded["action"], expected["action"])
    assert expected["action_pred"].diff(dim=1).any()


# -- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"n_head": 3}, "n_head: 3 does not divide n_emb 16; choose one that does"),
        (
            {"n_emb": 12, "n_head": 4},
            "n_head: 4 heads of n_emb 12 have an odd size, 3, and rotary positions turn pairs of values; choose an "
            "even size or position: learned",
        ),
        (
            {"n_emb": 15, "n_head": 3, "position": "learned"},
            "n_emb: 15 is odd, and a time is embedded as pairs of sine and cosine; choose 16",
        ),
    ],
)
def test_options_that_do_not_fit_are_reported(build, options, problem):
    with pytest.raises(ConfigError) as error:
        build(**options)

    assert str(error.value) == f"denoiser 'dit1d' has 1 problem\n  {problem}"


def test_a_trajectory_without_learned_positions_is_reported(build):
    with pytest.raises(InputError) as error:
        build(position="learned")(torch.randn(1, 9, 2), torch.tensor(0))

    assert str(error.value) == (
        "dit1d: the trajectory has 9 steps; at most 8, the horizon it was built with, have a learned position"
    )


def test_conditions_must_be_those_it_was_built_with(build):
    sample, time = torch.randn(1, 8, 2), torch.tensor(0)

    with pytest.raises(InputError) as missing:
        build(global_cond_dim=3)(sample, time)
    with pytest.raises(InputError) as unexpected:
        build()(sample, time, local_cond=torch.randn(1, 8, 3))

    assert str(missing.value) == "dit1d: 'global_cond' is missing; the network was built with it"
    assert str(unexpected.value) == "dit1d: 'local_cond' was given; the network was built without it"


@pytest.fixture
def with_tokens(registry):
    """A network past its start that attends to four tokens of six numbers; in eval mode."""
    torch.manual_seed(0)
    sizes = {"input_dim": 2, "horizon": 8, "n_obs_steps": 2, "global_cond_dim": None, "local_cond_dim": None}
    network = registry.build("denoiser", {"name": "dit1d", **SMALL}, **sizes, token_dim=6, n_tokens=4)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


def test_every_step_depends_on_every_token_and_on_their_order(with_tokens):
    sample, tokens = torch.randn(1, 8, 2), torch.randn(1, 4, 6)
    before = with_tokens(sample, torch.tensor(7), tokens=tokens)

    for index in range(4):
        changed = tokens.clone()
        changed[:, index] += 1
        assert (with_tokens(sample, torch.tensor(7), tokens=changed) != before).any(-1).all()
    assert not torch.allclose(with_tokens(sample, torch.tensor(7), tokens=tokens.flip(1)), before)


def test_prepared_tokens_change_nothing(with_tokens):
    sample, tokens, times = torch.randn(3, 8, 2), torch.randn(3, 4, 6), torch.tensor([50, 3])
    denoise = with_tokens.prepare(times, tokens=tokens)

    for i, time in enumerate(times):
        assert torch.equal(denoise(sample, i), with_tokens(sample, time, tokens=tokens))


def test_tokens_change_no_name_of_what_is_there_without(build, with_tokens):
    further = set(with_tokens.state_dict()) - set(build().state_dict())

    assert set(build().state_dict()) < set(with_tokens.state_dict())
    assert {name.split(".")[-3] if "blocks" in name else name for name in further} == {
        "token_emb.weight", "token_emb.bias", "token_pos", "cross_modulation", "cross_attention"
    }  # fmt: skip


def test_tokens_are_there_exactly_if_it_was_built_with_them(build, with_tokens):
    sample, time = torch.randn(1, 8, 2), torch.tensor(7)
    with pytest.raises(InputError) as missing:
        with_tokens(sample, time)
    with pytest.raises(InputError) as given:
        build()(sample, time, tokens=torch.zeros(1, 4, 6))

    assert str(missing.value) == "dit1d: 'tokens' are missing; the network was built with them"
    assert str(given.value) == "dit1d: 'tokens' were given; the network was built without them"
