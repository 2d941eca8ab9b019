"""Every encoder with every denoiser, scheduler and way of conditioning: it works, or ``--check`` says why it cannot.

What works trains a step, acts, and acts in the very same way after it went through a checkpoint file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from torch import Tensor

from dp_core import load_policy
from dp_core.cli.run import main as dp_run
from dp_core.config.structure import structure_run
from dp_core.interfaces import BasePolicy
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_core.registry import Registry

STATE = {"state": {"shape": [3], "type": "low_dim"}}
CAMERA = {"front": {"shape": [3, 40, 40], "type": "rgb"}}

ENCODERS: dict[str, dict[str, Any]] = {
    "cnn": {"crop_shape": [36, 36], "channels": [4, 8], "feature_dimension": 8},
    "concat": {
        "parts": {
            "states": {"encoder": "lowdim"},
            "eye": {"keys": ["front"], "encoder": {"name": "cnn", "crop_shape": [36, 36], "channels": [4]}},
        }
    },
    "lerobot": {"crop_shape": [36, 36], "spatial_softmax_num_keypoints": 4},
    "lowdim": {},
    "multi_image": {"crop_shape": [36, 36], "use_group_norm": True},
    "r3m": {"pretrained": False},
    "robomimic": {"crop_shape": [36, 36], "feature_dimension": 8, "num_kp": 4},
    "timm": {"model_name": "test_resnet", "crop_shape": [36, 36]},
}
ENCODERS_ELSEWHERE = {"pointnet", "sentence", "temporal", "token_embedding"}
"""For other observations, or for windows, which are conditions of the whole trajectory only; see their own tests."""
RESNETS = {"lerobot", "multi_image", "r3m", "robomimic"}
"""Encoders with eleven million parameters, whatever their options: they get few images."""
DENOISERS: dict[str, dict[str, Any]] = {
    "dit1d": {"n_layer": 1, "n_head": 2, "n_emb": 16},
    "transformer": {"n_layer": 1, "n_head": 2, "n_emb": 16},
    "unet1d": {"down_dims": [8, 16], "diffusion_step_embed_dim": 8, "kernel_size": 3, "n_groups": 4},
}
SCHEDULERS: dict[str, dict[str, Any]] = {
    "ddim": {"num_inference_steps": 3},
    "ddpm": {"num_train_timesteps": 5},
    "dpm_solver": {"num_inference_steps": 3},
    "flow_matching": {"num_inference_steps": 3, "solver": "heun"},
    "mip": {},
}
SCHEDULERS_ELSEWHERE = {"mean_flow", "diffusers"}
"""`tests/plugins/dp_schedulers`: networks of the one have a second time, the other's processes are those above."""
MODES: dict[str, dict[str, Any]] = {
    "global": {},
    "local": {"obs_as_global_cond": False, "obs_as_local_cond": True},
    "inpainting": {"obs_as_global_cond": False},
}
SENSELESS = {("transformer", "local")}
"""Pairs of denoiser and mode, see `test_a_transformer_takes_no_local_condition`."""

PAIRS = [pair for pair in itertools.product(DENOISERS, MODES) if pair not in SENSELESS]


def size_of(encoder: str) -> tuple[dict[str, int], int]:
    """Window and batch size."""
    if encoder in RESNETS:
        return {"horizon": 2, "n_obs_steps": 1, "n_action_steps": 2}, 1
    return {"horizon": 4, "n_obs_steps": 2, "n_action_steps": 2}, 2


def config(encoder: str, denoiser: str, mode: str, scheduler: str, **options: Any) -> dict[str, Any]:
    """Of a run; ``options`` are the scheduler's."""
    obs = STATE if encoder == "lowdim" else CAMERA | STATE
    window, _ = size_of(encoder)
    return {
        "workspace": "train",
        "shape_meta": {"obs": obs, "action": {"shape": [2]}},
        **window,
        "dataset": {"name": "replay", "path": "demonstrations.zarr", "full_obs_horizon": True, **window},
        "policy": {
            "name": "diffusion",
            **window,
            **MODES[mode],
            "encoder": {"name": encoder, **ENCODERS[encoder]},
            "denoiser": {"name": denoiser, **DENOISERS[denoiser]},
            "scheduler": {"name": scheduler, **SCHEDULERS[scheduler], **options},
        },
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "ema": None,
        "training": {"num_epochs": 1, "device": "cpu"},
    }


def random_batch(data: dict[str, Any], device: str = "cpu") -> dict[str, Any]:
    """Images and states of a whole window, and actions, for the config of a run."""
    generator = torch.Generator().manual_seed(0)
    _, batch_size = size_of(data["policy"]["encoder"]["name"])
    shape_meta, n_steps = data["shape_meta"], data["horizon"]
    obs = {}
    for key, spec in shape_meta["obs"].items():
        shape = (batch_size, n_steps, *spec["shape"])
        if spec["type"] == "rgb":
            obs[key] = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(device)
        else:
            obs[key] = torch.rand(shape, generator=generator).to(device)
    action = torch.rand(batch_size, n_steps, *shape_meta["action"]["shape"], generator=generator)
    return {"obs": obs, "action": action.to(device)}


