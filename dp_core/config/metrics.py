"""Metrics that options name: which ones a run measures, which one ranks where nobody says, whether more is better.

A workspace's config lists what its runs measure as ``measures``, and the config of a runner what its evaluations do:
names, with ``*`` for any text. A config class with an option that names a metric asks for them in its ``check``::

    def check(self, measures: Sequence[str] = ANY) -> Iterable[tuple[str, str]]:
        if (problem := unmeasured(self.metric, measures)) is not None:
            yield "metric", problem
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

from dp_core.config.fields import Slot
from dp_core.errors import did_you_mean

ANY = ("*",)
"""Stands for the metrics of a config that does not list them: any name."""
RANKING = ("test/mean_score", "val_loss", "train_loss")
"""Metrics that policies are compared by, the most telling one first."""


def measured_by(part: Slot | None) -> tuple[str, ...]:
    """List what a part of a run, such as its runner, measures; `ANY` if it does not say, nothing if there is none."""
    return () if part is None else getattr(part.config, "measures", ANY)


def is_measured(name: str, measures: Sequence[str]) -> bool:
    """Tell whether ``name`` is among ``measures``."""
    return any(name == known or fnmatchcase(name, known) for known in measures)


def unmeasured(name: str, measures: Sequence[str]) -> str | None:
    """Say that ``name`` is not among ``measures``, and what is; None if it is among them."""
    if is_measured(name, measures):
        return None
    hint = did_you_mean(name, measures, "choose one of them")
    return f"'{name}' is not measured with this config, which measures {', '.join(measures)}; {hint}"


def ranking_metric(measures: Sequence[str]) -> str | None:
    """Choose the first of `RANKING` that is measured; None if none is."""
    return next((name for name in RANKING if is_measured(name, measures)), None)


def better(name: str) -> Literal["max", "min"]:
    """Say which values of a metric are better: the small ones of losses and errors, else the large ones."""
    return "min" if name.endswith(("loss", "error")) else "max"
