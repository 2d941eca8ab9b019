"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_callbacks.config import EarlyStopConfig, JsonLogConfig, ProgressConfig, TopKConfig
from dp_core import Component, hookimpl

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    """Describe what most runs listen with."""
    yield Component(
        kind="callback",
        name="early_stop",
        target="dp_callbacks.early_stop:EarlyStop",
        config=EarlyStopConfig,
        summary="stop the run once a metric has not improved for a while",
    )
    yield Component(
        kind="callback",
        name="json_log",
        target="dp_callbacks.json_log:JsonLog",
        config=JsonLogConfig,
        summary="numbers of every step and epoch, one JSON object per line of logs.json.txt",
    )
    yield Component(
        kind="callback",
        name="progress",
        target="dp_callbacks.progress:ProgressDisplay",
        config=ProgressConfig,
        summary="loss, speed and time left on the terminal; scores of rollouts",
    )
    yield Component(
        kind="callback",
        name="topk",
        target="dp_callbacks.topk:TopKCheckpointManager",
        config=TopKConfig,
        summary="keep the k checkpoints that are best in one metric",
    )
