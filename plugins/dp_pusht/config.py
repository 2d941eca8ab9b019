"""Options of the Push-T data set and runner."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import attrs
from attrs.validators import ge

from dp_core import option
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.shape_meta import shape_meta_problems
from dp_pusht.shapes import unknown_to_pusht
from dp_replay.config import WindowOptions


@attrs.frozen(kw_only=True)
class PushTDatasetConfig(WindowOptions):
    """Demonstrations of Push-T.

    ``shape_meta`` chooses from the keys ``image`` (3, 96, 96), ``agent_pos`` (2), ``keypoint`` (9, 2), ``state`` (5)
    and ``obs`` (20), which is the keypoints and the agent's position in one vector.
    """

    path: Path | None = option(
        None,
        help="the published archive (.zip or folder), or a file made by dp-data expert pusht (.npz); "
        "null: the demonstrations that come with the project",
    )

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report what Push-T does not offer to the policy."""
        if not any(shape_meta_problems(shape_meta)):
            for message in unknown_to_pusht(shape_meta):
                yield "", message

    def preflight(self) -> Iterable[tuple[str, str]]:
        """Report a file that does not exist."""
        if self.path is not None and not self.path.exists():
            command = "expert" if self.path.suffix == ".npz" else "download"
            yield (
                "path",
                f"'{self.path}' does not exist; get it with 'dp-data {command} pusht --output {self.path}', "
                "or use null for the demonstrations that come with the project",
            )


@attrs.frozen(kw_only=True)
class PushTRunnerConfig(RolloutOptions):
    """Evaluation in the Push-T environment, by default that of the paper: 50 test starts of 300 steps."""

    environment_measures: ClassVar[tuple[str, ...] | None] = ()

    train_start_seed: int = option(0, help="first seed of the training starts", validator=ge(0))
    legacy_test: bool = option(
        True, help="seeds mean the starts of the published evaluation; false: the block is exactly where it was drawn"
    )
    max_steps: int = option(300, help="control steps of an episode, 10 per second", validator=ge(1))

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report a run without episodes, and what Push-T does not offer to the policy."""
        yield from super().check(shape_meta)
        if not any(shape_meta_problems(shape_meta)):
            for message in unknown_to_pusht(shape_meta):
                yield "", message
