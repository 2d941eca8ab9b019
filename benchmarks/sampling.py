"""From observations to a chunk of actions, for one robot: `predict_action` at batch 1.

    python benchmarks/sampling.py [--device cuda] [--samplers ddpm-100 ddim-16 ddim-10]

Ours is timed as it is loaded, and after `prepare_inference`, in float32 and with bfloat16 weights. "Around the network"
is the same call with a denoiser that does nothing: normalising, encoding, sampler, indexing.
"""

from __future__ import annotations

import argparse
import copy
import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from common import Compared, Report, Settings, Table, compare, parse, take_turns
from dp_core.interfaces import BaseDenoiser
from floor import Ceilings, count_flops, measure_ceilings, sampling_work
from peers import LEROBOT, ORIGINAL, has_lerobot, has_original, lerobot_policy, original_policy
from plain import PlainPolicy
from subjects import ACTION_RANGE, image_config, make_obs, make_plain_obs, make_policy

PLAIN, LOADED, PREPARED, BFLOAT16 = "plain", "ours, as loaded", "ours, prepared", "ours, prepared, bfloat16"
AROUND = {PREPARED: "around the network: ours", PLAIN: "around the network: plain"}
_TOLERANCE = 1e-3 * ACTION_RANGE
_TOLERANCE_BFLOAT16 = 0.1 * ACTION_RANGE


class Nothing(BaseDenoiser):
    """Predicts what it is given."""

    def forward(
        self, sample: Tensor, timestep: Tensor, local_cond: Tensor | None = None, global_cond: Tensor | None = None
    ) -> Tensor:
        """Return the sample."""
        return sample


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table per sampler."""
    settings = parse(__doc__ or "", argv, rounds=7, add=_add_options)
    report = Report("sampling", settings)
    ceilings = {dtype: measure_ceilings(settings, dtype) for dtype in (torch.float32, torch.bfloat16)}
    for dtype, ceiling in ceilings.items():
        report.note(f"bytes_per_second, {dtype}", ceiling.read, f"ceilings, {dtype}: {ceiling}")
    for sampler in ["ddim-2"] if settings.quick else settings.options.samplers:
        table = _measure(sampler, settings, ceilings)
        report.add(table)
        for whole, around in AROUND.items():
            share = table.median(around) / table.median(whole)
            report.note(f"{sampler}, {around}, share", share, f"{around}: {share:.1%} of '{whole}'")
    report.finish()


def _add_options(parser: argparse.ArgumentParser) -> None:
    samplers = ["ddpm-100", "ddim-16", "ddim-10"]
    parser.add_argument("--samplers", nargs="*", default=samplers, help=f"name-steps; default {' '.join(samplers)}")


def _measure(sampler: str, settings: Settings, ceilings: Mapping[torch.dtype, Ceilings]) -> Table:
    gc.collect()
    device = settings.device
    name, _, count = sampler.partition("-")
    scheduler = f"policy.scheduler={{name: {name}, num_inference_steps: {count}, timestep_spacing: leading}}"
    config = image_config(settings.quick, [scheduler])
    obs, plain_obs = make_obs(config, device), make_plain_obs(config, device)
    policies: dict[str, Any] = {PLAIN: PlainPolicy(make_policy(config, device))}
    if has_original():
        policies[ORIGINAL] = original_policy(make_policy(config, device))
    if has_lerobot():
        policies[LEROBOT] = lerobot_policy(make_policy(config, device))
    for ours in (LOADED, PREPARED, BFLOAT16):
        policies[ours] = make_policy(config, device)
    for policy in policies.values():
        policy.eval().requires_grad_(False)
    policies[PREPARED].prepare_inference(obs)
    policies[BFLOAT16].prepare_inference(obs, dtype=torch.bfloat16)
    ways: dict[str, Callable[[], Tensor]] = {
        name: _way(policy, obs if name in (LOADED, PREPARED, BFLOAT16) else plain_obs)
        for name, policy in policies.items()
    }
    compared = _compare(ways)
    floors = _floors(policies, plain_obs, int(count), ceilings)
    for whole, around in AROUND.items():
        copied = _without_network(policies[whole])
        if whole == PREPARED:
            copied.prepare_inference(obs)
        ways[around] = _way(copied, plain_obs if whole == PLAIN else obs)
        ways[around]()
    values = take_turns(ways, settings.rounds, device)
    return Table(f"predict_action, batch 1, {sampler}", PLAIN, values, "ms", compared, floors)


def _way(policy: Any, obs: Mapping[str, Tensor]) -> Callable[[], Tensor]:
    def act() -> Tensor:
        actions: Tensor = policy.predict_action(obs)["action"]
        return actions

    return act


def _compare(ways: Mapping[str, Callable[[], Tensor]]) -> list[Compared]:
    """Actions from the same noise. LeRobot's weights are others."""
    actions = {}
    for name, way in ways.items():
        torch.manual_seed(0)
        actions[name] = way()
    tolerances = {ORIGINAL: _TOLERANCE, LOADED: _TOLERANCE, PREPARED: _TOLERANCE, BFLOAT16: _TOLERANCE_BFLOAT16}
    return [
        compare(f"actions in [0, {ACTION_RANGE:g}], plain and {name}", actions[PLAIN], actions[name], tolerance)
        for name, tolerance in tolerances.items()
        if name in actions
    ]


def _floors(
    policies: Mapping[str, Any], obs: Mapping[str, Tensor], n_steps: int, ceilings: Mapping[torch.dtype, Ceilings]
) -> dict[str, float]:
    plain = policies[PLAIN]
    flops_of_encoder = count_flops(_way(_without_network(plain), obs))
    flops_of_step = (count_flops(_way(plain, obs)) - flops_of_encoder) / n_steps
    floors = {}
    for name, policy in policies.items():
        if name != LEROBOT:
            dtype = torch.bfloat16 if name == BFLOAT16 else torch.float32
            once, step = sampling_work(plain.obs_encoder, policy.model, flops_of_encoder, flops_of_step)
            # Observations are encoded in float32 whatever the denoiser's weights are.
            floors[name] = ceilings[torch.float32].seconds(once) + n_steps * ceilings[dtype].seconds(step)
    return floors


def _without_network(policy: Any) -> Any:
    """The same policy around `Nothing`."""
    network = policy.model
    policy.model = Nothing()
    try:
        return copy.deepcopy(policy)
    finally:
        policy.model = network


if __name__ == "__main__":
    main()
