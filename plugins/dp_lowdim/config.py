"""Options of the low-dimensional encoder."""

from __future__ import annotations

from typing import ClassVar

import attrs


@attrs.frozen(kw_only=True)
class LowdimConfig:
    """Options of the encoder: there are none."""

    takes: ClassVar[tuple[str, ...]] = ("low_dim",)
