"""Sentences as features: what is embedded, what is remembered, what a checkpoint holds, what is absent."""

import copy
import json
import pickle
import shutil
import socket

import pytest
import torch

from dp_core.errors import ConfigError, DpError, InputError
from dp_core.pretrained import skip_pretrained_weights

pytest.importorskip("transformers")

SHAPE_META = {"obs": {"instruction": {"shape": [], "type": "text"}}, "action": {"shape": [2]}}
SENTENCES = ["push the block left", "pull the block right", "push the block left"]


@pytest.fixture
def build(registry, embedder_folder):
    def build_encoder(*, seed=0, **options):
        torch.manual_seed(seed)
        block = {"name": "sentence", "checkpoint_path": str(embedder_folder), "feature_dimension": 4, **options}
        return registry.build("encoder", block, shape_meta=SHAPE_META).eval()

    return build_encoder


def encoded(encoder, *sentences):
    return encoder({"instruction": list(sentences)})


def test_equal_sentences_have_equal_features_and_others_other_ones(build):
    features = encoded(build(), *SENTENCES)

    assert features.shape == (3, 4)
    assert torch.equal(features[0], features[2])
    assert not torch.allclose(features[0], features[1])


def test_it_gives_the_mean_of_the_words_that_transformers_gives(build, embedder_folder):
    from transformers import AutoModel, AutoTokenizer

    encoder = build()
    words = AutoModel.from_pretrained(embedder_folder)(**AutoTokenizer.from_pretrained(embedder_folder)(
        SENTENCES[0], return_tensors="pt")).last_hidden_state  # fmt: skip

    assert torch.allclose(encoder.embedder([SENTENCES[0]]), words.mean(1), atol=1e-6)
    assert torch.allclose(build(pooling="cls").embedder([SENTENCES[0]]), words[:, 0], atol=1e-6)


def test_a_shorter_sentence_is_embedded_as_alone(build):
    embedder = build().embedder
    together = embedder(["push", "push the block left"])

    assert torch.allclose(together[:1], embedder(["push"]), atol=1e-5)


def test_the_pooling_is_the_one_that_the_folder_notes(build, embedder_folder, tmp_path):
    folder = shutil.copytree(embedder_folder, tmp_path / "copy")
    (folder / "1_Pooling").mkdir()
    note = folder / "1_Pooling" / "config.json"
    note.write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert build(checkpoint_path=str(folder)).embedder.description.pooling == "cls"

    note.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(DpError) as caught:
        build(checkpoint_path=str(folder))
    assert str(caught.value) == (
        f"encoder 'sentence': {note} asks for a pooling other than 'mean' and 'cls'; set 'pooling' to one"
    )


def test_a_frozen_embedder_looks_at_every_sentence_once(build):
    encoder, looked_at = build(), []
    encoder.embedder.register_forward_pre_hook(lambda _, args: looked_at.extend(args[0]))
    first = encoded(encoder.train(), *SENTENCES)

    assert torch.equal(encoded(encoder, *SENTENCES), first)
    assert looked_at == SENTENCES[:2]
    assert not encoder.embedder.training
    first.sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is not None] == [
        "norm.weight", "norm.bias", "projection.weight", "projection.bias"
    ]  # fmt: skip


def test_what_is_remembered_has_full_precision(build):
    encoder = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoded(encoder, *SENTENCES).dtype == torch.bfloat16

    assert torch.equal(encoded(encoder, *SENTENCES), encoded(build(), *SENTENCES))


def test_an_embedder_that_is_not_frozen_learns_at_its_own_rate(build):
    encoder = build(frozen=False, lr_multiplier=0.1)
    encoded(encoder, *SENTENCES).square().sum().backward()

    names = {name for name, p in encoder.named_parameters() if p.grad is not None}
    assert encoder.lr_multipliers().keys() == {name for name, _ in encoder.named_parameters() if "embedder" in name}
    assert "embedder.model.embeddings.word_embeddings.weight" in names


