"""`Simulation`: a task of robosuite 1.4, set up as it was when demonstrations were recorded. No policies, no torch."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError


class Simulation:
    """Simulates the task that ``env_args`` describe.

    What robosuite's own ``step`` returns as observation is a control step late, as it measures after the first of the
    simulation steps that one action takes. Here observations are those of the present, as in the demonstrations.

    Args:
        env_args: of the file of demonstrations; see `DemonstrationFile.env_args`.
        abs_action: actions are poses, not changes of the pose.
        draws: whether `render` is ever called; if not, no graphics library is needed.

    Raises:
        DataError: the installed robosuite cannot make it.
    """

    def __init__(self, env_args: Mapping[str, Any], *, abs_action: bool, draws: bool) -> None:
        self.name: str = env_args["env_name"]
        with _numpy_seed(0):  # it draws a start already
            self._env = _make(env_args, abs_action=abs_action, draws=draws)

    def reset(self, seed: int) -> None:
        """Start where ``seed`` says, which means what it means in the original."""
        with _numpy_seed(seed):
            self._env.reset()

    def set_state(self, state: NDArray[np.floating]) -> None:
        """Continue from ``state`` (N,), as demonstrations record it: time, positions, velocities.

        Raises:
            ValueError, AssertionError: it is not a state of this task; raised by robosuite.
        """
        self._env.sim.set_state_from_flattened(state)
        self._env.sim.forward()

    def observe(self) -> Mapping[str, Any]:
        """Measure everything that robosuite observes, by its names; images are not among it."""
        observed: Mapping[str, Any] = self._env._get_observations(force_update=True)
        return observed

    def step(self, action: NDArray[np.floating]) -> float:
        """Advance by one control step under ``action`` (7 per arm), in robosuite's form; return the reward."""
        _, reward, _, _ = self._env.step(action)
        return float(reward)

    def is_solved(self) -> bool:
        """Tell whether the task is done at present."""
        return bool(self._env._check_success())

    def render(self, camera: str, height: int, width: int) -> NDArray[np.uint8]:
        """Draw what ``camera`` sees: RGB (height, width, 3)."""
        # The simulation's images are upside down.
        image: NDArray[np.uint8] = self._env.sim.render(camera_name=camera, height=height, width=width)[::-1]
        return np.ascontiguousarray(image)

    def close(self) -> None:
        """Free the simulation."""
        self._env.close()


def _make(env_args: Mapping[str, Any], *, abs_action: bool, draws: bool) -> Any:
    # On import robosuite warns of a private settings file.
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import robosuite
    finally:
        logging.disable(previous)
    name, version = env_args["env_name"], env_args.get("env_version", "an unknown version")
    try:
        return robosuite.make(name, **env_kwargs(env_args, abs_action=abs_action, draws=draws))
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(
            f"robosuite {robosuite.__version__} cannot make '{name}', recorded with robosuite {version} ({error})"
        ) from error


def env_kwargs(env_args: Mapping[str, Any], *, abs_action: bool, draws: bool) -> dict[str, Any]:
    """Return the arguments of ``robosuite.make``: those of the file, but for what concerns evaluation.

    Raises:
        DataError: they name no controller, which absolute actions need.
    """
    kwargs = copy.deepcopy(env_args["env_kwargs"])
    kwargs |= {
        "has_renderer": False,
        "has_offscreen_renderer": draws,
        "use_object_obs": True,
        "use_camera_obs": False,  # drawn where they are needed
        "ignore_done": True,
        "reward_shaping": False,
        "hard_reset": False,  # as the original: it saves memory, and the starts that seeds mean depend on it
    }
    for key in ("camera_names", "camera_heights", "camera_widths", "camera_depths"):
        kwargs.pop(key, None)
    if abs_action:
        for controller in _controllers(kwargs.get("controller_configs")):
            controller["control_delta"] = False
    return kwargs


def _controllers(configs: Any) -> list[dict[str, Any]]:
    """One for all arms, or one for each."""
    if isinstance(configs, Mapping):
        return [configs]  # type: ignore[list-item]  # JSON has no other mapping
    if isinstance(configs, list):
        return configs
    raise DataError("the file of demonstrations does not say which controller to use; absolute actions need one")


@contextlib.contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Robosuite draws from numpy's global generator; let it find ``seed``, and leave no trace."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
