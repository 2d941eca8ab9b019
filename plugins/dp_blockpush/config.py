"""Options of the data set and runner of block pushing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import attrs
from attrs.validators import ge, gt

from dp_blockpush.shapes import published_name, unknown_to_block_pushing
from dp_core import Slot, option
from dp_core.kit.files.command import download_command
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.shape_meta import shape_meta_problems
from dp_replay.config import WindowOptions

_OBS_EEF_TARGET = "the policy sees where the effector was sent; false: zeros in that place"


@attrs.frozen(kw_only=True)
class BlockPushDatasetConfig(WindowOptions):
    """Demonstrations of block pushing: the key ``obs`` (16), and actions (2)."""

    path: Path = option(help="replay buffer with 'obs' and 'action': a folder (.zarr), or a .zip")
    obs_eef_target: bool = option(True, help=_OBS_EEF_TARGET)
    use_manual_normalizer: bool = option(
        False, help="one scale for all x, one for all y and one for all angles; false: one for every entry"
    )

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report what block pushing does not offer to the policy."""
        if not any(shape_meta_problems(shape_meta)):
            for message in unknown_to_block_pushing(shape_meta):
                yield "", message

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report a file that does not exist."""
        if not self.path.exists():
            is_abs = self.path.name == PurePosixPath(published_name(abs_action=True)).name
            options = ["--abs-action"] if is_abs else []
            command = download_command("blockpush", self.path, published_name(is_abs), *options)
            yield "path", f"'{self.path}' does not exist; get it with '{command}', or give the path of a replay buffer"


@attrs.frozen(kw_only=True)
class BlockPushRunnerConfig(RolloutOptions):
    """Evaluation in block pushing, by default that of the paper: 50 test episodes of 350 steps."""

    environment_measures: ClassVar[tuple[str, ...] | None] = (
        "p1",
        "p2",
        *(f"REACH_{block}" for block in range(2)),
        *(f"TARGET_{block}_{target}" for block in range(2) for target in range(2)),
    )

    train_start_seed: int = option(0, help="first seed of the training starts", validator=ge(0))
    max_steps: int = option(350, help="control steps of an episode, 10 per second", validator=ge(1))
    fps: float = option(
        5,
        help="frames per second of the videos, which leave out steps below 10 to stay in real time",
        validator=gt(0),
    )
    abs_action: bool = option(
        False, help="actions are positions in the workspace; false: steps from where the effector was sent before"
    )
    obs_eef_target: bool = option(True, help=_OBS_EEF_TARGET)

    def check(self, shape_meta: dict[str, Any], dataset: Any = None) -> Iterable[tuple[str, str]]:
        """Report what block pushing does not offer to the policy, and observations other than the data set's."""
        yield from super().check(shape_meta)
        if not any(shape_meta_problems(shape_meta)):
            for message in unknown_to_block_pushing(shape_meta):
                yield "", message
        trained = getattr(dataset.config, "obs_eef_target", None) if isinstance(dataset, Slot) else None
        if trained not in (None, self.obs_eef_target):
            yield (
                "obs_eef_target",
                f"{str(self.obs_eef_target).lower()}, but dataset.obs_eef_target is {str(trained).lower()}; "
                "choose the same",
            )
