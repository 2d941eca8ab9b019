"""Losses and actions are still those of the contract before schedulers owned the loss, for every network and sampler.

The numbers in ``former_contract.npz`` were made at commit e06d655, where the policy computed the loss and no network
had a second time, by ``python tests/plugins/dp_diffusion/test_former_contract.py`` (which writes that file anew).
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from dp_core.registry import Registry
from dp_core.testing.samples import normalizer_for, raw_batch

FILE = Path(__file__).with_name("former_contract.npz")
SHAPE_META = {"obs": {"state": {"shape": [3], "type": "low_dim"}}, "action": {"shape": [2]}}
DENOISERS = {
    "unet1d": {"down_dims": [8, 8], "n_groups": 4, "kernel_size": 3, "diffusion_step_embed_dim": 4},
    "dit1d": {"n_layer": 1, "n_head": 2, "n_emb": 8},
    "transformer": {"n_layer": 1, "n_head": 2, "n_emb": 8},
}
SCHEDULERS = {
    "ddpm": {"num_train_timesteps": 10},
    "ddim": {"num_inference_steps": 4},
    "dpm_solver": {"num_inference_steps": 4},
    "flow_matching": {"num_inference_steps": 3, "solver": "heun"},
}
EACH = list(itertools.product(DENOISERS, SCHEDULERS))


def build(registry, denoiser, scheduler, **options):
    config = {
        "name": "diffusion",
        "horizon": 4,
        "n_obs_steps": 2,
        "n_action_steps": 2,
        "encoder": "lowdim",
        "denoiser": {"name": denoiser, **DENOISERS[denoiser]},
        "scheduler": {"name": scheduler, **SCHEDULERS[scheduler]},
        **options,
    }
    policy = registry.build("policy", config, shape_meta=SHAPE_META)
    policy.set_normalizer(normalizer_for(SHAPE_META))
    return policy


def results(policy):
    """A training step's loss and gradients, and a chunk of actions; what is random comes from generators."""
    batch = raw_batch(SHAPE_META, 3, 4)
    policy.eval()  # without dropout, which draws from the global state
    loss = policy.compute_loss(batch, torch.Generator().manual_seed(5))
    loss.backward()
    norms = [p.grad.norm() if p.grad is not None else torch.zeros(()) for p in policy.model.parameters()]
    obs = {"state": batch["obs"]["state"][:, :2]}
    rows = [torch.Generator().manual_seed(row) for row in range(3)]
    actions = [policy.predict_action(obs, given)["action_pred"] for given in (torch.Generator().manual_seed(7), rows)]
    return {"loss": loss.detach(), "gradients": torch.stack(norms), "actions": torch.stack(actions)}


def seeded(policy):
    """The policy with weights that a seed gives, whatever order its constructor draws in."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, parameter in sorted(policy.model.named_parameters()):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return policy


def here():
    """What decides how arithmetic rounds."""
    return f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()}"


@pytest.fixture(scope="module")
def former():
    return np.load(FILE)


@pytest.mark.parametrize(("denoiser", "scheduler"), EACH)
@pytest.mark.parametrize("inpaints", [False, True])
def test_losses_and_actions_are_those_of_before(registry, former, denoiser, scheduler, inpaints):
    """Bit for bit with the torch and the kind of processor that made them; others round in another way."""
    policy = seeded(build(registry, denoiser, scheduler, obs_as_global_cond=not inpaints))
    weights = [name for name, _ in policy.model.named_parameters()]

    found = results(policy)

    key = f"{denoiser}/{scheduler}/{inpaints}"
    assert weights == former[f"{denoiser}/{inpaints}/names"].tolist()
    exactly = {"rtol": 0.0, "atol": 0.0} if str(former["here"]) == here() else {"rtol": 1e-4, "atol": 1e-3}
    for name, value in found.items():
        torch.testing.assert_close(value, torch.from_numpy(former[f"{key}/{name}"]), **exactly)


def record():
    registry, arrays = Registry.discover(), {"here": np.array(here())}
    for (denoiser, scheduler), inpaints in itertools.product(EACH, [False, True]):
        policy = seeded(build(registry, denoiser, scheduler, obs_as_global_cond=not inpaints))
        names = [name for name, _ in policy.model.named_parameters()]
        arrays[f"{denoiser}/{inpaints}/names"] = np.array(names)
        for name, value in results(policy).items():
            arrays[f"{denoiser}/{scheduler}/{inpaints}/{name}"] = value.numpy()
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    record()
