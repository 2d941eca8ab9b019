"""Encoders side by side: what each is given, what comes of it, and what is refused."""

import pytest
import torch
from torch import nn

from dp_core.errors import ConfigError, DpError

SHAPE_META = {
    "obs": {
        "front": {"shape": [3, 32, 32], "type": "rgb"},
        "state": {"shape": [3], "type": "low_dim"},
        "wrist": {"shape": [3, 16, 16], "type": "rgb"},
        "grip": {"shape": [2], "type": "low_dim"},
    },
    "action": {"shape": [2]},
}
CNN = {"name": "cnn", "channels": [4, 8], "feature_dimension": 6}
PATCHES = {"name": "timm", "model_name": "test_vit", "feature_aggregation": "tokens"}
OVER_TIME = {"name": "temporal", "encoder": "lowdim", "n_emb": 8, "n_head": 2, "n_layer": 1}


@pytest.fixture
def build(registry):
    def build_concat(parts, *, shape_meta=SHAPE_META, seed=0, runtime=None, **options):
        torch.manual_seed(seed)
        block = {"name": "concat", "parts": parts, **options}
        return registry.build("encoder", block, shape_meta=shape_meta, **(runtime or {})).eval()

    return build_concat


def observations(*lead):
    generator = torch.Generator().manual_seed(0)
    obs = {
        key: 2 * torch.rand(*lead, *spec["shape"], generator=generator) - 1 for key, spec in SHAPE_META["obs"].items()
    }
    return obs


def task(*keys):
    return {"obs": {key: SHAPE_META["obs"][key] for key in keys}, "action": {"shape": [2]}}


def test_vectors_are_those_of_the_parts_in_their_order(build, registry):
    encoder = build({"rest": {"encoder": "lowdim"}, "cameras": {"keys": ["wrist", "front"], "encoder": CNN}})
    torch.manual_seed(0)
    states = registry.build("encoder", "lowdim", shape_meta=task("state", "grip"))
    cameras = registry.build("encoder", CNN, shape_meta=task("front", "wrist")).eval()
    obs = observations(5)

    expected = torch.cat([states({key: obs[key] for key in ("state", "grip")}), cameras(obs)], dim=-1)
    assert encoder.output_dim == 5 + 2 * 6
    assert torch.equal(encoder(obs), expected)


def test_weights_are_named_by_part(build):
    encoder = build({"cameras": {"keys": ["front", "wrist"], "encoder": CNN}, "touch": {"encoder": "lowdim"}})

    names = list(encoder.state_dict())
    assert all(name.startswith("parts.cameras.nets.") for name in names)
    assert "parts.cameras.nets.front.2.weight" in names


def test_a_key_may_be_given_to_two_parts(build):
    parts = {"a": {"keys": ["state", "grip"], "encoder": "lowdim"}, "b": {"keys": ["state"], "encoder": "lowdim"}}
    encoder, obs = build(parts, shape_meta=task("state", "grip")), observations(2)

    assert torch.equal(encoder(obs), torch.cat([obs["state"], obs["grip"], obs["state"]], dim=-1))


def test_tokens_of_all_parts_are_of_one_size_and_a_vector_is_one(build):
    parts = {"eye": {"keys": ["front"], "encoder": PATCHES}, "rest": {"keys": ["state"], "encoder": "lowdim"}}
    shape_meta = task("front", "state")
    encoder, obs = build(parts, shape_meta=shape_meta, token_dim=10), observations(2)

    tokens = encoder(obs)
    assert tokens.shape == (2, encoder.n_tokens, encoder.output_dim) == (2, 4 + 1, 10)
    assert torch.equal(tokens[:, 4], encoder.projections["rest"](obs["state"]))
    assert build(parts, shape_meta=shape_meta).output_dim == encoder.parts["eye"].output_dim


def test_parts_that_see_steps_are_given_those_of_a_window_oldest_first(build):
    parts = {"grip": {"keys": ["grip"], "encoder": "lowdim"}, "state": {"encoder": OVER_TIME}}
    encoder = build(parts, shape_meta=task("state", "grip"), runtime={"n_obs_steps": 3})
    obs = observations(2, 3)

    features = encoder(obs)
    assert features.shape == (2, encoder.output_dim) == (2, 3 * 2 + 8)
    assert torch.equal(features[:, :6], obs["grip"].flatten(1))
    assert torch.equal(features[:, 6:], encoder.parts["state"](obs))


