"""The diffusion policy: its rules, its two ways to condition, its messages."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch

from dp_core.errors import ConfigError, InputError
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_diffusion.inputs import last_steps
from dp_diffusion.mask_generator import LowdimMaskGenerator

SHAPE_META = {"obs": {"pose": {"shape": [3]}, "grip": {"shape": [1]}}, "action": {"shape": [2]}}
BLOCK = {
    "name": "diffusion",
    "horizon": 8,
    "n_obs_steps": 2,
    "n_action_steps": 4,
    "encoder": "lowdim",
    "denoiser": {
        "name": "unet1d",
        "diffusion_step_embed_dim": 8,
        "down_dims": [8, 16],
        "kernel_size": 3,
        "n_groups": 4,
    },
    "scheduler": {"name": "ddim", "num_inference_steps": 4},
}
LOCAL = {"obs_as_global_cond": False, "obs_as_local_cond": True}
OLD = {"oa_step_convention": False}
BOTH = pytest.mark.parametrize("obs_as_global_cond", [True, False])


@pytest.fixture
def build(registry):
    def build_policy(is_fitted=True, **options):
        policy = registry.build("policy", {**BLOCK, **options}, shape_meta=SHAPE_META).eval()
        if is_fitted:
            policy.set_normalizer(normalizer())
        return policy

    return build_policy


def plain(state_dict):
    """As a file has it that was written by other means: names and tensors alone."""
    return dict(state_dict)


def normalizer():
    normalizer = LinearNormalizer()
    for key in ("pose", "grip"):
        normalizer[key] = SingleFieldLinearNormalizer.create_identity()
    stats = {"min": [0.0, 0.0], "max": [10.0, 20.0], "mean": [5.0, 10.0], "std": [1.0, 1.0]}
    normalizer["action"] = SingleFieldLinearNormalizer.create_range(stats)
    return normalizer


def batch(obs_steps=8):
    generator = torch.Generator().manual_seed(0)
    obs = {
        "pose": torch.rand(3, obs_steps, 3, generator=generator),
        "grip": torch.rand(3, obs_steps, 1, generator=generator),
    }
    return {"obs": obs, "action": 10 * torch.rand(3, 8, 2, generator=generator)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("acts", [True, False])
def test_an_encoder_that_returns_another_size_is_named(build, acts):
    policy = build()
    policy.obs_encoder.output_dim += 1
    with pytest.raises(InputError) as caught:
        policy.predict_action(batch(2)["obs"]) if acts else policy.compute_loss(batch())

    assert str(caught.value) == (
        "encoder 'lowdim' gave features of shape (6, 4); expected (N, 5), as its output_dim says; "
        "set output_dim in its constructor to the size of what forward returns"
    )


@BOTH
def test_it_predicts_a_horizon_and_returns_what_to_execute_from_now_on(build, obs_as_global_cond):
    result = build(obs_as_global_cond=obs_as_global_cond).predict_action(batch(2)["obs"], seeded())

    assert result["action_pred"].shape == (3, 8, 2)
    assert torch.equal(result["action"], result["action_pred"][:, 1:5])
    assert not result["action"].requires_grad


@BOTH
def test_a_generator_decides_everything_that_is_random(build, obs_as_global_cond):
    policy, state = build(obs_as_global_cond=obs_as_global_cond), torch.get_rng_state()

    losses = [policy.compute_loss(batch(), seeded(seed)).item() for seed in (1, 1, 2)]
    actions = [policy.predict_action(batch()["obs"], seeded(seed))["action"] for seed in (1, 1, 2)]

    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(actions[0], actions[1])
    assert not torch.equal(actions[0], actions[2])
    assert torch.equal(torch.get_rng_state(), state)


@BOTH
def test_with_a_generator_for_each_row_a_row_acts_as_if_it_were_alone(build, obs_as_global_cond):
    policy, obs = build(obs_as_global_cond=obs_as_global_cond), batch(2)["obs"]
    noises = []
    policy.model.register_forward_pre_hook(lambda _, args: noises.append(args[0][..., :2].clone()))

    together = policy.predict_action(obs, [seeded(seed) for seed in (4, 5, 4)])["action"]
    first = noises[0]
    noises.clear()
    alone = []
    for row, seed in enumerate((4, 5, 4)):
        own = {key: value[row : row + 1] for key, value in obs.items()}
        alone.append(policy.predict_action(own, seeded(seed))["action"])

    assert torch.equal(first, torch.cat(noises[:: len(noises) // 3]))
    assert torch.equal(first[0], first[2])
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-3)


@BOTH
def test_the_trajectory_starts_as_noise_drawn_before_the_times(build, obs_as_global_cond):
    policy = build(obs_as_global_cond=obs_as_global_cond)
    seen = []
    policy.model.register_forward_pre_hook(lambda _, args: seen.append(args))
    dim = 2 if obs_as_global_cond else 6

    policy.compute_loss(batch(), seeded(5))
    policy.predict_action(batch(2)["obs"], seeded(5))

    generator = seeded(5)
    noise = torch.randn(3, 8, dim, generator=generator)
    assert torch.equal(seen[0][1], torch.randint(0, 100, (3,), generator=generator))
    assert torch.equal(seen[1][0][..., :2], noise[..., :2])


def test_the_denoiser_sees_the_features_of_all_observed_steps_oldest_first(build):
    policy, data = build(), batch()
    seen = []
    policy.model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)

    policy.compute_loss(data)

    features = torch.cat([data["obs"]["pose"], data["obs"]["grip"]], dim=-1)
    assert torch.equal(seen[0]["global_cond"], torch.cat([features[:, 0], features[:, 1]], dim=-1))


@BOTH
def test_of_a_longer_history_the_last_steps_count_and_what_came_before_may_be_anything(build, obs_as_global_cond):
    policy = build(obs_as_global_cond=obs_as_global_cond)
    obs = batch(8)["obs"]
    expected = policy.predict_action({key: value[:, -2:] for key, value in obs.items()}, seeded())

    for value in obs.values():
        value[:, :-2] = torch.nan
    result = policy.predict_action(obs, seeded())

    assert torch.equal(result["action_pred"], expected["action_pred"])


def test_observations_that_shape_meta_does_not_name_are_ignored_and_named_once(build, caplog):
    policy, obs = build(), batch(2)["obs"]
    more = {**obs, "wrench": torch.full((1,), torch.nan), "clock": torch.ones(1)}

    results = [policy.predict_action(given, seeded())["action"] for given in (obs, more, more)]

    assert torch.equal(results[0], results[1])
    assert caplog.messages == ["predict_action: ignores 'clock', 'wrench', which shape_meta does not name"]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.float64])
def test_a_gripper_flag_means_the_same_in_every_type(build, dtype):
    policy, obs = build(), batch(2)["obs"]
    flag = torch.tensor([0.0, 1.0]).reshape(1, 2, 1).expand(3, -1, -1)

    expected = policy.predict_action({**obs, "grip": flag}, seeded())["action"]

    assert torch.equal(policy.predict_action({**obs, "grip": flag.to(dtype)}, seeded())["action"], expected)


def test_the_type_of_a_key_outlives_copies_and_weights_that_do_not_know_it(build):
    policy, other = build(), build(is_fitted=False)
    other.load_state_dict(plain(policy.state_dict()))
    flag = {"grip": torch.ones(1, dtype=torch.uint8)}

    for each in (policy, other, copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        assert each.normalizer.normalize(flag)["grip"].tolist() == [1]


@pytest.mark.parametrize("cache_obs_features", [False, True])
def test_what_is_not_a_number_never_becomes_an_action_and_is_not_remembered(build, cache_obs_features):
    policy, obs = build(cache_obs_features=cache_obs_features), batch(2)["obs"]
    expected = policy.predict_action(obs, seeded())["action"]
    bad = {**obs, "pose": obs["pose"].clone()}
    bad["pose"][1, 0, 2] = torch.inf

    for _ in range(2):
        with pytest.raises(InputError) as caught:
            policy.predict_action(bad, seeded())

        assert str(caught.value) == (
            f"predict_action: 'pose' is torch.float32 with values from {obs['pose'].min():.6g} to inf; expected finite "
            "numbers; check the sensor or the message that they come from"
        )
    assert policy._cache is None or policy._cache._features is None
    assert torch.equal(policy.predict_action(obs, seeded())["action"], expected)


def test_a_prefix_that_is_not_a_number_never_becomes_an_action(build):
    with pytest.raises(
        InputError, match=r"^predict_action: 'fixed_action_prefix' is torch.float32 with values from nan"
    ):
        build().predict_action(batch(2)["obs"], seeded(), fixed_action_prefix=torch.full((3, 1, 2), torch.nan))


def test_the_check_of_observations_can_be_switched_off(build):
    policy, obs = build(check_obs=False), batch(2)["obs"]

    actions = policy.predict_action({**obs, "pose": obs["pose"] * torch.nan}, seeded())["action"]

    assert actions.isnan().any()


def test_training_looks_at_the_observed_steps_only(build):
    policy, longer = build(), batch(8)
    shorter = {"obs": {key: value[:, :2] for key, value in longer["obs"].items()}, "action": longer["action"]}

    assert policy.compute_loss(longer, seeded()) == policy.compute_loss(shorter, seeded())


def test_inpainting_shows_the_denoiser_the_observed_features(build):
    policy, data = build(obs_as_global_cond=False), batch()
    seen = []
    policy.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))

    policy.compute_loss(data)
    policy.predict_action(data["obs"])

    features = torch.cat([data["obs"]["pose"], data["obs"]["grip"]], dim=-1)
    assert len(seen) == 1 + 4
    assert torch.equal(seen[0][:, :2, 2:], features[:, :2])
    assert all(torch.equal(sample[:, :2, 2:], features[:, -2:]) for sample in seen[1:])
    assert all(not torch.equal(sample[:, 2:, 2:], features[:, 2:]) for sample in seen)


def test_inpainting_loss_counts_known_entries_as_zero(build):
    policy, data = build(obs_as_global_cond=False), batch()
    predictions = []
    policy.model.register_forward_hook(lambda _, args, output: predictions.append(output))

    loss = policy.compute_loss(data, seeded(5))

    noise = torch.randn(3, 8, 6, generator=seeded(5))
    error = (predictions[0] - noise).square()
    error[:, :2, 2:] = 0
    torch.testing.assert_close(loss, error.mean())


def test_an_inpainting_encoder_learns_from_the_observed_steps_alone(build):
    """What has to be predicted is a constant, else the encoder could make its features easy to predict."""
    policy, data = build(obs_as_global_cond=False, scheduler={"name": "ddim", "prediction_type": "sample"}), batch()
    data["obs"]["pose"].requires_grad_()

    policy.compute_loss(data).backward()

    gradient = data["obs"]["pose"].grad
    assert gradient[:, :2].abs().sum() > 0
    assert gradient[:, 2:].abs().sum() == 0


def test_the_sampler_can_be_exchanged_without_training_again(registry, build):
    policy = build(scheduler="ddpm")
    weights = copy.deepcopy(policy.state_dict())

    policy.scheduler = registry.build("scheduler", {"name": "ddim", "num_inference_steps": 2})
    calls = []
    policy.model.register_forward_hook(lambda *_: calls.append(1))
    policy.predict_action(batch()["obs"])

    assert len(calls) == 2
    assert list(policy.state_dict()) == list(weights)


@BOTH
def test_a_copy_shares_nothing(build, obs_as_global_cond):
    policy = build(obs_as_global_cond=obs_as_global_cond)
    twin = copy.deepcopy(policy)
    expected = twin.predict_action(batch()["obs"], seeded())["action"]

    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    policy.scheduler.sample(lambda sample, time: sample, (1, 8, 2), 2)

    assert torch.equal(twin.predict_action(batch()["obs"], seeded())["action"], expected)


@BOTH
def test_weights_travel_with_the_normalizer(build, obs_as_global_cond):
    policy = build(obs_as_global_cond=obs_as_global_cond)
    other = build(is_fitted=False, obs_as_global_cond=obs_as_global_cond)

    other.load_state_dict(policy.state_dict(), strict=True)

    expected = policy.predict_action(batch()["obs"], seeded())["action"]
    assert torch.equal(other.predict_action(batch()["obs"], seeded())["action"], expected)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"n_action_steps": 8},
            "n_action_steps: 8 steps, executed from step 2 on, end beyond horizon 8; choose at most 7",
        ),
        ({"n_obs_steps": 9}, "n_obs_steps: 9 is larger than horizon 8; choose at most that"),
        (
            {"n_action_steps": 7, **OLD},
            "n_action_steps: 7 steps, executed from step 3 on, end beyond horizon 8; choose at most 6",
        ),
        (
            {"n_obs_steps": 8, "n_action_steps": 1, **OLD},
            "oa_step_convention: false leaves no action to execute after 8 observed steps of horizon 8; "
            "choose true, or a longer horizon",
        ),
        (
            {"obs_as_local_cond": True},
            "obs_as_local_cond: true excludes obs_as_global_cond: true; choose one of them",
        ),
        (
            {"pred_action_steps_only": True, "obs_as_global_cond": False},
            "pred_action_steps_only: true leaves no place for observations in the trajectory; "
            "set obs_as_global_cond: true",
        ),
        (
            {"pred_action_steps_only": True, "n_action_steps": 3},
            "denoiser.down_dims: a trajectory of 3 is not divisible by 2, which the 2 levels of down_dims need; "
            "choose 2 or 4",
        ),
        (
            {"denoiser": "transformer", **LOCAL},
            "denoiser.name: 'transformer' attends to observations as tokens, and takes no vector per step of the "
            "trajectory; set obs_as_local_cond: false, or choose a denoiser that does, such as 'unet1d'",
        ),
        (
            {"horizon": 7},
            "denoiser.down_dims: horizon 7 is not divisible by 2, which the 2 levels of down_dims need; choose 6 or 8",
        ),
    ],
)
def test_steps_that_do_not_fit_are_reported(build, options, problem):
    with pytest.raises(ConfigError) as error:
        build(**options)

    assert str(error.value) == f"policy 'diffusion' has 1 problem\n  {problem}"


def wrong(change):
    data = batch()
    change(data)
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            wrong(lambda data: data["obs"].pop("grip")),
            "obs: 'grip' is missing, found 'pose'; give every key of shape_meta",
        ),
        (
            wrong(lambda data: data["obs"].update(pose=torch.ones(3, 8, 4))),
            "obs: 'pose' has shape (3, 8, 4); expected (B, T, 3), as shape_meta says",
        ),
        (
            wrong(lambda data: data["obs"].update(pose=torch.ones(8, 3))),
            "obs: 'pose' has shape (8, 3); expected (B, T, 3), as shape_meta says",
        ),
        (
            wrong(lambda data: data["obs"].update(pose=torch.ones(3, 1, 3))),
            "obs: 'pose' has 1 steps, expected at least 2",
        ),
        (
            wrong(lambda data: data["obs"].update(pose=torch.ones(2, 8, 3))),
            "obs: batch sizes differ: 'pose' 2, 'grip' 3; give every key the same",
        ),
        (
            wrong(lambda data: data.update(action=torch.ones(3, 7, 2))),
            "batch: 'action' has shape (3, 7, 2); expected (B, 8, 2), as horizon and shape_meta say",
        ),
    ],
)
def test_batches_that_do_not_fit_are_reported(build, data, message):
    with pytest.raises(InputError) as error:
        build().compute_loss(data)

    assert str(error.value) == message


def test_inpainting_needs_observations_of_the_whole_horizon_to_train(build):
    policy = build(obs_as_global_cond=False)

    policy.predict_action(batch(2)["obs"])
    with pytest.raises(InputError) as error:
        policy.compute_loss(batch(2))

    assert str(error.value) == (
        "obs: 'pose' has 2 steps, expected at least 8; "
        "inpainting learns from the whole horizon; let the data set load it (full_obs_horizon: true)"
    )


@pytest.mark.parametrize("denoiser", [BLOCK["denoiser"], {"name": "dit1d", "n_layer": 1, "n_head": 2, "n_emb": 8}])
def test_local_conditioning_shows_each_step_the_features_of_its_time(build, denoiser):
    policy, data = build(denoiser=denoiser, **LOCAL), batch(2)
    seen = []
    policy.model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)

    policy.compute_loss(data)

    features = torch.cat([data["obs"]["pose"], data["obs"]["grip"]], dim=-1)
    assert seen[0]["global_cond"] is None
    assert torch.equal(seen[0]["local_cond"][:, :2], features)
    assert seen[0]["local_cond"].shape == (3, 8, 4)
    assert not seen[0]["local_cond"][:, 2:].any()


def test_several_noises_are_drawn_for_each_encoded_observation(build):
    policy, data = build(train_diffusion_n_samples=3), batch()
    encoded, seen = [], []
    policy.obs_encoder.register_forward_pre_hook(lambda _, args: encoded.append(args[0]["pose"]))
    policy.model.register_forward_pre_hook(lambda _, args, kwargs: seen.append((*args, kwargs)), with_kwargs=True)

    policy.compute_loss(data, seeded(5))

    generator = seeded(5)
    noise = torch.randn(9, 8, 2, generator=generator)
    times = torch.randint(0, 100, (9,), generator=generator)
    actions = policy.normalizer["action"].normalize(data["action"]).repeat_interleave(3, dim=0)
    assert encoded[0].shape == (6, 3)  # 3 samples of 2 steps, once
    assert torch.equal(seen[0][0], policy.scheduler.add_noise(actions, noise, times))
    assert torch.equal(seen[0][1], times)
    condition = seen[0][2]["global_cond"].unflatten(0, (3, 3))
    assert torch.equal(condition[:, 0], condition[:, 2])


def test_perturbed_inputs_have_more_noise_than_the_target_tells_of(build):
    policy, data = build(input_pertub=0.1), batch()
    seen, predicted = [], []
    policy.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    policy.model.register_forward_hook(lambda _, args, output: predicted.append(output))

    loss = policy.train().compute_loss(data, seeded(5))
    policy.eval().compute_loss(data, seeded(5))

    generator = seeded(5)
    noise, perturbation = torch.randn(3, 8, 2, generator=generator), torch.randn(3, 8, 2, generator=generator)
    times = torch.randint(0, 100, (3,), generator=generator)
    actions = policy.normalizer["action"].normalize(data["action"])
    torch.testing.assert_close(seen[0], policy.scheduler.add_noise(actions, noise + 0.1 * perturbation, times))
    torch.testing.assert_close(loss, (predicted[0] - noise).square().mean())
    generator = seeded(5)  # in evaluation nothing is perturbed
    noise, times = torch.randn(3, 8, 2, generator=generator), torch.randint(0, 100, (3,), generator=generator)
    torch.testing.assert_close(seen[1], policy.scheduler.add_noise(actions, noise, times))


@pytest.mark.parametrize("mode", [{}, {"obs_as_global_cond": False}, {"pred_action_steps_only": True}, OLD])
def test_a_fixed_prefix_comes_back_and_changes_what_follows(build, mode):
    policy, obs = build(**mode), batch()["obs"]
    prefix = torch.tensor([[1.0, 2.0], [3.0, 18.0]]).expand(3, 2, 2)

    free = policy.predict_action(obs, seeded())["action"]
    result = policy.predict_action(obs, seeded(), fixed_action_prefix=prefix)["action"]

    torch.testing.assert_close(result[:, :2], prefix)
    assert not torch.equal(result[:, 2:], free[:, 2:])


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 2, 3), (3, 5, 2), (3, 2)])
def test_a_prefix_that_does_not_fit_is_reported(build, shape):
    with pytest.raises(InputError) as error:
        build().predict_action(batch()["obs"], fixed_action_prefix=torch.zeros(shape))

    assert str(error.value) == (
        f"fixed_action_prefix: has shape {shape}; expected (3, K, 2) with K at most n_action_steps 4"
    )


def sliding_windows(count, steps=3):
    frames = batch(count + steps - 1)["obs"]
    return [{key: value[:, i : i + steps] for key, value in frames.items()} for i in range(count)]


@pytest.fixture
def cached(build):
    policy = build(cache_obs_features=True, n_obs_steps=3)
    policy.encoded = []
    policy.obs_encoder.register_forward_pre_hook(lambda _, args: policy.encoded.append(len(args[0]["pose"]) // 3))
    return policy


def test_the_cache_encodes_only_what_it_has_not_seen_and_changes_nothing(cached, build):
    plain = build(n_obs_steps=3)
    plain.load_state_dict(cached.state_dict())
    windows = sliding_windows(4)

    for window in [*windows[:2], windows[3], windows[3]]:
        expected = plain.predict_action(window, seeded())["action"]
        assert torch.equal(cached.predict_action(window, seeded())["action"], expected)

    assert cached.encoded == [3, 1, 2]  # steps; the last call saw nothing new


@pytest.mark.parametrize(
    "change",
    [
        lambda policy: policy.reset(),
        lambda policy: policy.set_normalizer(normalizer()),
        lambda policy: policy.load_state_dict(policy.state_dict()),
        lambda policy: policy.double().float(),
        lambda policy: policy.train().eval(),
    ],
    ids=["reset", "set_normalizer", "load_state_dict", "converted", "trained"],
)
def test_the_cache_forgets_what_it_cannot_know_to_be_right(cached, change):
    window = sliding_windows(1)[0]
    cached.predict_action(window)

    change(cached)
    cached.predict_action(window)

    assert cached.encoded == [3, 3]


def test_the_cache_tells_the_same_numbers_of_another_type_apart(cached):
    """As an image, 1 is white as float, and nearly black as uint8."""
    window = {key: torch.ones_like(value) for key, value in sliding_windows(1)[0].items()}

    cached.predict_action(window)
    cached.predict_action({key: value.to(torch.uint8) for key, value in window.items()})

    assert cached.encoded == [3, 3]


def test_the_cache_does_not_trust_buffers_that_callers_write_to(cached, build):
    plain, window = build(n_obs_steps=3), sliding_windows(1)[0]
    plain.load_state_dict(cached.state_dict())
    cached.predict_action(window)

    window["pose"] += 1

    assert torch.equal(
        cached.predict_action(window, seeded())["action"], plain.predict_action(window, seeded())["action"]
    )


def test_the_cache_is_for_acting_only(cached):
    cached.train()
    for _ in range(2):
        cached.predict_action(sliding_windows(1)[0])

    assert cached.encoded == [3, 3]


def test_a_policy_without_statistics_says_so(build):
    with pytest.raises(InputError, match="normalizer: is empty; call set_normalizer"):
        build(is_fitted=False).predict_action(batch()["obs"])


def test_masks_are_those_of_the_original(golden):
    masks = np.load(golden("e_lowdim_mask.npz"))

    for i, case in enumerate(json.loads(golden("e_lowdim_mask_cases.json").read_text())):
        shape, seed, same = tuple(case.pop("shape")), case.pop("seed"), case.pop("second_call_identical")
        generator = LowdimMaskGenerator(case.pop("action_dim"), case.pop("obs_dim"), **case)

        mask = generator(shape, seed)

        assert np.array_equal(mask, masks[f"case{i}/mask"]), f"case {i}"
        assert torch.equal(mask, generator(shape, seed)) == same


@pytest.mark.parametrize("cache_obs_features", [False, True])
def test_observations_may_be_arrays(build, cache_obs_features):
    policy, obs = build(cache_obs_features=cache_obs_features), batch(2)["obs"]
    arrays = {"pose": obs["pose"].numpy().astype(">f4"), "grip": obs["grip"].flip(1).numpy()[:, ::-1]}

    assert torch.equal(
        policy.predict_action(arrays, seeded())["action"], policy.predict_action(obs, seeded())["action"]
    )


def test_observations_without_keys_are_refused(build):
    with pytest.raises(InputError) as caught:
        build().predict_action(batch(2)["obs"]["pose"])

    assert str(caught.value) == "obs: is a Tensor; expected {key: values} with every key of shape_meta"


def test_images_with_channels_last_are_refused_with_how_to_turn_them():
    shape_meta = {"obs": {"camera": {"shape": [3, 4, 5], "type": "rgb"}}}
    with pytest.raises(InputError) as caught:
        last_steps({"camera": np.zeros((1, 2, 4, 5, 3), np.uint8)}, shape_meta, 2, torch.device("cpu"))

    assert str(caught.value) == (
        "obs: 'camera' has shape (1, 2, 4, 5, 3); expected (B, T, 3, 4, 5), as shape_meta says; put channels first: "
        "permute(0, 1, 4, 2, 3)"
    )


# -- what is observed once, and what overflows -------------------------------------------------------------------------

GOAL = {
    "obs": {
        "pose": {"shape": [3]},
        "grip": {"shape": [1], "when": "episode"},
        "told": {"shape": [], "type": "text", "when": "episode"},
    },
    "action": {"shape": [2]},
}


def test_what_is_observed_once_may_come_without_steps():
    pose, told = torch.zeros(2, 3, 3), np.array(["push", "pull"], dtype=object)
    with_steps = {"pose": pose, "grip": torch.ones(2, 3, 1), "told": np.stack([told, told, told], axis=1)}

    seen = last_steps({"pose": pose, "grip": torch.ones(2, 1), "told": told}, GOAL, 2, torch.device("cpu"))
    expected = last_steps(with_steps, GOAL, 2, torch.device("cpu"))

    assert torch.equal(seen["grip"], expected["grip"])
    assert seen["told"].tolist() == expected["told"].tolist() == [["push", "push"], ["pull", "pull"]]


@pytest.mark.parametrize(
    ("key", "value"), [("grip", torch.tensor([[[1.0], [2.0]]])), ("told", np.array([["push", "pull"]], dtype=object))]
)
def test_what_is_observed_once_does_not_change(key, value):
    obs = {"pose": torch.zeros(1, 2, 3), "grip": torch.ones(1, 2, 1), "told": np.full((1, 2), "push", dtype=object)}
    with pytest.raises(InputError) as caught:
        last_steps({**obs, key: value}, GOAL, 2, torch.device("cpu"))

    assert str(caught.value) == (
        f"obs: '{key}' is observed once in an episode (when: episode), and its steps differ; give that of the "
        "beginning of the episode, with or without steps"
    )


def test_actions_that_overflow_are_refused(build):
    obs = {"pose": torch.full((1, 2, 3), 1e37), "grip": torch.zeros(1, 2, 1)}
    with pytest.raises(InputError) as caught:
        build().predict_action(obs)

    assert str(caught.value) == (
        "predict_action: the actions are not finite, though all observations are, whose largest magnitudes, scaled as "
        "in training to about 1, are 'pose' 1e+37, 'grip' 0; check the units of what is far above"
    )
    assert not build(check_obs=False).predict_action(obs)["action"].isfinite().all()