def test_a_checkpoint_needs_no_file_of_the_embedder(build, tmp_path):
    trained = build()
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    with skip_pretrained_weights():
        other = build(checkpoint_path="/nowhere", seed=1)
    parameters = [other.projection.weight, other.norm.weight]  # an optimizer may have them already
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))

    assert torch.equal(encoded(other, *SENTENCES), encoded(trained, *SENTENCES))
    assert [other.projection.weight is parameters[0], other.norm.weight is parameters[1]] == [True, True]


def test_the_embedder_of_the_checkpoint_counts_and_not_that_of_the_folder(build, write_embedder, tmp_path):
    with skip_pretrained_weights():
        other = build(checkpoint_path=str(write_embedder(tmp_path, hidden_size=4)))
    other.load_state_dict(build().state_dict())

    assert torch.equal(encoded(other, *SENTENCES), encoded(build(), *SENTENCES))


def test_copies_say_the_same(build):
    encoder = build()
    expected = encoded(encoder, *SENTENCES)

    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert torch.equal(encoded(other, *SENTENCES), expected)


def test_a_sentence_that_is_too_long_is_refused(build):
    with pytest.raises(InputError) as caught:
        encoded(build(), "push the block left the block left")

    assert str(caught.value) == (
        "encoder 'sentence': 'push the block left the block left' has 9 tokens; the embedder takes 8 at most; say it "
        "in fewer words"
    )


def test_weights_out_of_reach_are_reported_in_one_line(build, monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DpError) as caught:
        build(checkpoint_path=None, model_name="nobody/has-this")

    assert str(caught.value) == (
        "encoder 'sentence': 'nobody/has-this' is not in the cache and cannot be fetched from https://huggingface.co; "
        "set 'checkpoint_path' to a folder that holds it"
    )


def test_what_is_no_embedder_is_said_in_one_line(build, tmp_path):
    with pytest.raises(DpError) as absent:
        build(checkpoint_path=str(tmp_path / "absent"))
    with pytest.raises(DpError) as empty:
        build(checkpoint_path=str(tmp_path))

    assert str(absent.value) == f"encoder 'sentence': folder '{tmp_path / 'absent'}' does not exist"
    assert str(empty.value).startswith(
        f"encoder 'sentence': '{tmp_path}' holds no sentence embedder that transformers can read: "
    )
    assert "\n" not in str(empty.value)


def test_a_folder_without_all_weights_is_refused(build, embedder_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(embedder_folder, tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    del weights["embeddings.word_embeddings.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DpError) as caught:
        build(checkpoint_path=str(folder))

    assert str(caught.value) == (
        f"encoder 'sentence': '{folder}' holds no 'embeddings.word_embeddings.weight'; 1 of the 21 weights expected "
        "are absent; choose a sentence embedder, such as sentence-transformers/all-MiniLM-L6-v2"
    )


def test_nothing_is_encoded_and_trained_before_there_is_an_embedder(build):
    with skip_pretrained_weights():
        encoder = build(checkpoint_path="/nowhere", frozen=False)
    with pytest.raises(DpError) as acting:
        encoded(encoder, "push")
    with pytest.raises(DpError) as training:
        encoder.lr_multipliers()

    assert str(acting.value) == "encoder 'sentence': has no embedder yet; load the weights that it was built for"
    assert str(training.value) == (
        "encoder 'sentence': training an embedder that is not 'frozen' needs its files, and '/nowhere' is not a folder "
        "here; set 'checkpoint_path' to one that holds them"
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"checkpoint_path": None}, "checkpoint_path: and 'model_name' are both missing; choose one of them"),
        ({"model_name": "a/b"}, "checkpoint_path: and 'model_name' are both set; choose one of them"),
        (
            {"lr_multiplier": 0.1},
            "lr_multiplier: is set, and an embedder that is 'frozen' does not learn; leave one of them out",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(build, options, problem):
    with pytest.raises(ConfigError) as caught:
        build(**options)

    assert [str(each) for each in caught.value.problems] == [problem]
