"""What this package offers. Imported for every `dp-run --list`, so it describes and imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl

from dp_kestrel import config

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    """Describe each component; targets are imported when a config names them."""
    # kind: workspace
    yield Component(
        kind="workspace",
        name="kestrel",
        target="dp_kestrel.workspace:KestrelWorkspace",
        config=config.WorkspaceOptions,
        summary="trains for a number of steps, as plainly as can be",
    )
    # end
    # kind: policy
    yield Component(
        kind="policy",
        name="kestrel",
        target="dp_kestrel.policy:KestrelPolicy",
        config=config.PolicyOptions,
        summary="a network that predicts a chunk of actions at once",
    )
    # end
    # kind: encoder
    yield Component(
        kind="encoder",
        name="kestrel",
        target="dp_kestrel.encoder:KestrelEncoder",
        config=config.EncoderOptions,
        summary="a small network for each observation",
    )
    # end
    # kind: denoiser
    yield Component(
        kind="denoiser",
        name="kestrel",
        target="dp_kestrel.denoiser:KestrelDenoiser",
        config=config.DenoiserOptions,
        summary="three convolutions along the trajectory",
    )
    # end
    # kind: scheduler
    yield Component(
        kind="scheduler",
        name="kestrel",
        target="dp_kestrel.scheduler:KestrelScheduler",
        config=config.SchedulerOptions,
        summary="straight paths from noise to actions",
    )
    # end
    # kind: modality
    yield Component(
        kind="modality",
        name="kestrel",
        target="dp_kestrel.modality:KestrelModality",
        config=config.ModalityOptions,
        summary="numbers over several powers of ten",
    )
    # end
    # kind: dataset
    yield Component(
        kind="dataset",
        name="kestrel",
        target="dp_kestrel.dataset:KestrelDataset",
        config=config.DatasetOptions,
        summary="windows over episodes in .npz files",
    )
    # end
    # kind: runner
    yield Component(
        kind="runner",
        name="kestrel",
        target="dp_kestrel.runner:KestrelRunner",
        config=config.RunnerOptions,
        summary="evaluation with a point that has to get to the origin",
    )
    # end
    # kind: optimizer
    yield Component(
        kind="optimizer",
        name="kestrel",
        target="dp_kestrel.optimizer:make_optimizer",
        config=config.OptimizerOptions,
        summary="RMSprop",
    )
    # end
    # kind: lr_schedule
    yield Component(
        kind="lr_schedule",
        name="kestrel",
        target="dp_kestrel.lr_schedule:make_schedule",
        config=config.LrScheduleOptions,
        summary="a learning rate that drops in steps",
    )
    # end
    # kind: callback
    yield Component(
        kind="callback",
        name="kestrel",
        target="dp_kestrel.callback:KestrelCallback",
        config=config.CallbackOptions,
        summary="remembers the epoch with the lowest loss",
    )
    # end
