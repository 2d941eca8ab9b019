"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_schedulers.config import (
    DDIMConfig,
    DDPMConfig,
    DPMSolverConfig,
    FlowMatchingConfig,
    MeanFlowConfig,
    MIPConfig,
)
from dp_schedulers.diffusers_config import DiffusersConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="scheduler",
        name="ddpm",
        target="dp_schedulers.ddpm:DDPM",
        config=DDPMConfig,
        summary="denoising diffusion (Ho et al. 2020), as the paper trains and evaluates",
    )
    yield Component(
        kind="scheduler",
        name="ddim",
        target="dp_schedulers.ddim:DDIM",
        config=DDIMConfig,
        summary="the same training, sampled in fewer steps (Song et al. 2021), as the paper runs on robots",
    )
    yield Component(
        kind="scheduler",
        name="dpm_solver",
        target="dp_schedulers.dpm_solver:DPMSolver",
        config=DPMSolverConfig,
        summary="the same training, sampled in very few steps (DPM-Solver++, Lu et al. 2022)",
    )
    yield Component(
        kind="scheduler",
        name="flow_matching",
        target="dp_schedulers.flow_matching:FlowMatching",
        config=FlowMatchingConfig,
        summary="rectified flow (Liu et al. 2023, Lipman et al. 2023): straight paths from noise to data",
    )
    yield Component(
        kind="scheduler",
        name="mean_flow",
        target="dp_schedulers.mean_flow:MeanFlow",
        config=MeanFlowConfig,
        summary="average velocities (Geng et al. 2025): actions in one step",
    )
    yield Component(
        kind="scheduler",
        name="mip",
        target="dp_schedulers.mip:MIP",
        config=MIPConfig,
        summary="minimal iterative policy (Pan et al. 2025): regression in two steps, one mode",
    )
    yield Component(
        kind="scheduler",
        name="diffusers",
        target="dp_schedulers.diffusers_scheduler:DiffusersScheduler",
        config=DiffusersConfig,
        summary="any scheduler of the library diffusers, by the name of its class",
        requires=("diffusers",),
        extra="diffusers",
    )