def test_parts_may_have_parts(build):
    inner = {"name": "concat", "parts": {"g": {"keys": ["grip"], "encoder": "lowdim"}, "s": {"encoder": "lowdim"}}}
    encoder = build({"cameras": {"keys": ["front", "wrist"], "encoder": CNN}, "touch": {"encoder": inner}})
    obs = observations(2)

    assert torch.equal(encoder(obs)[:, 12:], torch.cat([obs["grip"], obs["state"]], dim=-1))


def test_optimizers_find_the_rates_of_the_parts(build, registry):
    part = {"name": "timm", "model_name": "test_resnet", "lr_multiplier": 0.1}
    encoder = build({"front": {"keys": ["front"], "encoder": part}, "wrist": {"keys": ["wrist"], "encoder": CNN}},
                    shape_meta=task("front", "wrist"))  # fmt: skip
    policy = nn.ModuleDict({"obs_encoder": encoder})
    optimizer = registry.build("optimizer", {"name": "adamw", "lr": 1e-2}, policy=policy)

    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in encoder.parts["front"].parameters()} == {1e-3}
    assert {rates[id(p)] for p in encoder.parts["wrist"].parameters()} == {1e-2}


LOWDIM = {"encoder": "lowdim"}
STATES = {"keys": ["state", "grip"], **LOWDIM}
EYES = {"keys": ["front", "wrist"], "encoder": CNN}
REFUSED = {
    "no part": ({}, {}, "parts: are missing; name at least one"),
    "an unknown key": (
        {"a": {"keys": ["frnt", "wrist"], "encoder": CNN}, "b": LOWDIM},
        {},
        "parts.a.keys: 'frnt' is not a key of shape_meta; did you mean 'front'?",
    ),
    "no key": (
        {"a": {"keys": [], "encoder": CNN}, "b": {"encoder": CNN}},
        {},
        "parts.a.keys: is empty; name keys, or leave it out for those that no part names",
    ),
    "a key twice": (
        {"a": {"keys": ["front", "front"], "encoder": CNN}, "b": LOWDIM},
        {},
        "parts.a.keys: 'front' is there twice; once is enough",
    ),
    "two that get the rest": (
        {"a": EYES, "b": LOWDIM, "c": LOWDIM},
        {},
        "parts.c.keys: are missing, as are those of 'b'; only one part gets what is left",
    ),
    "nothing left": (
        {"a": EYES, "b": STATES, "c": LOWDIM},
        {},
        "parts.c: the other parts have all keys, and leave nothing to it; leave it out",
    ),
    "keys left over": (
        {"a": EYES},
        {},
        "parts: 'state' and 'grip' are given to no part; add to the keys of one, or add a part without keys",
    ),
    "a name that is none of weights": (
        {"a.b": EYES, "b": LOWDIM},
        {},
        "parts.a.b: names weights; use letters, digits and underscores",
    ),
    "the size of tokens without any": (
        {"a": EYES, "b": LOWDIM},
        {"token_dim": 8},
        "token_dim: is of tokens, and no part gives any; leave it out",
    ),
    "a type that a part does not take": (
        {"a": {"keys": ["front", "state"], **LOWDIM}, "b": {"encoder": CNN}},
        {},
        "parts.a.encoder: lowdim takes keys of type low_dim; 'front' is rgb; choose another encoder, or give it to "
        "another part, see encoder 'concat'",
    ),
    "a crop that does not fit an image of the part": (
        {"a": {"keys": ["wrist"], "encoder": {**CNN, "crop_shape": [20, 20]}}, "b": {"encoder": CNN}},
        {},
        "parts.a.encoder.crop_shape: [20, 20] is larger than the image (16, 16) of 'wrist'; choose at most 16 x 16",
    ),
}


@pytest.mark.parametrize(("parts", "options", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_divided_is_refused(build, parts, options, problem):
    with pytest.raises(ConfigError) as caught:
        build(parts, **options)

    assert [str(each) for each in caught.value.problems] == [problem]


def test_rules_of_a_part_do_not_see_the_keys_of_others(build):
    crop = {**CNN, "crop_shape": [20, 20]}  # larger than images of the wrist

    assert build({"front": {"keys": ["front"], "encoder": crop}, "others": {"encoder": CNN}}).output_dim == 6 + 6 + 5


def test_words_that_torch_uses_are_no_names_of_parts(build):
    with pytest.raises(DpError) as caught:
        build({"keys": EYES, "b": LOWDIM})

    assert str(caught.value) == "encoder 'concat': no part can be called 'keys', a word that torch uses; rename it"
