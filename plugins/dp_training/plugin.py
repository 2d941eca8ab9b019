"""What dp_training offers."""

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_training.config import TrainConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    """Describe the recipe of the diffusion policy paper."""
    yield Component(
        kind="workspace",
        name="train",
        target="dp_training.workspace:TrainWorkspace",
        config=TrainConfig,
        summary="train a policy on demonstrations, evaluate it in environments",
    )
