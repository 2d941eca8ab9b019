"""Options of the robomimic encoder, data set and runner."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import attrs
from attrs.validators import deep_iterable, ge, optional

from dp_core import Slot, option
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.shape_meta import crop_problems, keys_of_type, obs_shape, shape_meta_problems
from dp_replay.config import RANGE_EPS, WindowOptions
from dp_robomimic.published import command_for
from dp_robomimic.shapes import RotationRep, action_problems, obs_problems

RESNET_STRIDE = 32
"""Pixels of an image, in each direction, per pixel of the last feature maps."""


@attrs.frozen(kw_only=True)
class RobomimicConfig:
    """The encoder of the paper's hybrid policies; defaults are those of its Push-T policy."""

    takes: ClassVar[tuple[str, ...]] = ("rgb", "low_dim")

    crop_shape: tuple[int, int] | None = option(
        (76, 76),
        help="height and width cut out of every image, at random in training; null: the whole image",
        validator=optional(deep_iterable(ge(1))),
    )
    obs_encoder_group_norm: bool = option(
        True, help="replace batch by group normalisation, which needs no other windows and no statistics of the data"
    )
    eval_fixed_crop: bool = option(
        True, help="crop by our own fast code; false: by robomimic's, whose version 0.2 cropped at random in eval() too"
    )
    feature_dimension: int = option(64, help="size of the feature of one camera", validator=ge(1))
    num_kp: int = option(32, help="keypoints of the spatial softmax of one camera", validator=ge(1))

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report images that are smaller than the crop, or too small for a keypoint to be here or there."""
        for message in crop_problems(self.crop_shape, shape_meta):
            yield "crop_shape", message
        for key in keys_of_type(shape_meta, "rgb"):
            height, width = self.crop_shape or obs_shape(shape_meta, key)[1:]
            if max(height, width) <= RESNET_STRIDE:
                yield (
                    "crop_shape",
                    f"the network leaves 1 pixel of the {height} x {width} of '{key}', and keypoints say where in an "
                    f"image something is; use more than {RESNET_STRIDE} pixels, or another encoder",
                )


_PATH = "demonstrations in robomimic's format (.hdf5)"
_OBS_KEYS = "observations of the file to join, in this order, to the one key 'obs'; null: those of shape_meta"
_ABS_ACTION = "the file's actions are absolute poses of the gripper; false: they are changes of it"
_ROTATION_REP = "rotations in absolute actions, for the policy; rotation_6d makes 10 numbers of the 7 of an arm"


def _file_problems(path: Path) -> Iterable[tuple[str, str]]:
    if not path.exists():
        command = command_for(path)
        get_it = f"get it with '{command}', or give" if command else "give"
        yield (
            "path",
            f"'{path}' does not exist; {get_it} the path of a file in robomimic's format (.hdf5), for absolute actions "
            "one whose actions are absolute",
        )


@attrs.frozen(kw_only=True)
class RobomimicDatasetConfig(WindowOptions):
    """Demonstrations in robomimic's format: lift, can, square, transport, tool_hang, or your own.

    ``shape_meta`` names keys of the file's ``obs``; or it has the one key ``obs``, and ``obs_keys`` says what that is.
    """

    path: Path = option(help=_PATH)
    obs_keys: list[str] | None = option(None, help=_OBS_KEYS)
    abs_action: bool = option(False, help=_ABS_ACTION)
    rotation_rep: RotationRep = option("rotation_6d", help=_ROTATION_REP)
    use_legacy_normalizer: bool = option(
        False, help="scale all numbers of absolute actions by one factor; false: only positions, each to [-1, 1]"
    )
    use_cache: bool = option(
        True, help="keep images unpacked on disk, for all runs, and let the system map them; false: in memory"
    )
    range_eps: float = option(1e-7, help=RANGE_EPS, validator=ge(0))

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report observations and actions that `shape_meta` describes otherwise."""
        if not any(shape_meta_problems(shape_meta)):
            yield from obs_problems(shape_meta, self.obs_keys)
            yield from action_problems(shape_meta, self.abs_action, self.rotation_rep)

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report a file that does not exist."""
        yield from _file_problems(self.path)


@attrs.frozen(kw_only=True)
class RobomimicRunnerConfig(RolloutOptions):
    """Evaluation in the robosuite task in which a file of demonstrations was recorded."""

    environment_measures: ClassVar[tuple[str, ...] | None] = ()

    path: Path = option(help=f"{_PATH}: says which task, and where training episodes start")
    obs_keys: list[str] | None = option(None, help=_OBS_KEYS)
    abs_action: bool = option(False, help=_ABS_ACTION)
    rotation_rep: RotationRep = option("rotation_6d", help=_ROTATION_REP)
    train_start_idx: int = option(0, help="first demonstration whose start is used", validator=ge(0))
    max_steps: int = option(400, help="control steps of an episode, 20 per second", validator=ge(1))
    render_obs_key: str = option("agentview_image", help="image observation whose camera films the videos")
    render_hw: tuple[int, int] = option(
        (256, 256), help="height and width of the videos, even", validator=deep_iterable(ge(2))
    )

    def check(self, shape_meta: dict[str, Any], dataset: Any = None) -> Iterable[tuple[str, str]]:
        """Report a run without episodes, and observations or actions that differ from `shape_meta` or the data set."""
        yield from super().check(shape_meta)
        if isinstance(dataset, Slot) and isinstance(dataset.config, RobomimicDatasetConfig):
            for name in ("obs_keys", "abs_action", "rotation_rep"):
                chosen, trained = getattr(self, name), getattr(dataset.config, name)
                if chosen != trained:
                    yield name, f"{chosen!r}, but dataset.{name} is {trained!r}; choose ${{dataset.{name}}}"
        if any(size % 2 for size in self.render_hw):
            yield "render_hw", f"{list(self.render_hw)} is odd, which the video format does not allow"
        if any(shape_meta_problems(shape_meta)):
            return
        yield from obs_problems(shape_meta, self.obs_keys)
        yield from action_problems(shape_meta, self.abs_action, self.rotation_rep)
        for key in [self.render_obs_key, *keys_of_type(shape_meta, "rgb")]:
            if not key.endswith("_image"):
                yield "", f"'{key}' is no camera of robosuite; expected its name and '_image'"

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report a file that does not exist."""
        yield from _file_problems(self.path)
