"""`prepare_inference`: what it makes ready acts as before, to the precision that was asked for."""

import copy
import threading

import pytest
import torch

from dp_core.errors import InputError
from dp_core.normalizer import LinearNormalizer

SHAPE_META = {"obs": {"state": {"shape": [3]}}, "action": {"shape": [2]}}
STEPS = {"horizon": 4, "n_obs_steps": 1, "n_action_steps": 2}
DENOISERS = {
    "dit1d": {"n_layer": 2, "n_head": 2, "n_emb": 16},
    "transformer": {"n_layer": 2, "n_head": 2, "n_emb": 16},
    "unet1d": {"down_dims": [256, 512], "diffusion_step_embed_dim": 8},
}
MODES = {
    "global": {},
    "local": {"obs_as_global_cond": False, "obs_as_local_cond": True},
    "inpainting": {"obs_as_global_cond": False},
}
PAIRS = [(denoiser, mode) for denoiser in DENOISERS for mode in MODES if (denoiser, mode) != ("transformer", "local")]
OBS = {"state": torch.tensor([[[0.3, -0.2, 0.9]]])}


@pytest.fixture
def build(registry):
    def build_policy(denoiser="unet1d", mode="global"):
        torch.manual_seed(0)
        block = {
            **{"name": "diffusion", "encoder": "lowdim", "scheduler": {"name": "ddim", "num_inference_steps": 4}},
            **STEPS,
            **MODES[mode],
            "denoiser": {"name": denoiser, **DENOISERS[denoiser]},
        }
        policy = registry.build("policy", block, shape_meta=SHAPE_META).eval()
        normalizer = LinearNormalizer()
        normalizer.fit(
            {"state": torch.tensor([[-1.0] * 3, [1.0] * 3]), "action": torch.tensor([[-1.0] * 2, [1.0] * 2])}
        )
        policy.set_normalizer(normalizer)
        for parameter in policy.model.parameters():  # some are made such that nothing is predicted at first
            parameter.data += 0.02 * torch.randn_like(parameter)
        return policy

    return build_policy


def act(policy):
    return policy.predict_action(OBS, torch.Generator().manual_seed(1))["action_pred"]


@pytest.mark.parametrize(("denoiser", "mode"), PAIRS)
def test_a_prepared_policy_acts_as_before(build, denoiser, mode):
    policy = build(denoiser, mode)
    expected, state = act(policy), torch.get_rng_state()

    policy.prepare_inference(OBS)

    torch.testing.assert_close(act(policy), expected, rtol=0, atol=2e-5)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(parameter.requires_grad for parameter in policy.parameters())


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("denoiser", "mode"), PAIRS)
def test_in_batches_of_one_size_a_row_does_not_depend_on_the_others(build, denoiser, mode):
    """To the last bit; the runner's ``batch_invariant`` rests on it."""
    policy, row = build(denoiser, mode), 5

    def acted(seed):
        states = torch.rand((8, 1, 3), generator=torch.Generator().manual_seed(seed)) - 0.5
        states[row] = OBS["state"]
        generators = [torch.Generator().manual_seed(seed + other) for other in range(8)]
        generators[row].manual_seed(1)
        return policy.predict_action({"state": states}, generators)["action_pred"]

    one, other = acted(10), acted(20)

    assert torch.equal(one[row], other[row])
    assert not torch.equal(one[row - 1], other[row - 1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("denoiser", "mode"), PAIRS)
def test_reduced_precision_changes_actions_by_its_rounding(build, denoiser, mode, dtype):
    """bfloat16 has 8 significant bits, float16 has 11; actions are between -1 and 1."""
    policy = build(denoiser, mode)
    expected = act(policy)

    policy.prepare_inference(OBS, dtype=dtype)

    actions = act(policy)
    assert {parameter.dtype for parameter in policy.model.parameters()} == {dtype}
    assert actions.dtype == torch.float32
    torch.testing.assert_close(actions, expected, rtol=0, atol=0.1 if dtype == torch.bfloat16 else 0.02)
    assert not torch.equal(actions, expected)


def test_a_prepared_policy_can_be_copied_and_its_state_keeps_its_names(build):
    policy = build()
    names = policy.state_dict().keys()
    policy.prepare_inference(OBS)

    assert policy.state_dict().keys() == names
    assert torch.equal(act(copy.deepcopy(policy)), act(policy))


def test_a_copy_leaves_the_graph_behind(build):
    policy = build()
    expected = act(policy)
    policy._graph = threading.Lock()  # as little to be copied as a graph, and as little of use to a copy

    twin = copy.deepcopy(policy)

    assert torch.equal(act(twin), expected)


def test_preparing_again_forgets_the_graph_of_before(build):
    policy = build()
    policy._graph = threading.Lock()

    policy.prepare_inference(OBS, dtype=torch.bfloat16)

    assert act(policy).isfinite().all()


def test_an_unknown_precision_is_reported(build):
    with pytest.raises(InputError) as caught:
        build().prepare_inference(OBS, dtype=torch.float64)

    assert str(caught.value) == ("dtype: torch.float64 is not one of torch.float32, torch.bfloat16, torch.float16")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "dpm_solver", "flow_matching"])
@pytest.mark.parametrize(("denoiser", "mode"), PAIRS)
def test_the_graph_samples_as_the_steps_one_by_one_and_draws_the_same(registry, build, denoiser, mode, scheduler):
    policy = build(denoiser, mode).cuda()
    policy.scheduler = registry.build("scheduler", {"name": scheduler, "num_inference_steps": 5})
    obs = {key: value.cuda() for key, value in OBS.items()}
    others = {key: -value for key, value in obs.items()}
    generators = [torch.Generator("cuda").manual_seed(3) for _ in range(2)]
    expected = [policy.predict_action(each, generators[0])["action_pred"] for each in (obs, others)]

    policy.prepare_inference(obs)

    assert policy._graph is not None
    for each, wanted in zip((obs, others), expected, strict=True):
        actions = policy.predict_action(each, generators[1])["action_pred"]
        torch.testing.assert_close(actions, wanted, rtol=0, atol=1e-4)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    two = {key: value.expand(2, -1, -1) for key, value in obs.items()}
    assert policy.predict_action(two)["action_pred"].shape == (2, 4, 2)  # not captured; step by step
    torch.manual_seed(7)
    first = policy.predict_action(obs)["action_pred"]
    assert not torch.equal(first, policy.predict_action(obs)["action_pred"])
