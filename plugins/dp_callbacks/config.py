"""Options of the callbacks."""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Literal

import attrs
from attrs.validators import ge, gt, min_len

from dp_core import option


@attrs.frozen(kw_only=True)
class JsonLogConfig:
    """A log that programs read."""

    flush_every: int = option(
        100, help="steps between writes; each waits for the device, since losses are read from it", validator=gt(0)
    )


@attrs.frozen(kw_only=True)
class ProgressConfig:
    """A display that people read."""

    refresh_seconds: float = option(1.0, help="seconds between updates of the bar on a terminal", validator=gt(0))
    line_seconds: float = option(30.0, help="seconds between lines where there is no terminal", validator=gt(0))


@attrs.frozen(kw_only=True)
class TopKConfig:
    """Which checkpoints to keep besides the latest. '/' in the names of metrics is written '_' here."""

    monitor_key: str = option(
        "test_mean_score", help="metric that ranks checkpoints: test_mean_score, val_loss, ...", validator=min_len(1)
    )
    mode: Literal["max", "min"] = option("max", help="whether more or less of it is better")
    k: int = option(5, help="how many to keep; 0: none", validator=ge(0))
    format_str: str = option(
        "epoch={epoch:04d}-test_mean_score={test_mean_score:.3f}.ckpt",
        help="file name, a Python format string of 'epoch', 'global_step' and the metrics",
    )

    def check(self) -> Iterable[tuple[str, str]]:
        """The name has to be one of a file in the folder of checkpoints."""
        try:
            fields = [field for _, field, _, _ in string.Formatter().parse(self.format_str) if field is not None]
        except ValueError as error:
            yield "format_str", f"'{self.format_str}' is not a format string: {error}"
            return
        if not fields:
            yield "format_str", f"'{self.format_str}' gives every checkpoint the same name; use '{{epoch:04d}}' in it"
        if "" in fields:
            yield "format_str", f"'{self.format_str}' has a field without a name; write '{{epoch}}' or a metric"
        if "/" in self.format_str:
            yield "format_str", f"'{self.format_str}' must be a file name without '/'; write '_' for '/' in metrics"
