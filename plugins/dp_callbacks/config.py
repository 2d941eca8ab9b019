"""Options of the callbacks."""

from __future__ import annotations

import re
import string
import textwrap
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import attrs
from attrs.validators import ge, gt, min_len, optional

from dp_core import option
from dp_core.atomic import LONGEST_NAME
from dp_core.config.metrics import ANY, RANKING, better, is_measured, ranking_metric, unmeasured
from dp_core.errors import quoted


@attrs.frozen(kw_only=True)
class JsonLogConfig:
    """How often a log is written that programs read."""

    needs: ClassVar[tuple[str, ...]] = ("progress",)

    flush_every: int = option(
        100, help="steps between writes; each waits for the device, since losses are read from it", validator=gt(0)
    )


@attrs.frozen(kw_only=True)
class ProgressConfig:
    """How often a display is updated that people read."""

    needs: ClassVar[tuple[str, ...]] = ("progress", "num_epochs", "steps_per_epoch", "batch_size")

    refresh_seconds: float = option(1.0, help="seconds between updates of the bar on a terminal", validator=gt(0))
    line_seconds: float = option(30.0, help="seconds between lines where there is no terminal", validator=gt(0))


@attrs.frozen(kw_only=True)
class EarlyStopConfig:
    """When a run has learnt what it can. '/' in the names of metrics may be written '_' here."""

    needs: ClassVar[tuple[str, ...]] = ("request_stop",)

    metric: str = option(
        "val_loss", help="metric that has to improve: val_loss, test_mean_score, ...", validator=min_len(1)
    )
    mode: Literal["max", "min"] | None = option(
        None, help="whether more or less of it is better; null: min for what ends in loss or error, else max"
    )
    patience: int = option(
        10, help="measurements in a row without improvement after which the run stops", validator=gt(0)
    )
    min_delta: float = option(
        0.0, help="difference to the best value that has to be exceeded to count as improvement", validator=ge(0)
    )

    @property
    def order(self) -> Literal["max", "min"]:
        """``mode``, or what null stands for."""
        return self.mode or better(self.metric)

    def check(self, measures: Sequence[str] = ANY) -> Iterable[tuple[str, str]]:
        """Yield a metric that the run does not measure: nothing would ever stop it."""
        if not is_measured(_in_names(self.metric), [_in_names(name) for name in measures]):
            yield "metric", str(unmeasured(self.metric, measures))


_POSITION = {"epoch": 9999, "global_step": 99_999_999}


@attrs.frozen(kw_only=True)
class TopKConfig:
    """Which checkpoints to keep besides the latest. '/' in the names of metrics is written '_' here."""

    needs: ClassVar[tuple[str, ...]] = ("progress",)

    monitor_key: str | None = option(
        None,
        help=f"metric that ranks checkpoints; null: the first of {', '.join(RANKING)} that the run measures",
        validator=optional(min_len(1)),
    )
    mode: Literal["max", "min"] | None = option(
        None, help="whether more or less of it is better; null: min for what ends in loss or error, else max"
    )
    k: int = option(5, help="how many to keep; 0: none", validator=ge(0))
    format_str: str | None = option(
        None,
        help="file name, a Python format string of 'epoch', 'global_step' and the metrics; null: "
        "epoch={epoch:04d}-KEY={KEY:.3f}.ckpt, where KEY is the metric that ranks",
    )

    def metric(self, measures: Sequence[str]) -> str:
        """Return the metric that ranks checkpoints of a run that measures this, as in names of files."""
        return _in_names(self.monitor_key or ranking_metric(measures) or RANKING[0])

    def order(self, measures: Sequence[str]) -> Literal["max", "min"]:
        """Return ``mode``, or what null stands for."""
        return self.mode or better(self.metric(measures))

    def file_name(self, measures: Sequence[str]) -> str:
        """Return ``format_str``, or what null stands for."""
        metric = self.metric(measures)
        default = f"epoch={{epoch:04d}}-{metric}={{{metric}:.3f}}.ckpt"
        return default if self.format_str is None else self.format_str

    def check(self, measures: Sequence[str] = ANY) -> Iterable[tuple[str, str]]:
        """Yield what keeps the name from being one of a file in the folder of checkpoints, made of what is measured."""
        if self.k and (problem := self._why_not_ranked(measures)) is not None:
            yield "monitor_key", problem
            return
        if self.format_str is None and set(self.metric(measures)) & set("{}[].:!"):
            yield "monitor_key", f"'{self.monitor_key}' cannot be part of the name of a file; set format_str"
            return
        text = self.file_name(measures)
        if (problem := _why_no_file_name(text)) is not None:
            yield "format_str", f"'{text}' {problem}"
            return
        in_names = [_in_names(name) for name in measures]
        for field in fields_of(text) if self.k else ():
            if field not in _POSITION and (problem := unmeasured(field, in_names)) is not None:
                null = attrs.evolve(self, format_str=None).file_name(measures)
                yield "format_str", f"{problem}, or set format_str to null for '{null}'"

    def _why_not_ranked(self, measures: Sequence[str]) -> str | None:
        if self.monitor_key is None and ranking_metric(measures) is None:
            return (
                f"null stands for {quoted(RANKING, ' or ')}, and this config measures none of them; choose from "
                f"{', '.join(measures)}, or leave the callback out"
            )
        if is_measured(self.metric(measures), [_in_names(name) for name in measures]):
            return None
        return unmeasured(str(self.monitor_key), measures)


def _in_names(metric: str) -> str:
    return metric.replace("/", "_")


def fields_of(format_str: str) -> list[str]:
    """List the names of the values in a format string."""
    return [field for _, field, _, _ in string.Formatter().parse(format_str) if field is not None]


def _why_no_file_name(format_str: str) -> str | None:
    """Say what is wrong with a format string, or return None. Formats nothing that could be large."""
    try:
        parts = [part for part in string.Formatter().parse(format_str) if part[1] is not None]
    except ValueError as error:
        return f"is not a format string: {error}"
    if not parts:
        return "gives every checkpoint the same name; use '{epoch:04d}' in it"
    for _, field, spec, _ in parts:
        if not field:
            return "has a field without a name; write '{epoch}' or a metric"
        if set(field) & set(".["):
            return f"has the field '{field}'; write the name of a metric, without '.' and '['"
        if "{" in (spec or "") or re.search(r"[1-9]\d\d", spec or ""):
            return f"has the width ':{textwrap.shorten(spec or '', 20)}' for '{field}'; write a number up to 99"
    if "/" in format_str or "\0" in format_str:
        return "must be a file name without '/'; write '_' for '/' in metrics"
    return _why_no_example(format_str)


def _why_no_example(format_str: str) -> str | None:
    """Try it on numbers like those of a run."""
    values = dict.fromkeys(fields_of(format_str), -1234.5678) | _POSITION
    try:
        name = format_str.format_map(values)
    except ValueError as error:
        return f"does not fit numbers such as {_POSITION['epoch']} for 'epoch' and -1234.5678 for a metric: {error}"
    if (size := len(name.encode())) > LONGEST_NAME:
        return f"makes names of {size} bytes, such as '{name[:40]}...'; a file can have {LONGEST_NAME}"
    return None
