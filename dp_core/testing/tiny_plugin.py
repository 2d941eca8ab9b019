"""Stand-ins for the parts that a component under test is put together with, described as a plugin describes its own.

They are named ``dp-core/tiny``, and only the registries of tests have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import attrs

from dp_core.component import Component, Kind
from dp_core.config.fields import Slot, option, slot
from dp_core.config.schema import WorkspaceConfig
from dp_core.provenance.noise_process import NoiseProcess
from dp_core.testing.examples import TINY, WINDOW
from dp_core.training.options import TrainingOptions


@attrs.frozen(kw_only=True)
class TinyOptions:
    """Options of stand-ins that leave nothing to choose."""


@attrs.frozen(kw_only=True)
class TinySchedulerOptions:
    """Options of straight paths from noise to data."""

    process: ClassVar[NoiseProcess] = NoiseProcess("rectified flow", options=("timestep_scale",))

    timestep_scale: float = option(100.0, help="the network is given times from 0 (data) to this (noise)")


@attrs.frozen(kw_only=True)
class TinyWindowOptions:
    """The steps of a window."""

    horizon: int = option(WINDOW["horizon"], help="Tp, steps of a window")
    n_obs_steps: int = option(WINDOW["n_obs_steps"], help="To, steps that are observed")
    n_action_steps: int = option(WINDOW["n_action_steps"], help="Ta, steps that are executed")


@attrs.frozen(kw_only=True)
class TinyTrainConfig(WorkspaceConfig):
    """Options of a run of two epochs of two steps."""

    provides: ClassVar[tuple[str, ...]] = (
        "progress",
        "num_epochs",
        "steps_per_epoch",
        "batch_size",
        "model",
        "ema_model",
        "request_stop",
    )

    training: TrainingOptions = option(
        factory=lambda: TrainingOptions(num_epochs=2, checkpoint_every=1, device="cpu"), help="how long, how often"
    )
    policy: Slot = slot("policy", TINY, help="what is trained")
    dataset: Slot = slot("dataset", TINY, help="demonstrations")
    runner: Slot = slot("runner", TINY, help="evaluation")


def tiny_components() -> Iterator[Component]:
    """Describe the stand-ins."""
    parts: list[tuple[Kind, str, type]] = [
        ("workspace", "TinyWorkspace", TinyTrainConfig),
        ("policy", "TinyPolicy", TinyWindowOptions),
        ("encoder", "TinyEncoder", TinyOptions),
        ("denoiser", "TinyDenoiser", TinyOptions),
        ("scheduler", "TinyScheduler", TinySchedulerOptions),
        ("dataset", "TinyDataset", TinyWindowOptions),
        ("runner", "TinyRunner", TinyWindowOptions),
    ]
    distribution, _, name = TINY.partition("/")
    for kind, target, config in parts:
        yield Component(
            kind=kind,
            name=name,
            target=f"dp_core.testing.tiny:{target}",
            config=config,
            summary="a stand-in for tests",
            distribution=distribution,
        )
