"""Options of the callbacks."""

from __future__ import annotations

import re
import string
import textwrap
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import attrs
from attrs.validators import ge, gt, min_len

from dp_core import option
from dp_core.atomic import LONGEST_NAME


@attrs.frozen(kw_only=True)
class JsonLogConfig:
    """A log that programs read."""

    needs: ClassVar[tuple[str, ...]] = ("progress",)

    flush_every: int = option(
        100, help="steps between writes; each waits for the device, since losses are read from it", validator=gt(0)
    )


@attrs.frozen(kw_only=True)
class ProgressConfig:
    """A display that people read."""

    needs: ClassVar[tuple[str, ...]] = ("progress", "num_epochs", "steps_per_epoch", "batch_size")

    refresh_seconds: float = option(1.0, help="seconds between updates of the bar on a terminal", validator=gt(0))
    line_seconds: float = option(30.0, help="seconds between lines where there is no terminal", validator=gt(0))


_POSITION = {"epoch": 9999, "global_step": 99_999_999}
_UNKNOWN: Any = object()
"""Stands for a block that the workspace does not have."""


@attrs.frozen(kw_only=True)
class TopKConfig:
    """Which checkpoints to keep besides the latest. '/' in the names of metrics is written '_' here."""

    needs: ClassVar[tuple[str, ...]] = ("progress",)

    monitor_key: str = option(
        "test_mean_score", help="metric that ranks checkpoints: test_mean_score, val_loss, ...", validator=min_len(1)
    )
    mode: Literal["max", "min"] = option("max", help="whether more or less of it is better")
    k: int = option(5, help="how many to keep; 0: none", validator=ge(0))
    format_str: str | None = option(
        None,
        help="file name, a Python format string of 'epoch', 'global_step' and the metrics; null: "
        "epoch={epoch:04d}-KEY={KEY:.3f}.ckpt, where KEY is monitor_key",
    )

    @property
    def metric(self) -> str:
        """``monitor_key`` as it is written in names of files."""
        return self.monitor_key.replace("/", "_")

    @property
    def file_name(self) -> str:
        """``format_str``, or what null stands for."""
        default = f"epoch={{epoch:04d}}-{self.metric}={{{self.metric}:.3f}}.ckpt"
        return default if self.format_str is None else self.format_str

    def check(self, runner: Any = _UNKNOWN) -> Iterable[tuple[str, str]]:
        """The name has to be one of a file in the folder of checkpoints, made of what is measured."""
        if self.format_str is None and set(self.metric) & set("{}[].:!"):
            yield "monitor_key", f"'{self.monitor_key}' cannot be part of the name of a file; set format_str"
            return
        text = self.file_name
        if (problem := _why_no_file_name(text)) is not None:
            yield "format_str", f"'{text}' {problem}"
            return
        absent = [field for field in fields_of(text) if field.startswith("test_") and field != self.metric]
        if runner is None and absent and not self.metric.startswith("test_"):
            yield (
                "format_str",
                f"'{text}' needs '{absent[0]}', which a runner measures, and there is none; set it to null for "
                f"'{attrs.evolve(self, format_str=None).file_name}'",
            )


def fields_of(format_str: str) -> list[str]:
    """Names of the values in a format string."""
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
