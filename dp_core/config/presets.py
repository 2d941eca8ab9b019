"""The configs that have names: ``quickstart`` comes with dp-core, ``borel-data/pendulum`` with a plugin's package."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from dp_core.errors import did_you_mean

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SUFFIX = ".yaml"
FRAGMENTS = ("base", "policy", "task")
"""Folders of configs, or single ones, that are not whole: others extend them."""
OWN = "dp-core"
"""The distribution whose configs have short names besides, so that no package can take or change one of them."""

_PACKAGE = Path(__file__).parents[1]
_SENTENCE = re.compile(r".*?\.(?=\s+[A-Z]|$)")
_copies: dict[str, Path] = {}
"""Folders that are not on the disk, and where they were copied to."""


@attrs.frozen
class ConfigFolder:
    """A folder of configs in an installed package, which may be a zip file."""

    folder: Traversable

    def files(self) -> dict[str, Traversable]:
        """Return every config by its name: the path below the folder, without ``.yaml``."""
        return dict(_configs_below(self.folder))

    def on_disk(self) -> Path:
        """Return the folder, or a copy that is there until this process ends: configs extend their neighbours."""
        if isinstance(self.folder, Path):
            return self.folder
        key = str(self.folder)
        if key not in _copies:
            _copies[key] = Path(tempfile.mkdtemp(prefix="dp-configs-"))
            atexit.register(shutil.rmtree, _copies[key], ignore_errors=True)
            for name, file in self.files().items():
                copy = _copies[key] / f"{name}{SUFFIX}"
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
        return _copies[key]


@attrs.frozen
class Preset:
    """A config that has a name."""

    name: str
    """As commands and ``extends`` say it: ``quickstart``, ``borel-data/pendulum``."""
    distribution: str
    path: Path

    @property
    def is_fragment(self) -> bool:
        """Whether it is incomplete, for others to extend."""
        return self.name.removeprefix(f"{self.distribution}/").partition("/")[0] in FRAGMENTS

    @property
    def summary(self) -> str:
        """The first sentence of the comment that it starts with, without its full stop."""
        return summary_of(self.path)


@attrs.frozen
class Presets:
    """Every config that has a name here: those of dp-core, and those that plugins ship."""

    shipped: Sequence[Preset] = ()
    """Those of plugins."""
    distributions: Mapping[str, str] = attrs.field(factory=dict)
    """What is installed, or was to be, and why plugins of it are not in use; empty if all are."""

    def all(self) -> list[Preset]:
        """List the configs, sorted, those of dp-core first."""
        return [*_own(), *sorted(self.shipped, key=lambda preset: preset.name)]

    def get(self, name: str) -> Preset | None:
        """Return the config that has this name; those of dp-core may be written ``dp-core/quickstart``, too."""
        presets = {preset.name: preset for preset in reversed(self.all())}
        return presets.get(name) or presets.get(name.removeprefix(f"{OWN}/"))

    def find(self, text: str | Path, folder: Path = Path()) -> Path:
        """Find the config that ``text`` means: a file, relative to ``folder``, or else a preset.

        If it is neither, the path where the file would be is returned.
        """
        path = folder / text
        preset = None if path.is_file() else self.get(str(text))
        return preset.path if preset else path

    def fragment_meant(self, text: str | Path) -> str | None:
        """Return the name of the preset that ``text`` means, by name or as a file, if it is a fragment; else None."""
        path = self.find(text).resolve()
        return next((p.name for p in self.all() if p.is_fragment and p.path.resolve() == path), None)

    def why_not_found(self, text: str | Path, by: str = "") -> str:
        """Explain that a config is not there.

        Args:
            by: who asked for it, as the message continues: ``", which a.yaml extends"``.
        """
        text = Path(text).as_posix()
        if not text.endswith((SUFFIX, ".yml")):
            return f"neither a file nor the name of a config{by}; {self._what_to_do(text)}"
        name = text.removesuffix(SUFFIX)
        if preset := self.get(name) or self.get(name.rpartition("configs/")[2]):
            of_this_name = f"the config of this name that comes with {preset.distribution} is '{preset.name}'"
            return f"no such file{by}; {of_this_name}, without {SUFFIX}"
        return f"no such file{by}"

    def _what_to_do(self, text: str) -> str:
        if Path(text).is_absolute() or ".." in Path(text).parts:
            return f"a file is meant with its ending, {SUFFIX}"
        distribution, _, rest = text.partition("/")
        listed = "dp-run --list configs shows those"
        if of_it := [p.name.partition("/")[2] for p in self.shipped if p.distribution == distribution]:
            near = get_close_matches(rest, of_it, n=1)
            hint = f"did you mean '{distribution}/{near[0]}'?" if near else listed
        else:
            hint = did_you_mean(text, [preset.name for preset in self.all()], listed, n=3)
        why = self.distributions.get(distribution, "")
        if not why and not of_it and rest and hint == listed:
            is_there = distribution in self.distributions
            why = f"{distribution} has no configs" if is_there else f"no plugin of '{distribution}' is installed"
        return f"{why}; {hint}" if why else hint


def summary_of(path: Path) -> str:
    """Return the first sentence of the comment that a config starts with, without its full stop."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = " ".join(line.lstrip("# ") for line in lines[:end])
    sentence = _SENTENCE.match(comment)
    return (sentence[0] if sentence else comment).removesuffix(".")


def _own() -> list[Preset]:
    in_wheel, in_checkout = _PACKAGE / "configs", _PACKAGE.parent / "configs"
    folder = in_wheel if in_wheel.is_dir() else in_checkout
    names = ConfigFolder(folder).files() if folder.is_dir() else {}
    return [Preset(name, OWN, folder / f"{name}{SUFFIX}") for name in sorted(names)]


def _configs_below(folder: Traversable, start: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue  # what editors leave
        if entry.is_dir():
            yield from _configs_below(entry, f"{start}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            yield start + entry.name.removesuffix(SUFFIX), entry