def statistics(batch: dict[str, Any]) -> LinearNormalizer:
    """Of the state and the action; images are in [0, 1]."""
    normalizer = LinearNormalizer()
    for key, value in (batch["obs"] | {"action": batch["action"]}).items():
        is_image = value.dtype == torch.uint8
        create = SingleFieldLinearNormalizer
        normalizer[key] = create.create_image() if is_image else create.create_fit(value.cpu())
    return normalizer


class Numerics(NamedTuple):
    """Where and how exactly networks are computed."""

    device: str = "cpu"
    autocast: bool = False

    def __call__(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device, dtype=torch.bfloat16) if self.autocast else nullcontext()


class RoundTrip(NamedTuple):
    """A policy that was trained, and what became of it in a checkpoint file. Schedulers have no weights: all share it.

    Building, writing and reading a ResNet-18 takes a second; with one for each scheduler it would take minutes.
    """

    trained: Any
    loaded: Any
    schedulers: dict[str, Any]
    losses: dict[str, Tensor]
    batch: dict[str, Any]
    numerics: Numerics
    size: tuple[dict[str, int], int]


def train_step(policy: BasePolicy, optimizer: torch.optim.Optimizer, batch: dict[str, Any]) -> Tensor:
    optimizer.zero_grad()
    loss = policy.compute_loss(batch, generator=torch.Generator(policy.device).manual_seed(0))
    loss.backward()
    optimizer.step()
    return loss.detach()


def act(policy: BasePolicy, obs: dict[str, Tensor]) -> dict[str, Tensor]:
    return policy.predict_action(obs, generator=torch.Generator(policy.device).manual_seed(7))


def make_workspace(registry: Registry, data: dict[str, Any], folder: Path) -> Any:
    cfg = structure_run(registry, data, "pairing")
    return cfg.workspace.load()(cfg, output_dir=folder)


@pytest.fixture(scope="module")
def registry() -> Registry:
    """What is installed here."""
    return Registry.discover()


@pytest.fixture(scope="module")
def round_trip(
    request: pytest.FixtureRequest, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> RoundTrip:
    """For an encoder, a denoiser, a mode and numerics: train a step with each scheduler, save, load."""
    encoder, denoiser, mode, numerics = request.param
    configs = {name: config(encoder, denoiser, mode, name) for name in SCHEDULERS}
    workspace = make_workspace(registry, configs["ddpm"], tmp_path_factory.mktemp("pairing"))
    policy, batch = workspace.model.to(numerics.device), random_batch(configs["ddpm"], numerics.device)
    policy.set_normalizer(statistics(batch))
    schedulers, losses = {}, {}
    for name, data in configs.items():
        slot: Any = structure_run(registry, data, name).policy  # type: ignore[attr-defined]
        schedulers[name] = policy.scheduler = slot.config.scheduler.build()
        with numerics():
            losses[name] = train_step(policy, workspace.optimizer, batch)
    path = workspace.save_checkpoint(exclude_keys=("optimizer",), use_thread=False)
    loaded = load_policy(path, numerics.device)
    Path(path).unlink()
    return RoundTrip(policy.eval(), loaded, schedulers, losses, batch, numerics, size_of(encoder))


def pairings(encoders: Iterable[str], numerics: Numerics) -> list[Any]:
    """Of all encoders, denoisers and modes, with their names."""
    suffix = "-autocast" if numerics.autocast else ""
    marks = [pytest.mark.slow]
    if numerics.device == "cuda":
        marks += [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
    return [
        pytest.param(
            (encoder, *pair, numerics), id=f"{encoder}-{'-'.join(pair)}-{numerics.device}{suffix}", marks=marks
        )
        for encoder, pair in itertools.product(encoders, PAIRS)
    ]


@pytest.mark.parametrize(
    "round_trip",
    [
        *pairings(ENCODERS, Numerics()),
        # On a CPU, autocast is for finding mistakes without a GPU; convolutions in bfloat16 are slow there.
        *pairings(["cnn"], Numerics(autocast=True)),
        *pairings(ENCODERS, Numerics("cuda")),
        *pairings(ENCODERS, Numerics("cuda", autocast=True)),
    ],
    indirect=True,
)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_pairing_trains_acts_and_acts_the_same_after_a_checkpoint(round_trip: RoundTrip, scheduler: str) -> None:
    assert round_trip.losses[scheduler].isfinite()
    assert round_trip.losses[scheduler].dtype == torch.float32

    actions = []
    for policy in (round_trip.trained, round_trip.loaded):
        policy.scheduler = round_trip.schedulers[scheduler]
        with round_trip.numerics():
            actions.append(act(policy, round_trip.batch["obs"]))

    trained, loaded = actions
    window, batch_size = round_trip.size
    assert trained["action"].shape == (batch_size, window["n_action_steps"], 2)
    assert trained["action_pred"].shape == (batch_size, window["horizon"], 2)
    assert trained["action_pred"].dtype == torch.float32
    assert trained["action_pred"].isfinite().all()
    assert torch.equal(trained["action_pred"], loaded["action_pred"])


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "dpm_solver"])
def test_every_prediction_type_travels_in_the_checkpoint(
    scheduler: str, prediction_type: str, registry: Registry, tmp_path: Path
) -> None:
    data = config("lowdim", "unet1d", "global", scheduler, prediction_type=prediction_type)
    workspace, batch = make_workspace(registry, data, tmp_path), random_batch(data)
    workspace.model.set_normalizer(statistics(batch))

    loss = train_step(workspace.model, workspace.optimizer, batch)
    loaded: Any = load_policy(workspace.save_checkpoint(use_thread=False))

    assert loss.isfinite()
    assert loaded.scheduler.config.prediction_type == prediction_type
    assert torch.equal(act(workspace.model.eval(), batch["obs"])["action"], act(loaded, batch["obs"])["action"])


