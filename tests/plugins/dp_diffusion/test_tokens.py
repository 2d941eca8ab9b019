"""Encoders that give tokens, and such as see the window, in the diffusion policy."""

import pytest
import torch

from dp_core.errors import ConfigError, InputError
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer

SHAPE_META = {
    "obs": {"front": {"shape": [3, 32, 32], "type": "rgb"}, "pose": {"shape": [3]}},
    "action": {"shape": [2]},
}
PATCHES = {"name": "timm", "model_name": "test_vit", "feature_aggregation": "tokens"}
OVER_TIME = {"name": "temporal", "n_emb": 12, "n_head": 2, "n_layer": 1, "p_drop": 0.0,
             "encoder": {"name": "cnn", "channels": [4, 4], "feature_dimension": 4}}  # fmt: skip
NETWORK = {"n_layer": 1, "n_head": 2, "n_emb": 16}
DENOISERS = {"dit1d": {"name": "dit1d", **NETWORK}, "transformer": {"name": "transformer", **NETWORK}}
BLOCK = {
    "name": "diffusion",
    "horizon": 8,
    "n_obs_steps": 2,
    "n_action_steps": 4,
    "encoder": PATCHES,
    "denoiser": DENOISERS["dit1d"],
    "scheduler": {"name": "ddim", "num_inference_steps": 3},
}


@pytest.fixture
def build(registry):
    def build_policy(**options):
        torch.manual_seed(0)
        policy = registry.build("policy", {**BLOCK, **options}, shape_meta=SHAPE_META).eval()
        for parameter in policy.model.parameters():  # past the start of dit1d, where everything is zero
            torch.nn.init.normal_(parameter, std=0.1)
        policy.set_normalizer(normalizer())
        return policy

    return build_policy


def normalizer():
    normalizer = LinearNormalizer(SHAPE_META)
    normalizer["front"] = SingleFieldLinearNormalizer.create_image()
    for key in ("pose", "action"):
        normalizer[key] = SingleFieldLinearNormalizer.create_identity()
    return normalizer


def batch(n_steps=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    front = torch.randint(0, 256, (3, n_steps, 3, 32, 32), generator=draw, dtype=torch.uint8)
    pose = torch.rand(3, n_steps, 3, generator=draw)
    return {"obs": {"front": front, "pose": pose}, "action": torch.rand(3, 8, 2, generator=draw)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize(
    "options", [{}, {"pred_action_steps_only": True, "train_diffusion_n_samples": 2}, {"scheduler": "mean_flow"}]
)
def test_it_learns_from_tokens_and_acts_on_them(build, denoiser, options):
    policy = build(denoiser=DENOISERS[denoiser], **options).train()
    policy.compute_loss(batch(), seeded()).backward()
    assert [name for name, p in policy.named_parameters() if p.requires_grad and p.grad is None] == []

    policy.eval()
    first, other = (policy.predict_action(batch(2, seed)["obs"], seeded())["action"] for seed in (0, 1))
    assert first.shape == (3, 4, 2)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("denoiser", DENOISERS)
def test_tokens_come_step_by_step_oldest_first(build, denoiser):
    policy = build(denoiser=DENOISERS[denoiser])
    obs = batch()["obs"]
    given = []
    policy.model.register_forward_pre_hook(lambda _, args, kwargs: given.append(kwargs["tokens"]), with_kwargs=True)
    policy.compute_loss(batch(), seeded())

    steps = [policy.normalizer.normalize({key: value[:, step] for key, value in obs.items()}) for step in (0, 1)]
    expected = torch.cat([policy.obs_encoder(step) for step in steps], dim=1)
    assert torch.allclose(given[0], expected, atol=1e-5)
    assert given[0].shape == (3, 2 * policy.obs_encoder.n_tokens, policy.obs_encoder.output_dim)


def test_features_that_are_kept_make_no_difference(build):
    plain, cached = build(), build(cache_obs_features=True)
    history = batch(4)["obs"]
    for step in range(3):
        obs = {key: value[:, step : step + 2] for key, value in history.items()}
        expected = plain.predict_action(obs, seeded())["action"]

        assert torch.allclose(cached.predict_action(obs, seeded())["action"], expected, atol=1e-5)


def test_weights_of_lower_precision_take_tokens(build):
    policy, obs = build(), batch(2)["obs"]
    expected = policy.predict_action(obs, seeded())["action"]
    policy.prepare_inference(obs, dtype=torch.bfloat16)

    assert torch.allclose(policy.predict_action(obs, seeded())["action"], expected, atol=0.1)


def test_an_encoder_that_gives_other_tokens_than_it_says_is_named(build):
    policy = build()
    policy.obs_encoder.n_tokens += 1
    with pytest.raises(InputError) as caught:
        policy.compute_loss(batch())

    assert str(caught.value) == (
        "encoder 'timm' gave features of shape (6, 5, 64); expected (N, 6, 64), as its n_tokens and output_dim say; "
        "set n_tokens and output_dim in its constructor to the size of what forward returns"
    )


@pytest.mark.parametrize("denoiser", [*DENOISERS.values(), {"name": "unet1d", "down_dims": [8, 16], "n_groups": 4}])
def test_an_encoder_that_sees_the_window_gives_one_vector_of_it(build, denoiser):
    policy = build(encoder=OVER_TIME, denoiser=denoiser)
    policy.train().compute_loss(batch(), seeded()).backward()

    assert policy.conditioning.global_cond_dim == 12
    assert policy.eval().predict_action(batch(3)["obs"], seeded())["action"].shape == (3, 4, 2)


REFUSED = {
    "tokens for a U-Net": (
        {"denoiser": {"name": "unet1d", "down_dims": [8, 16], "n_groups": 4}},
        "denoiser: 'unet1d' attends to no tokens, and encoder 'timm' gives them; choose a denoiser that does, such as "
        "'dit1d' or 'transformer', or by the options of the encoder a vector",
    ),
    "tokens as local conditions": (
        {"obs_as_global_cond": False, "obs_as_local_cond": True},
        "obs_as_local_cond: true needs one vector for each step, and encoder 'timm' gives tokens; set "
        "obs_as_global_cond: true, or choose another encoder",
    ),
    "tokens in the trajectory": (
        {"obs_as_global_cond": False},
        "obs_as_global_cond: false needs one vector for each step, and encoder 'timm' gives tokens; set "
        "obs_as_global_cond: true, or choose another encoder",
    ),
    "the window in the trajectory": (
        {"encoder": OVER_TIME, "obs_as_global_cond": False},
        "obs_as_global_cond: false needs one vector for each step, and encoder 'temporal' sees the window as a whole; "
        "set obs_as_global_cond: true, or choose another encoder",
    ),
    "features of windows kept": (
        {"encoder": OVER_TIME, "cache_obs_features": True},
        "cache_obs_features: true keeps what was encoded step by step, and encoder 'temporal' sees the window as a "
        "whole; leave it out",
    ),
}


@pytest.mark.parametrize(("options", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_tokens_and_windows_do_not_go_with_is_refused(build, options, problem):
    with pytest.raises(ConfigError) as caught:
        build(**options)

    assert [str(each) for each in caught.value.problems] == [problem]
