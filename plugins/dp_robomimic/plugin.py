"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_robomimic.config import RobomimicConfig, RobomimicDatasetConfig, RobomimicRunnerConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="robomimic",
        target="dp_robomimic.encoder:RobomimicEncoder",
        config=RobomimicConfig,
        summary="ResNet-18 with spatial softmax per camera, as in the paper (robomimic)",
        requires=("robomimic", "torchvision"),
        install_hint="pip install --no-deps robomimic==0.3.0 && pip install 'dp-core[robomimic]'",
    )
    yield Component(
        kind="dataset",
        name="robomimic",
        target="dp_robomimic.dataset:RobomimicDataset",
        config=RobomimicDatasetConfig,
        summary="demonstrations in robomimic's format (.hdf5)",
        requires=("h5py", "zarr"),
        install_hint="pip install 'dp-core[robomimic,replay]'",
        data_commands={"download": "dp_robomimic.download_cli:main"},
    )
    yield Component(
        kind="runner",
        name="robomimic",
        target="dp_robomimic.runner:RobomimicRunner",
        config=RobomimicRunnerConfig,
        summary="evaluation in robosuite: lift, can, square, transport, tool_hang",
        requires=("h5py", "imageio", "mujoco", "robosuite"),
        extra="robosuite",
    )
