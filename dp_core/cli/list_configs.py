"""``dp-run --list configs``: the configs that come with dp-core."""

from __future__ import annotations

import json

from dp_core.config.presets import is_fragment, presets, summary_of


def configs_text() -> str:
    """What can be run, then what can be extended."""
    summaries = {name: summary_of(path) for name, path in presets().items()}
    width = max(map(len, summaries), default=0)
    lines: dict[bool, list[str]] = {False: [], True: []}
    for name, summary in summaries.items():
        lines[is_fragment(name)].append(f"  {name.ljust(width)}  {summary}")
    return "\n".join(
        ["to run: dp-run NAME", *lines[False], "", "to build on: `extends: [NAME, ...]` in a config", *lines[True]]
    )


def configs_json() -> str:
    """The same facts for programs, and where the files are."""
    return json.dumps(
        [
            {"name": name, "is_fragment": is_fragment(name), "path": str(path), "summary": summary_of(path)}
            for name, path in presets().items()
        ],
        indent=2,
    )
