"""One policy, two tasks: it does what it is told, before and after a checkpoint."""

import pytest
import torch

from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_core.pretrained import skip_pretrained_weights

pytest.importorskip("transformers")

SHAPE_META = {
    "obs": {"state": {"shape": [1]}, "instruction": {"shape": [], "type": "text"}},
    "action": {"shape": [1]},
}
DIRECTIONS = {"push the block left": -1.0, "push the block right": 1.0}


@pytest.fixture
def build(registry):
    def build_policy(folder):
        torch.manual_seed(0)
        sentence = {"name": "sentence", "checkpoint_path": str(folder), "feature_dimension": 8}
        parts = {"task": {"keys": ["instruction"], "encoder": sentence}, "states": {"encoder": "lowdim"}}
        block = {
            "name": "diffusion", "horizon": 4, "n_obs_steps": 2, "n_action_steps": 2, "cache_obs_features": True,
            "encoder": {"name": "concat", "parts": parts},
            "denoiser": {"name": "dit1d", "n_layer": 1, "n_head": 2, "n_emb": 32, "p_drop": 0.0},
            "scheduler": {"name": "flow_matching", "num_inference_steps": 4},
        }  # fmt: skip
        policy = registry.build("policy", block, shape_meta=SHAPE_META)
        normalizer = LinearNormalizer(SHAPE_META)
        for key in ("state", "action"):
            normalizer[key] = SingleFieldLinearNormalizer.create_identity()
        policy.set_normalizer(normalizer)
        return policy

    return build_policy


def observed(sentences, state=0.0):
    return {
        "state": torch.full((len(sentences), 2, 1), state),
        "instruction": [[sentence, sentence] for sentence in sentences],
    }


def told(policy):
    """The mean of the actions that follow each of the instructions."""
    sentences = [sentence for sentence in DIRECTIONS for _ in range(8)]
    actions = policy.eval().predict_action(observed(sentences), torch.Generator().manual_seed(0))["action"]
    return dict(zip(DIRECTIONS, actions.reshape(2, -1).mean(1).tolist(), strict=True))


def test_actions_follow_the_sentence_alone(build, registry, embedder_folder, tmp_path):
    policy = build(embedder_folder)
    optimizer = registry.build("optimizer", {"name": "adamw", "lr": 3e-3}, policy=policy)
    draw = torch.Generator().manual_seed(0)
    sentences = [sentence for sentence in DIRECTIONS for _ in range(16)]
    actions = torch.tensor([DIRECTIONS[sentence] for sentence in sentences])[:, None, None].expand(-1, 4, 1)
    for _ in range(150):
        loss = policy.train().compute_loss({"obs": observed(sentences), "action": actions}, draw)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    expected = told(policy)
    assert expected == pytest.approx(DIRECTIONS, abs=0.2)

    torch.save(policy.state_dict(), tmp_path / "policy.pt")
    with skip_pretrained_weights():
        other = build("/another/machine")
    other.load_state_dict(torch.load(tmp_path / "policy.pt", weights_only=True))
    assert told(other) == expected
