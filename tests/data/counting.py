"""A small environment, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal
from typing import Any, Never

import numpy as np

from dp_core.errors import ConfigError, InputError, Problem
from dp_core.kit.rollout.environment import Environment, Start, Step


class Counter(Environment):
    """Adds up actions; the goal is 6. Notes at which steps it is looked at."""

    def __init__(self, *, breaks_at: float = np.inf, error: type[Exception] = InputError) -> None:
        self.breaks_at = breaks_at
        self.error = error
        self.looks: list[int] = []
        self.is_closed = False

    def reset(self, start: Start) -> None:
        self.n_steps, self.total = 0, float(start.state or 0)

    def observe(self) -> dict[str, Any]:
        self.looks.append(self.n_steps)
        return {"total": np.array([self.total], np.float32)}

    def step(self, action: Any) -> Step:
        if self.n_steps >= self.breaks_at:
            raise self.error("it broke")
        self.n_steps += 1
        self.total += action[0]
        return Step(action[0] / 2, is_over=self.total >= 6, is_success=self.total >= 6)

    def render(self) -> Any:
        return np.full((16, 16, 3), int(self.total * 10), np.uint8)

    def score(self, rewards: Any) -> float:
        return float(rewards.sum() / 10)

    def measure(self) -> dict[str, float]:
        return {"n_steps": self.n_steps}

    def close(self) -> None:
        self.is_closed = True


class TableError(ConfigError):
    """Takes more than its text, and holds what cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__("table", [Problem("legs", text)])
        self.why = lambda: text


class RobotError(Exception):
    """Cannot be made again from its text alone."""

    def __init__(self, text: str, *, joint: int | None = None) -> None:
        super().__init__(text, joint)


class Mortal(Counter):
    """Takes its process with it at the first step, as the kernel does where memory runs out, or by itself."""

    def __init__(self, *, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code

    def step(self, action: Any) -> Never:
        if self.exit_code == -signal.SIGKILL:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(self.exit_code)