@pytest.mark.parametrize(("denoiser", "mode"), PAIRS)
def test_the_encoder_learns_through_every_denoiser_and_its_features_reach_the_actions(
    denoiser: str, mode: str, registry: Registry, tmp_path: Path
) -> None:
    data = config("cnn", denoiser, mode, "ddim")
    workspace, batch = make_workspace(registry, data, tmp_path), random_batch(data)
    policy = workspace.model
    policy.set_normalizer(statistics(batch))

    for _ in range(3):  # a diffusion transformer starts as zero, whatever it sees
        train_step(policy, workspace.optimizer, batch)

    assert all(parameter.grad.any() for parameter in policy.obs_encoder.parameters())
    policy.eval()
    seen = act(policy, batch["obs"])["action"]
    assert not torch.equal(act(policy, batch["obs"] | {"front": 255 - batch["obs"]["front"]})["action"], seen)
    assert not torch.equal(act(policy, batch["obs"] | {"state": 1 - batch["obs"]["state"]})["action"], seen)


@pytest.mark.parametrize(
    ("kind", "table"), [("encoder", ENCODERS), ("denoiser", DENOISERS), ("scheduler", SCHEDULERS)], ids=str
)
def test_nothing_that_is_built_in_is_left_out(kind: str, table: dict[str, Any], registry: Registry) -> None:
    built_in = {component.name for component in registry.components(kind) if component.distribution == "dp-core"}

    assert built_in - ENCODERS_ELSEWHERE - SCHEDULERS_ELSEWHERE == set(table)


@pytest.mark.parametrize("mode", MODES)
def test_trajectories_have_full_precision_whatever_the_features_have(
    mode: str, registry: Registry, tmp_path: Path
) -> None:
    data = config("cnn", "unet1d", mode, "ddim")
    data["shape_meta"]["obs"] = CAMERA  # beside a state in float32, features would not be in bfloat16
    workspace, batch = make_workspace(registry, data, tmp_path), random_batch(data)
    workspace.model.set_normalizer(statistics(batch))
    seen = []
    workspace.model.model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].dtype))

    with Numerics(autocast=True)():
        act(workspace.model.eval(), batch["obs"])

    assert set(seen) == {torch.float32}


# -- what does not go together -----------------------------------------------------------------------------------------


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """``check(data, *overrides)``: the status of ``dp-run --check`` and the problems that it shows."""

    def run(data: dict[str, Any], *overrides: str) -> tuple[int, list[str]]:
        (tmp_path / "demonstrations.zarr").mkdir(exist_ok=True)
        data["dataset"]["path"] = str(tmp_path / "demonstrations.zarr")
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(data))
        status = dp_run([str(path), *overrides, "--check"])
        lines = capsys.readouterr().err.splitlines()
        assert not lines or lines[0].startswith(f"dp-run: error: {path} has ")
        return status, [line.strip() for line in lines[1:]]

    return run


@pytest.mark.parametrize(("denoiser", "mode"), PAIRS)
def test_what_works_passes_the_check(denoiser: str, mode: str, check: Callable[..., tuple[int, list[str]]]) -> None:
    assert check(config("cnn", denoiser, mode, "ddim")) == (0, [])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_transformer_takes_no_local_condition(
    encoder: str, scheduler: str, check: Callable[..., tuple[int, list[str]]]
) -> None:
    assert check(config(encoder, "transformer", "local", scheduler)) == (
        2,
        [
            "policy.denoiser.name: 'transformer' attends to observations as tokens, and takes no vector per step of "
            "the trajectory; set obs_as_local_cond: false, or choose a denoiser that does, such as 'unet1d'"
        ],
    )


