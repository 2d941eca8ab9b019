"""`RobosuiteEnvironment`: a task of robosuite 1.4, set up as it was when demonstrations were recorded. No torch."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError
from dp_core.kit.rollout.environment import Environment, Start, Step
from dp_robomimic.rotations import actions_to_simulation
from dp_robomimic.shapes import JOINED, RotationRep

_IMAGE_SUFFIX = "_image"
_OBJECT_KEYS = {"object": "object-state"}
"""Names that robomimic's files have for observations of robosuite."""


@attrs.frozen
class Setup:
    """What to simulate, observe and film."""

    env_args: dict[str, Any]
    """Of the file of demonstrations; see `DemonstrationFile.env_args`."""
    image_shapes: dict[str, tuple[int, ...]]
    """``{key: (C, H, W)}``."""
    low_dim_keys: tuple[str, ...]
    is_joined: bool
    """Low-dimensional observations form one vector."""
    abs_action: bool
    rotation_rep: RotationRep
    render_key: str
    render_hw: tuple[int, int]
    is_filmed: bool
    """Some episode is; without films and images no graphics library is needed."""


class RobosuiteEnvironment(Environment):
    """Episodes start from a state of a demonstration or from a seed, which means what it means in the original.

    An episode ends with success; the original goes on until the last step, which changes nothing about the score.
    Observations are those of the present, as in the demonstrations. (What robosuite's own ``step`` returns is a control
    step late: it measures after the first of the simulation steps that one action takes.)
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        with _numpy_seed(0):  # it draws a start already
            self._env = _make(setup)

    def reset(self, start: Start) -> None:
        with _numpy_seed(start.seed):
            self._env.reset()
        if start.state is not None:
            try:
                self._env.sim.set_state_from_flattened(start.state)
            except (ValueError, AssertionError) as error:
                raise DataError(
                    f"the start of demonstration {start.seed} has {len(start.state)} numbers, which are not a state of "
                    f"{self._setup.env_args['env_name']} in the installed robosuite ({error})"
                ) from error
            self._env.sim.forward()

    def observe(self) -> dict[str, NDArray[Any]]:
        setup = self._setup
        observed = self._env._get_observations(force_update=True)
        low_dim = {key: _low_dim(observed, key) for key in setup.low_dim_keys}
        if setup.is_joined:
            low_dim = {JOINED: np.concatenate(list(low_dim.values()))}
        images = {
            key: self._draw(key, shape[1], shape[2]).transpose(2, 0, 1) for key, shape in setup.image_shapes.items()
        }
        return {**low_dim, **images}

    def step(self, action: NDArray[np.float64]) -> Step:
        if self._setup.abs_action:
            action = actions_to_simulation(action, self._setup.rotation_rep)
        _, reward, _, _ = self._env.step(action)
        is_success = bool(self._env._check_success())
        return Step(float(reward), is_over=is_success, is_success=is_success)

    def render(self) -> NDArray[np.uint8]:
        return self._draw(self._setup.render_key, *self._setup.render_hw)

    def close(self) -> None:
        self._env.close()

    def _draw(self, key: str, height: int, width: int) -> NDArray[np.uint8]:
        """RGB (H, W, 3); the simulation's images are upside down."""
        camera = key.removesuffix(_IMAGE_SUFFIX)
        image: NDArray[np.uint8] = self._env.sim.render(camera_name=camera, height=height, width=width)[::-1]
        return np.ascontiguousarray(image)


def _make(setup: Setup) -> Any:
    # On import robosuite warns of a private settings file.
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import robosuite
    finally:
        logging.disable(previous)
    name, version = setup.env_args["env_name"], setup.env_args.get("env_version", "an unknown version")
    draws = setup.is_filmed or bool(setup.image_shapes)
    try:
        return robosuite.make(name, **env_kwargs(setup, draws))
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(
            f"robosuite {robosuite.__version__} cannot make '{name}', recorded with robosuite {version} ({error})"
        ) from error


def env_kwargs(setup: Setup, draws: bool) -> dict[str, Any]:
    """Arguments of ``robosuite.make``: those of the file, but for what concerns evaluation."""
    kwargs = copy.deepcopy(setup.env_args["env_kwargs"])
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
    if setup.abs_action:
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


def _low_dim(observed: Mapping[str, Any], key: str) -> NDArray[np.float32]:
    name = _OBJECT_KEYS.get(key, key)
    if name not in observed:
        raise DataError(f"the environment does not give the observation '{key}'; it gives {sorted(observed)}")
    return np.asarray(observed[name], np.float32).reshape(-1)


@contextlib.contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Robosuite draws from numpy's global generator; let it find ``seed``, and leave no trace."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
