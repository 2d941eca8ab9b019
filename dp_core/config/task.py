"""`ShapeMeta`: the option of a workspace that says what its task observes and does. Resolves the modality of every key.

An entry of ``obs`` holds ``shape``, ``type``, the options that the config class of that modality has, and annotations:
whatever else somebody wants to note about the key, which only those look at who know it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import attrs

from dp_core.component import Component
from dp_core.config.env_variables import without_marks
from dp_core.config.fields import Slot
from dp_core.config.rules import RULES, method_label, questions, reports
from dp_core.config.wording import join_path, show
from dp_core.errors import PluginError, did_you_mean

DEFAULT_TYPE = "low_dim"
"""The modality of a key that names none."""
WHEN = ("step", "episode")
"""Values of the annotation ``when`` of an observation: recorded at every step, or once in an episode, as goals are."""

ACTION = "action"
"""What is learnt: its name beside the observations, and in what is recorded and handed to a policy."""
_KEYS = ("obs", ACTION)

MODALITY_CONTEXT = ("shape", "key")
"""Names that the rules of a modality may ask for: the shape of the observation, and its key."""


class ShapeMeta(dict[str, Any]):
    """What a task observes and does: plain containers, and the modality that ``type`` of each observation stands for.

    ``{"obs": {key: {"shape": [...], "type": "rgb", ...}}, "action": {"shape": [Da], ...}}``. Types are short names
    here and qualified ones in what is saved. Annotate an option of a workspace with this class, and the types, their
    options and shapes are checked with the rest of the config.
    """

    modalities: Mapping[str, Slot]
    """The modality of each observation, with its options."""

    def __init__(self, contents: Mapping[str, Any], modalities: Mapping[str, Slot]) -> None:
        super().__init__(contents)
        self.modalities = modalities
        self.built: dict[str, Any] = {}
        """Modalities that were made already, see `dp_core.shape_meta`; neither copied nor pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ShapeMeta, (dict(self), self.modalities)

    def qualified(self) -> dict[str, Any]:
        """Return plain containers with the qualified names of modalities, as they are saved."""
        obs = {
            key: {**spec, "type": self.modalities[key].component.qualified_name} if key in self.modalities else spec
            for key, spec in self["obs"].items()
        }
        return {**self, "obs": obs}


class ComponentSource(Protocol):
    """The place where the names of components are looked up: a `dp_core.registry.Registry`."""

    def resolve(self, kind: str, name: str) -> Component:
        """Return the component that a config means by ``name``, or raise a `PluginError`."""

    def components(self, kind: str | None = None) -> list[Component]:
        """Return the components of ``kind``."""


