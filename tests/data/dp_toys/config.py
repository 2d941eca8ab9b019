"""Options of the toys."""

from __future__ import annotations

import attrs

from dp_core import Slot, option, slot
from dp_core.config.schema import WorkspaceConfig


@attrs.frozen(kw_only=True)
class NetOptions:
    size: int = option(4, help="of the layer")


@attrs.frozen(kw_only=True)
class NoteOptions:
    text: str = option("", help="written before each hook")


@attrs.frozen(kw_only=True)
class ToyConfig(WorkspaceConfig):
    policy: Slot = slot("policy", "net")
    shape_meta: dict[str, list[int]] = option(factory=dict, help="nothing")
