"""Every modality from the recording to the act: record, zarr, data set, normaliser, policy, checkpoint, load, act."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_core.errors import ConfigError, InputError
from dp_core.interfaces import BasePolicy
from dp_core.run_config import RESOLVED_CONFIG
from dp_core.runs import load_policy, resume, start
from dp_core.testing.fakes import installed, write_distribution
from dp_replay.buffer import ReplayBuffer

PLUGIN = """
from typing import ClassVar
import attrs
from dp_core import Component, hookimpl

DP_API = 1

@attrs.frozen(kw_only=True)
class Options:
    takes: ClassVar[tuple[str, ...]] = ("rgb", "low_dim", "points", "depth", "tokens", "text")

@hookimpl
def dp_components():
    yield Component(kind="encoder", name="senses", target="dp_senses.encoder:Senses", config=Options, summary="a toy")
"""
ENCODER = """
import torch
from torch import nn
from dp_core.interfaces import BaseEncoder, modality_of

class Senses(BaseEncoder):
    def __init__(self, config, *, shape_meta):
        super().__init__()
        self.kinds = {key: type(modality_of(shape_meta, key)).__name__ for key in shape_meta["obs"]}
        self.ids = nn.Embedding(16, 4)
        self.layer = nn.Linear(4, 4)
        self.output_dim = 4 * len(self.kinds)

    def forward(self, obs):
        return torch.cat([self.features(kind, obs[key]) for key, kind in self.kinds.items()], dim=1)

    def features(self, kind, values):
        if kind == "Text":
            assert isinstance(values, list) and all(type(value) is str for value in values), values
            values = torch.tensor([[len(value) % 16] for value in values], device=self.ids.weight.device)
        if kind in ("Text", "Tokens"):
            assert values.dtype == torch.int64
            return self.ids(values).mean(1)
        assert values.dtype == torch.float32 and not values.abs().max() > 1.01
        flat = values.reshape(len(values), -1)
        return self.layer(torch.stack([flat.mean(1), flat.amin(1), flat.amax(1), flat[:, 0]], dim=1))