@attrs.frozen
class TaskReader:
    """Turns plain containers into a `ShapeMeta`.

    ``null`` in the place of an observation, or of an annotation, removes one that a config underneath put there.
    """

    registry: ComponentSource
    make_options: Callable[[Component, Mapping[str, Any], str], Any]
    """Returns the typed options of a component; reports itself what is wrong with them."""
    is_sound: Callable[[Any], bool]
    """Tells whether nothing was."""
    fail: Callable[[str, str], Any]
    """Told what is wrong: a dotted path and a message."""
    advise: Callable[[str, str], Any]
    """Told what is possible, but hardly meant."""
    removes: Callable[[str, str, Iterable[str]], bool]
    """Told of each ``null``: its path, its key and the entries that there are; reports one that removes nothing."""

    def read(self, value: Any, path: str) -> ShapeMeta:
        """Return what could be read of ``value``; what could not is reported below ``path``."""
        if not isinstance(value, Mapping):
            self.fail(path, f"expected a mapping with 'obs' and 'action', got {show(value)}")
            return ShapeMeta({}, {})
        for key, item in value.items():
            if key not in _KEYS and item is None:
                self.removes(join_path(path, str(key)), str(key), _KEYS)
            elif key not in _KEYS:
                self.fail(join_path(path, str(key)), "unknown key; expected 'obs' and 'action'")
        observations = self._observations(value.get("obs"), join_path(path, "obs"))
        action = self._action(value.get("action"), join_path(path, "action"))
        obs = {key: spec for key, (spec, _) in observations.items()}
        return ShapeMeta({"obs": obs, "action": action}, {key: slot for key, (_, slot) in observations.items()})

    def _observations(self, value: Any, path: str) -> dict[str, tuple[dict[str, Any], Slot]]:
        if not isinstance(value, Mapping) or all(spec is None for spec in value.values()):
            hint = "; to leave out an inherited one, set its key to null" if value is None else ""
            if isinstance(value, Mapping) and value:
                hint = "; null leaves a key out, and there is no other"
            self.fail(path, f"expected a mapping of observation keys, got {show(value)}{hint}")
            return {}
        given = {str(key): spec for key, spec in value.items() if spec is not None}
        for key in (str(key) for key, spec in value.items() if spec is None):
            self.removes(join_path(path, key), key, given)
        read = {key: self._observation(key, spec, join_path(path, key)) for key, spec in given.items()}
        return {key: observation for key, observation in read.items() if observation is not None}

    def _observation(self, key: str, spec: Any, path: str) -> tuple[dict[str, Any], Slot] | None:
        """Read one entry of ``obs``: what it holds, complete with defaults, and its modality."""
        if key == ACTION:
            self.fail(path, f"'{ACTION}' is the name of what is learnt; call the observation otherwise")
            return None
        if not self._has_shape(spec, path):
            return None
        name = DEFAULT_TYPE if spec.get("type") is None else spec["type"]
        if not isinstance(name, str):
            self.fail(f"{path}.type", f"expected the name of a modality, got {show(name)}")
            return None
        try:
            component = self.registry.resolve("modality", str(name))
        except PluginError as error:
            self.fail(f"{path}.type", str(error))
            return None
        known = attrs.fields_dict(component.config)
        # Former names of options are refused as options, with their names of today; as annotations, they would be kept.
        former = {name: spec[name] for name in component.renamed if spec.get(name) is not None}
        given = {name: value for name, value in spec.items() if name in known}
        config = self.make_options(component, given | former, path)
        shape = self._shape(spec, path)
        annotations = self._annotations(spec, ("type", *known, *component.renamed), path)
        if shape is None or not self.is_sound(config):
            return None
        modality = Slot(component, config, path)
        self._ask_rules(modality, key, tuple(shape), path)
        options = {name: getattr(config, name) for name in known}
        return {"shape": shape, "type": component.name, **options, **annotations}, modality

    def _action(self, spec: Any, path: str) -> dict[str, Any]:
        if not self._has_shape(spec, path):
            return {}
        shape = self._shape(spec, path)
        if shape is not None and len(shape) != 1:
            self.fail(f"{path}.shape", f"expected one number, the size of an action, got {list(shape)}")
        annotations = self._annotations(spec, (), path, advise=False)
        if "type" in annotations:
            self.advise(f"{path}.type", "an action has no modality: this is kept as an annotation; leave it out")
        if annotations.get("when", WHEN[0]) != WHEN[0]:
            found = show(annotations["when"])
            self.fail(
                f"{path}.when", f"got {found}; only observations are taken once, actions at every step; leave it out"
            )
        return {"shape": shape, **annotations}

    def _has_shape(self, spec: Any, path: str) -> bool:
        if isinstance(spec, Mapping) and "shape" in spec:
            return True
        self.fail(path, f"expected a mapping with 'shape', got {show(spec)}")
        return False

    def _shape(self, spec: Mapping[str, Any], path: str) -> Any:
        shape = without_marks(spec["shape"])
        if isinstance(shape, list | tuple) and all(type(n) is int and n > 0 for n in shape):
            return shape
        self.fail(f"{path}.shape", f"expected a list of positive whole numbers, got {show(shape)}")
        return None

    def _annotations(
        self, spec: Mapping[str, Any], options: tuple[str, ...], path: str, *, advise: bool = True
    ) -> dict[str, Any]:
        annotations = {
            str(name): without_marks(value)
            for name, value in spec.items()
            if name not in ("shape", *options) and value is not None
        }
        for name, value in annotations.items() if advise else ():
            if name == "when" and value not in WHEN:
                self.fail(f"{path}.when", f"expected {' or '.join(WHEN)}, got {show(value)}")
            elif name != "when" and (hint := did_you_mean(name, ["shape", "when", *options])):
                self.advise(f"{path}.{name}", f"is no option, and kept as an annotation; {hint}")
        return annotations

    def _ask_rules(self, modality: Slot, key: str, shape: tuple[int, ...], path: str) -> None:
        """Ask ``check`` and ``advise`` of a modality's options, which may ask for ``shape`` and ``key``."""
        component, config = modality.component, modality.config
        owner = f"{component.label} of {component.distribution}"
        known = dict(zip(MODALITY_CONTEXT, (shape, key), strict=True))
        for rule in (rule for rule in RULES if hasattr(type(config), rule)):
            asked = questions(type(config), rule)
            if unknown := [name for name in asked if name not in known]:
                raise PluginError(
                    f"{method_label(config, rule, owner)} asks for '{unknown[0]}'; a modality can ask for 'shape' and "
                    "'key'"
                )
            for name, message in reports(config, rule, owner, **{name: known[name] for name in asked}):
                (self.fail if rule == "check" else self.advise)(join_path(path, name), message)
