"""Records which noise process weights were trained to reverse, so that only a sampler for the same one replaces theirs.

A scheduler is a noise process, which training sees, and a sampler, which it does not. `NoiseProcess` says which options
belong to the process; `keep_process` carries them from a checkpoint to the scheduler that takes over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from dp_core.component import Component
from dp_core.config.env_variables import without_marks
from dp_core.errors import ConfigError, PluginError, Problem, quoted

if TYPE_CHECKING:
    from dp_core.registry import Registry

_ABSENT: Any = object()


@attrs.frozen
class NoiseProcess:
    """The noise process of a scheduler; its config class states it as ``process: ClassVar[NoiseProcess] = ...``.

    Schedulers that state the same name can sample for each other, and have the options of the process in common. Where
    the process depends on options, the class has a class method ``noise_process(block) -> NoiseProcess | None`` in its
    place, which is given the block of a config as a plain mapping, complete or not; None for what ``check`` refuses.
    """

    name: str
    """The name of the process, as messages show it: ``"variance preserving"``."""
    options: tuple[str, ...] = ()
    """The options that the weights depend on: a sampler must have the values of training."""
    data_options: tuple[str, ...] = ()
    """The options that describe the data, such as their range: carried over as well, but free to change."""
    places: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    """Dotted paths inside the block of those options that are found elsewhere than under their name."""
    defaults: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    """What those options are where a block does not say, which may be so in a complete config, too."""

    def place(self, option: str) -> str:
        """Return the dotted path of an option inside the block."""
        return self.places.get(option, option)


def keep_process(
    registry: Registry, trained: Mapping[str, Any], kinds: Mapping[str, str], data: dict[str, Any], source: str
) -> dict[str, Any]:
    """Give the schedulers in ``data`` the noise process that the weights were trained for, where they do not set it.

    What is not a block, or not installed, is left for others to report.

    Args:
        trained: the complete config of the run that made the weights.
        kinds: of the components in it, by dotted path.
        data: the config that the weights are to be used with. Changed in place, and returned.

    Raises:
        ConfigError: a scheduler that reverses another process, or states other options of it.
    """
    problems: list[Problem] = []
    for path in (path for path, kind in kinds.items() if kind == "scheduler"):
        former, block = _at(trained, path), _at(data, path)
        if isinstance(former, Mapping) and isinstance(block, dict) and former != block:
            problems += _keep_one(registry, former, block, path)
    if problems:
        raise ConfigError(source, problems)
    return data


def _keep_one(registry: Registry, former: Mapping[str, Any], block: dict[str, Any], path: str) -> Iterator[Problem]:
    sampler = _resolve(registry, block)
    if sampler is None:
        return
    if message := _why_not(registry, former, sampler, block):
        yield Problem(path, message)
        return
    trained = _process(_resolve(registry, former), former) or NoiseProcess("")
    process = _process(sampler, block) or NoiseProcess("")
    for name in process.options + process.data_options:
        was = _at(former, trained.place(name), trained.defaults.get(name, _ABSENT))
        place = process.place(name)
        now = _at(block, place, _ABSENT)
        if was is _ABSENT:
            continue
        if now is _ABSENT:
            _put(block, place, was)
        elif name in process.options and without_marks(now) != was:
            yield Problem(
                f"{path}.{place}",
                f"{now!r}, but the weights were trained with {was!r}; leave it out, or train again",
            )


def _why_not(registry: Registry, former: Mapping[str, Any], sampler: Component, block: Mapping[str, Any]) -> str | None:
    """Why ``sampler``, with the options in ``block``, cannot sample for weights trained with ``former``."""
    trainer = _resolve(registry, former)
    if trainer == sampler and not hasattr(sampler.config, "noise_process"):
        return None
    if trainer is None:
        distribution = former["name"].partition("/")[0]
        return (
            f"whether '{sampler.name}' can sample is unknown: '{former['name']}', which the weights were trained with, "
            f"is not installed; install with: pip install {distribution}"
        )
    trained, reversed_ = _process(trainer, former), _process(sampler, block)
    if reversed_ is None and hasattr(sampler.config, "noise_process"):
        return None  # which is reported with the config
    if trained is None or reversed_ is None:
        silent = trainer if trained is None else sampler
        return (
            f"whether '{sampler.name}' can sample is unknown: the weights were trained with '{trainer.name}', and "
            f"{silent.config.__name__} of {silent.distribution} does not state its noise process"
        )
    if trained.name == reversed_.name:
        return None
    return (
        f"'{sampler.name}' reverses the noise process '{reversed_.name}', but the weights were trained with "
        f"'{trainer.name}' for '{trained.name}'; choose {_samplers(registry, trained)}, or train again"
    )


def _samplers(registry: Registry, process: NoiseProcess) -> str:
    found = [(component.name, _process(component, {})) for component in registry.components("scheduler")]
    return quoted((name for name, other in found if other is not None and other.name == process.name), " or ")


def _process(component: Component | None, block: Mapping[str, Any]) -> NoiseProcess | None:
    config = None if component is None else component.config
    if decide := getattr(config, "noise_process", None):
        decided: NoiseProcess | None = decide(without_marks(dict(block)))
        return decided
    return getattr(config, "process", None)


def _resolve(registry: Registry, block: Mapping[str, Any]) -> Component | None:
    try:
        return registry.resolve("scheduler", str(block.get("name")))
    except PluginError:
        return None


def _at(data: Any, path: str, default: Any = None) -> Any:
    for key in path.split("."):
        if not isinstance(data, Mapping) or key not in data:
            return default
        data = data[key]
    return data


def _put(data: dict[str, Any], path: str, value: Any) -> None:
    *outer, last = path.split(".")
    for key in outer:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            return  # no block, which others report
    data[last] = value