"""
N_EPISODES, N_STEPS = 4, 12
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path) -> Iterator[None]:
    """An encoder ``senses`` that takes everything."""
    write_distribution(tmp_path / "site", "dp-senses", "1.0", {"senses": {"plugin.py": PLUGIN, "encoder.py": ENCODER}})
    with installed(tmp_path / "site"):
        yield


def trained(config: Path, spec: str, recorded: Any, *overrides: str, once: bool = False) -> tuple[BasePolicy, Path]:
    """Record ``recorded(step count)`` as ``seen``, train on it, and load what was trained."""
    buffer = ReplayBuffer()
    for _ in range(N_EPISODES):
        steps = {"state": RNG.normal(size=(N_STEPS, 3)), "action": RNG.normal(size=(N_STEPS, 2))}
        if once:
            buffer.append(steps, once={"seen": recorded(1)[0]})
        else:
            buffer.append({**steps, "seen": recorded(N_STEPS)})
    buffer.save(config.parent / "tiny.zarr", overwrite=True)
    run = config.parent / "run"
    changes = ["policy.encoder=senses", f"shape_meta.obs.seen={spec}", "training.num_epochs=1", f"output_dir={run}"]
    workspace = start(config, [*changes, *overrides])
    return load_policy(workspace.get_checkpoint_path()), run


def act(policy: BasePolicy, seen: Any) -> torch.Tensor:
    """What the policy does with ``seen``, (1, To, *shape)."""
    generator = torch.Generator().manual_seed(0)
    return policy.predict_action({"state": torch.zeros(1, 2, 3), "seen": seen}, generator)["action"]


def test_point_clouds(tiny_config: Path) -> None:
    """One scale for all points, so that a cube stays a cube; further channels have their own."""
    sides = np.array([4.0, 1.0, 1.0, 255.0])

    def cloud(n_steps: int) -> Any:
        return RNG.random((n_steps, 64, 4)) * sides

    policy, _ = trained(tiny_config, "{shape: [64, 4], type: points, frame: base}", cloud)

    scale = policy.normalizer["seen"].scale
    assert scale.shape == (4,)
    assert scale[0] == scale[1] == scale[2] == pytest.approx(2 / 4, rel=0.01)
    assert scale[3] == pytest.approx(2 / 255, rel=0.01)
    assert act(policy, cloud(2)[None]).shape == (1, 4, 2)
    with pytest.raises(
        InputError, match=r"'seen' is torch.float64 with values from nan to nan; expected finite numbers"
    ):
        act(policy, np.full((1, 2, 64, 4), np.nan))


def test_depth(tiny_config: Path) -> None:
    """Millimetres in 16 bits and metres in floats are one; one scale for the whole image."""

    def depth(n_steps: int) -> Any:
        return RNG.integers(400, 40_000, (n_steps, 1, 8, 8), dtype=np.uint16)

    policy, _ = trained(tiny_config, "{shape: [1, 8, 8], type: depth, scale: 0.001}", depth)

    field = policy.normalizer["seen"]
    assert field.scale.shape == (1,)
    assert float(field.input_stats["max"]) == pytest.approx(40, rel=0.02)
    millimetres = depth(2)[None]
    metres = millimetres.astype(np.float64) / 1000
    assert torch.allclose(act(policy, millimetres), act(policy, metres), atol=1e-5)
    assert torch.equal(act(policy, torch.from_numpy(millimetres)), act(policy, millimetres))
    with pytest.raises(InputError, match=r"'seen' is torch.float64 with values from -1 to -1; expected depth: whole"):
        act(policy, np.full((1, 2, 1, 8, 8), -1.0))


def test_tokens(tiny_config: Path) -> None:
    """Ids reach the encoder as int64, whatever they were stored as, and have no statistics."""

    def ids(n_steps: int) -> Any:
        return RNG.integers(0, 16, (n_steps, 5), dtype=np.int32)

    policy, _ = trained(tiny_config, "{shape: [5], type: tokens, vocabulary_size: 16}", ids)

    assert policy.normalizer.keys() == ["state", "action"]
    assert not [name for name in policy.state_dict() if "seen" in name]
    assert not torch.equal(act(policy, np.zeros((1, 2, 5), np.int16)), act(policy, np.ones((1, 2, 5), np.int64)))
    with pytest.raises(
        InputError, match=r"'seen' is torch.int64 with values from 16 to 16; expected ids: whole numbers"
    ):
        act(policy, np.full((1, 2, 5), 16))


def test_text(tiny_config: Path) -> None:
    """Strings reach the encoder as they are, through processes that load batches, too; a run with them is resumed."""

    def saying(n_steps: int) -> Any:
        return [RNG.choice(["stop", "push the block"])] * n_steps

    workers = ("dataloader.num_workers=1", "val_dataloader.num_workers=1")
    policy, run = trained(tiny_config, "{shape: [], type: text}", saying, *workers)

    assert not torch.equal(act(policy, [["stop"] * 2]), act(policy, np.array([["push the block"] * 2])))
    with pytest.raises(InputError, match=r"^obs: 'seen' has 7 in it; expected strings, \(B, T\) in an array of numpy"):
        act(policy, [[7, 7]])
    assert resume(run, ["training.num_epochs=2"]).progress.epoch == 2


def test_a_goal_is_recorded_once_and_seen_at_every_step(tiny_config: Path) -> None:
    def goal(_: int) -> Any:
        return RNG.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)

    policy, run = trained(tiny_config, "{shape: [3, 8, 8], type: rgb, when: episode}", goal, once=True)

    assert "when: episode" in (run / RESOLVED_CONFIG).read_text()
    goals = ReplayBuffer.load(tiny_config.parent / "tiny.zarr")
    assert goals["seen"].shape == (N_EPISODES, 8, 8, 3)
    assert act(policy, np.zeros((1, 2, 3, 8, 8), np.uint8)).shape == (1, 4, 2)


def test_an_inherited_observation_is_left_out_with_null(tiny_config: Path, tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text(f"extends: [{tiny_config}]\nshape_meta: {{obs: {{state: null, seen: {{shape: []}}}}}}\n")

    policy, _ = trained(tiny_config, "{shape: []}", lambda n_steps: RNG.normal(size=n_steps))
    assert policy.normalizer["seen"].scale.shape == (1,), "scalars have a scale"

    overrides = ["policy.encoder=senses", f"output_dir={tmp_path / 'child'}", "training.num_epochs=1"]
    alone = load_policy(start(child, overrides).get_checkpoint_path())
    assert list(alone.shape_meta["obs"]) == ["seen"]  # type: ignore[attr-defined]
    with pytest.raises(ConfigError) as caught:
        start(tiny_config, ["shape_meta.obs=null", *overrides])
    assert caught.value.problems[0].message == (
        "expected a mapping of observation keys, got null; to leave out an inherited one, set its key to null "
        "(from the command line)"
    )


def test_rules_of_others_see_short_names_whatever_was_saved(tiny_config: Path, tmp_path: Path) -> None:
    """``spec.get("type") == "rgb"`` is what plugins write; checkpoints hold ``dp-core/rgb``."""
    rule = PLUGIN.replace(
        "@hookimpl",
        "    def check(self, shape_meta):\n"
        '        if types := [s["type"] for s in shape_meta["obs"].values() if "/" in s["type"]]:\n'
        '            yield "name", f"sees {types}"\n\n@hookimpl',
    )
    (tmp_path / "site" / "dp_senses" / "plugin.py").write_text(rule)

    policy, run = trained(tiny_config, "{shape: []}", lambda n_steps: RNG.normal(size=n_steps))

    assert "type: dp-core/low_dim" in (run / RESOLVED_CONFIG).read_text()
    assert type(policy.shape_meta).__name__ == "ShapeMeta"  # type: ignore[attr-defined]
