"""Each preset against the original's own config of that task and network, option by option."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dp_callbacks.config import TopKConfig
from dp_convert.original.checkpoint import convert_config
from dp_core.config import structure_run, unstructure
from dp_core.registry import Registry
from dp_core.run_config import load_config

ROOT = Path(__file__).parents[2]
ORIGINAL = json.loads(gzip.decompress((ROOT / "tests/golden/p_original_configs.json.gz").read_bytes()))
"""The original's configs by the name of our preset (tests/golden/README.md, p)."""

STEPS = ("horizon", "n_obs_steps", "n_action_steps")
IGNORED = {
    "where files are": ("dataset.path", "runner.path", "output_dir", "run_name"),
    "how many simulations run at once": ("runner.n_envs", "runner.num_workers"),
    "what is filmed": ("runner.n_test_vis", "runner.render_hw", "runner.render_obs_key"),
    "low-dimensional encoders have no weights": ("optimizer.encoder_weight_decay",),
}

# The original has one config for all tasks; the paper's tables 7 and 8 have a row for each, and decide.
PAPER = {
    "all states with the CNN: 256 million parameters": (
        ("robomimic/*_lowdim_unet", "kitchen_lowdim_unet", "blockpush_lowdim_unet", "pusht_lowdim_unet_inpainting"),
        {"policy.denoiser.diffusion_step_embed_dim": 128, "policy.denoiser.down_dims": [512, 1024, 2048]},
    ),
    "robomimic from states with the transformer": (
        ("robomimic/*_lowdim_transformer",),
        {"horizon": 10, "n_obs_steps": 2, "n_action_steps": 8},
    ),
    "tool hang has larger images": (
        ("robomimic/tool_hang_ph_image_*",),
        {"policy.encoder.crop_shape": [216, 216]},
    ),
    "Push-T has larger crops": (("pusht_image_*",), {"policy.encoder.crop_shape": [84, 84]}),
    "Push-T with the transformer": (
        ("pusht_image_transformer_hybrid",),
        {"horizon": 16, "policy.denoiser.p_drop_attn": 0.01, "optimizer.weight_decay": 0.1},
    ),
    "kitchen in positions": (
        ("kitchen_lowdim_unet",),
        {"dataset.abs_action": True, "runner.abs_action": True, "dataset.robot_noise_ratio": 0.1},
    ),
    "block pushing in velocities, one action at a time": (
        ("blockpush_lowdim_unet",),
        {"horizon": 12, "n_obs_steps": 3, "n_action_steps": 1, "runner.abs_action": False},
    ),
    "Push-T on a robot: six actions at a time, sampled in 16 steps, which the original does there as well": (
        ("real_pusht_image_*",),
        {"n_action_steps": 6, "policy.scheduler.num_inference_steps": 16},
    ),
    "the original's average keeps buffers, which are those of frozen networks here and in the paper": (
        ("real_pusht_image_unet_imagenet", "real_pusht_image_unet_r3m"),
        {"ema.buffers": "keep"},
    ),
    "Push-T on a robot with the transformer: 80 million parameters": (
        ("real_pusht_image_transformer_hybrid",),
        {"policy.denoiser.n_emb": 768},
    ),
}

R3M = {
    "name": "dp-core/r3m", "model_name": "resnet18", "pretrained": True, "checkpoint_path": None, "download": False,
    "frozen": True, "lr_multiplier": 1.0, "random_crop": False, "share_rgb_model": True,
}  # fmt: skip
"""The original feeds R3M's network as one of torchvision; here it is an encoder of its own, as its authors made it."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, value


def of_the_original(name: str, registry: Registry) -> dict[str, Any]:
    config = unstructure(structure_run(registry, convert_config(ORIGINAL[name], name, []), name))
    if ORIGINAL[name]["policy"].get("obs_encoder", {}).get("rgb_model", {}).get("weights") == "r3m":
        config["policy"]["encoder"] = R3M
    return dict(leaves(config))


def of_the_paper(name: str, original: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for names, changes in PAPER.values():
        if any(Path(name).match(pattern) for pattern in names):
            values.update(changes)
    for step in STEPS:
        if step in values:
            paths = (f"{part}.{step}" for part in ("policy", "dataset", "runner"))
            values |= {path: values[step] for path in paths if path in original}
    return values


@pytest.mark.parametrize("name", sorted(ORIGINAL))
def test_a_preset_has_the_values_of_the_original_s_config_or_of_the_paper(name: str, registry: Registry) -> None:
    theirs = of_the_original(name, registry)
    config: Any = load_config(registry, ROOT / f"configs/{name}.yaml")
    ours = dict(leaves(unstructure(config)))

    ignored = {path for paths in IGNORED.values() for path in paths}
    expected = {**theirs, **of_the_paper(name, theirs)}
    compared = {path for path in expected.keys() | ours.keys() if path not in ignored and "callbacks" not in path}
    assert {path: ours.get(path) for path in compared} == {path: expected.get(path) for path in compared}
    kept = [path for path in theirs if path.startswith("callbacks.topk")]
    topk: TopKConfig = config.callbacks["topk"].config
    chosen = (topk.metric(config.measures), topk.order(config.measures), topk.file_name(config.measures))
    of_topk = dict(zip(("monitor_key", "mode", "format_str"), chosen, strict=True))  # what null stands for
    ours |= {f"callbacks.topk.{option}": value for option, value in of_topk.items()}
    assert kept
    assert {path: ours[path] for path in kept} == {path: theirs[path] for path in kept}


def test_every_preset_has_an_original() -> None:
    runnable = {str(path.relative_to(ROOT / "configs"))[:-5] for path in ROOT.glob("configs/*.yaml")}
    robomimic = {f"robomimic/{path.stem}" for path in ROOT.glob("configs/robomimic/*.yaml")}

    assert (runnable | robomimic) - {"quickstart", "quickstart_image", "smoke"} == set(ORIGINAL)
