"""`BaseRunner`: evaluates a policy in environments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from dp_core.interfaces.policy import BasePolicy


class BaseRunner(ABC):
    """Runs a policy in environments and measures it. Built with ``shape_meta`` and ``output_dir``.

    Construction is cheap: environments are made on the first `run`, and released by `close`.
    """

    def __init__(self, output_dir: str | Path) -> None:
        """Set ``output_dir``, where videos go; all subclasses call this in their constructor."""
        self.output_dir = Path(output_dir)

    @abstractmethod
    def run(self, policy: BasePolicy) -> dict[str, Any]:
        """Evaluate ``policy`` in ``eval()`` mode and without gradients, and leave it as it was, its mode included.

        What happens in an episode follows from the weights and its own seed, whatever ran before or runs beside it.
        Global random numbers (torch's, numpy's, Python's) are left as they are, as training draws from them: a runner,
        its environments included, draws from generators of its own, and hands ``predict_action`` some.

        Returns:
            Numbers, and paths of the videos made: ``test/mean_score``, ``train/mean_score``,
            ``test/sim_max_reward_{seed}``, ``test/sim_video_{seed}``, and where it applies ``test/success_rate``,
            ``test/success_rate_low``, ``test/success_rate_high`` (95 % interval) and ``seconds_per_episode``.
        """

    def close(self) -> None:
        """Release environments and processes; `run` may be called again."""
