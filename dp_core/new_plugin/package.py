"""The files of a new plugin package, made from ``template/``.

The template is such a package itself, named dp-kestrel, with a component of every kind. What belongs to some kinds only
is in files called by the kind, or in other files between the comments ``kind: ...`` and ``end``; ``without`` names a
kind that leaves it out.
"""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path

from dp_core.component import KINDS
from dp_core.discovery.switches import normalized

TEMPLATE = Path(__file__).parent / "template"

_NAME = re.compile(r"[A-Z0-9]([A-Z0-9._-]*[A-Z0-9])?", re.I)
_COMPONENT = re.compile(r"[a-z][a-z0-9_]*")
_BLOCK = re.compile(
    r"^ *(?:#|<!--) kind: (?P<kinds>[a-z_ ]+?)(?: without (?P<other>[a-z_]+))?(?: -->)?\n"
    r"(?P<text>.*?)^ *(?:#|<!--) end(?: -->)?\n",
    re.M | re.S,
)
_IMPORT = re.compile(r"^(from (?!__future__)\S+ import )(.+)\n", re.M)
_WORD = re.compile(r"dp[-_]kestrel|kestrel|Kestrel")


def is_name(text: str) -> bool:
    """Tell whether a distribution can be called so (PEP 508): ``dp-depth``, ``Lab.X``, ``lab_x2``."""
    return text.isascii() and _NAME.fullmatch(text) is not None


def package_name(distribution: str) -> str:
    """Return the name of the package to import: ``lab_x`` for ``Lab.X``. Python may not accept it."""
    return normalized(distribution).replace("-", "_")


def component_name(distribution: str) -> str:
    """Return the name of the components that a distribution offers: that of its package, without ``dp_``."""
    package = package_name(distribution)
    short = package.removeprefix("dp_")
    return short if _COMPONENT.fullmatch(short) else package


def package_files(distribution: str, kinds: Set[str]) -> dict[Path, str]:
    """Make the files of a package with a component of each of ``kinds``: text by path in the folder of the package.

    With a modality comes an encoder that takes it: nothing else can be trained on it.
    """
    kinds = {*kinds, "encoder"} if "modality" in kinds else kinds
    files = {}
    for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file()):
        path = source.relative_to(TEMPLATE)
        if any(part.startswith((".", "__pycache__")) for part in path.parts):  # what tools left behind
            continue
        kind = path.stem.removeprefix("test_")
        if kind in kinds or kind not in KINDS:
            text = _of_kinds(source.read_text(encoding="utf-8"), kinds)
            files[Path(_renamed(path.as_posix(), distribution))] = _renamed(text, distribution)
    return files


def _of_kinds(text: str, kinds: Set[str]) -> str:
    def chosen(block: re.Match[str]) -> str:
        is_wanted = not kinds.isdisjoint(block["kinds"].split()) and block["other"] not in kinds
        return block["text"] if is_wanted else ""

    return _without_unused_imports(_BLOCK.sub(chosen, text).rstrip() + "\n")


def _without_unused_imports(text: str) -> str:
    body = _IMPORT.sub("", text)

    def used(line: re.Match[str]) -> str:
        names = [name for name in line[2].split(", ") if re.search(rf"\b{name}\b", body)]
        return f"{line[1]}{', '.join(names)}\n" if names else ""

    return re.sub(r"\n{3,}(?=from |import )", "\n\n", _IMPORT.sub(used, text))


def _renamed(text: str, distribution: str) -> str:
    name, package = component_name(distribution), package_name(distribution)
    class_name = name.title().replace("_", "")
    words = {"dp-kestrel": distribution, "dp_kestrel": package, "kestrel": name, "Kestrel": class_name}
    return _WORD.sub(lambda word: words[word[0]], text)