REJECTED = {
    "a transformer without a place for observations": (
        config("lowdim", "transformer", "global", "ddim"),
        "policy.denoiser.time_as_cond=false",
        "policy.denoiser.time_as_cond: false leaves nothing that attends to observations; choose true, or "
        "obs_as_global_cond: false (from the command line)",
    ),
    "inpainting from the observed steps alone": (
        config("lowdim", "unet1d", "inpainting", "ddim"),
        "dataset.full_obs_horizon=false",
        "policy.obs_as_global_cond: false inpaints observations, which is learnt from those of the whole horizon; "
        "set dataset.full_obs_horizon: true, or condition globally or locally",
    ),
    "two ways of conditioning": (
        config("lowdim", "unet1d", "global", "ddim"),
        "policy.obs_as_local_cond=true",
        "policy.obs_as_local_cond: true excludes obs_as_global_cond: true; choose one of them (from the command line)",
    ),
    "inpainting beside executed actions": (
        config("lowdim", "unet1d", "inpainting", "ddim"),
        "policy.pred_action_steps_only=true",
        "policy.pred_action_steps_only: true leaves no place for observations in the trajectory; "
        "set obs_as_global_cond: true (from the command line)",
    ),
    "local conditions of executed actions": (
        config("lowdim", "unet1d", "local", "ddim"),
        "policy.pred_action_steps_only=true",
        "policy.pred_action_steps_only: true leaves no place for observations in the trajectory; "
        "set obs_as_global_cond: true (from the command line)",
    ),
    "images for the encoder of states": (
        config("lowdim", "unet1d", "global", "ddim"),
        "shape_meta.obs.front={shape: [3, 40, 40], type: rgb}",
        "policy.encoder: lowdim takes keys of type low_dim; 'front' is rgb; choose another encoder, or give it to "
        "another part, see encoder 'concat'",
    ),
    "keypoints in a map of one pixel": (
        config("robomimic", "unet1d", "global", "ddim"),
        "policy.encoder.crop_shape=[32, 32]",
        "policy.encoder.crop_shape: the network leaves 1 pixel of the 32 x 32 of 'front', and keypoints say where in "
        "an image something is; use more than 32 pixels, or another encoder (from the command line)",
    ),
    "a horizon that cannot be halved": (
        config("lowdim", "unet1d", "global", "ddim"),
        "policy.denoiser.down_dims=[8, 16, 16, 16]",
        "policy.denoiser.down_dims: horizon 4 is not divisible by 8, which the 4 levels of down_dims need; choose 8 "
        "(from the command line)",
    ),
    "executed actions that cannot be halved": (
        config("lowdim", "unet1d", "global", "ddim"),
        "policy={pred_action_steps_only: true, n_action_steps: 3}",
        "policy.denoiser.down_dims: a trajectory of 3 is not divisible by 2, which the 2 levels of down_dims need; "
        "choose 2 or 4",
    ),
    "windows of another length": (
        config("lowdim", "unet1d", "global", "ddim"),
        "dataset.horizon=8",
        "dataset.horizon: 8, but policy.horizon is 4; set horizon alone, at the top (from the command line)",
    ),
    "fewer observations than the policy sees": (
        config("lowdim", "unet1d", "global", "ddim"),
        "dataset.n_obs_steps=1",
        "dataset.n_obs_steps: 1, but policy.n_obs_steps is 2; set n_obs_steps alone, at the top "
        "(from the command line)",
    ),
    "more executed actions than predicted": (
        config("lowdim", "unet1d", "global", "ddim"),
        "runner={name: pusht, n_obs_steps: 2, n_action_steps: 3}",
        "runner.n_action_steps: 3, but policy.n_action_steps is 2; set n_action_steps alone, at the top "
        "(from the command line)",
    ),
    **{
        f"{scheduler} with more steps than the process": (
            config("lowdim", "unet1d", "global", scheduler),
            "policy.scheduler={num_train_timesteps: 5, num_inference_steps: 6}",
            "policy.scheduler.num_inference_steps: 6 is more than num_train_timesteps 5; choose at most 5 "
            "(from the command line)",
        )
        for scheduler in ("ddpm", "ddim", "dpm_solver")
    },
}


@pytest.mark.parametrize(("data", "override", "problem"), REJECTED.values(), ids=REJECTED)
def test_what_does_not_go_together_is_rejected_with_the_reason(
    data: dict[str, Any], override: str, problem: str, check: Callable[..., tuple[int, list[str]]]
) -> None:
    assert check(data) == (0, [])
    assert check(data, override) == (2, [problem])
