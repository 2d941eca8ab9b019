"""The configs that come with dp-core, by name: ``quickstart`` is ``configs/quickstart.yaml``, wherever that is."""

from __future__ import annotations

import re
from pathlib import Path

from dp_core.errors import did_you_mean

SUFFIX = ".yaml"
FRAGMENTS = ("base", "policy", "task")
"""Folders of configs that are not whole: others extend them."""

_PACKAGE = Path(__file__).parents[1]
_SENTENCE = re.compile(r".*?\.(?=\s+[A-Z]|$)")


def presets() -> dict[str, Path]:
    """Return the path of every config by its name, the path below the folder of configs without ``.yaml``, sorted."""
    in_wheel, in_checkout = _PACKAGE / "configs", _PACKAGE.parent / "configs"
    folder = in_wheel if in_wheel.is_dir() else in_checkout
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob(f"*{SUFFIX}")}
    return dict(sorted(names.items()))


def find_config(text: str | Path, folder: Path = Path()) -> Path:
    """Find the config that ``text`` means: a file, relative to ``folder``, or else a preset.

    If it is neither, the path where the file would be is returned.
    """
    path = folder / text
    return path if path.is_file() else presets().get(str(text), path)


def is_fragment(name: str) -> bool:
    """Tell whether the preset ``name`` is incomplete, for others to extend."""
    return name.partition("/")[0] in FRAGMENTS


def fragment_meant(text: str | Path) -> str | None:
    """Return the preset that ``text`` means, by name or as a file, if it is a fragment; else None."""
    path = find_config(text).resolve()
    return next((name for name, file in presets().items() if is_fragment(name) and file.resolve() == path), None)


def why_not_found(text: str | Path, by: str = "") -> str:
    """Explain that a config is not there.

    Args:
        by: who asked for it, as the message continues: ``", which a.yaml extends"``.
    """
    text, names = Path(text).as_posix(), list(presets())
    if not text.endswith((SUFFIX, ".yml")):
        hint = did_you_mean(text, names, "dp-run --list configs shows those", n=3)
        return f"neither a file nor a config that comes with dp-core{by}; {hint}"
    if (name := text.removesuffix(SUFFIX).rpartition("configs/")[2]) in names:
        return f"no such file{by}; the config of this name that comes with dp-core is '{name}', without {SUFFIX}"
    return f"no such file{by}"


def summary_of(path: Path) -> str:
    """Return the first sentence of the comment that a config starts with, without its full stop."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = " ".join(line.lstrip("# ") for line in lines[:end])
    sentence = _SENTENCE.match(comment)
    return (sentence[0] if sentence else comment).removesuffix(".")
