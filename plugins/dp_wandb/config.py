"""Options of the Weights & Biases callback."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import gt

from dp_core import option


@attrs.frozen(kw_only=True)
class WandbConfig:
    """The options of where and how the run is logged."""

    mode: Literal["offline", "online", "disabled"] = option(
        "offline",
        help="offline: into the run directory, for 'wandb sync'; online: needs 'wandb login'; disabled: nowhere",
    )
    project: str = option("diffusion_policy", help="project on the server")
    entity: str | None = option(None, help="user or team; null: the default of the account")
    run_id: str | None = option(None, help="id on the server; null: a new one; a resumed run keeps its own")
    group: str | None = option(None, help="runs that belong together, such as seeds")
    tags: list[str] = option(factory=list, help="words to find the run by")
    init_timeout: float = option(30.0, help="seconds to wait for the server when online", validator=gt(0))
    flush_every: int = option(
        100, help="steps between writes; each waits for the device, since losses are read from it", validator=gt(0)
    )
