"""Components with one fault each, for the rules to find."""

from __future__ import annotations

from collections.abc import Iterator

from dp_faulty.config import (
    Changeable,
    Forgetting,
    Growing,
    Misasking,
    Misneeding,
    Misproviding,
    Needing,
    Positional,
    Promising,
    ShortRollouts,
    Silent,
)

from dp_core import Component, hookimpl
from dp_core.component import Kind
from dp_core.testing.tiny_plugin import TinyOptions, TinySchedulerOptions, TinyTrainConfig, TinyWindowOptions

DP_API = 1

PARTS: dict[tuple[Kind, str], type] = {
    ("encoder", "Wide"): TinyOptions,
    ("encoder", "Noisy"): TinyOptions,
    ("encoder", "Idle"): TinyOptions,
    ("encoder", "Forgetful"): TinyOptions,
    ("encoder", "Growing"): TinyOptions,
    ("encoder", "Busy"): TinyOptions,
    ("encoder", "Greedy"): TinyOptions,
    ("encoder", "Mixing"): TinyOptions,
    ("encoder", "Deaf"): TinyOptions,
    ("encoder", "Distant"): TinyOptions,
    ("encoder", "Blind"): TinyOptions,
    ("encoder", "Narrow"): TinyOptions,
    ("encoder", "Gone"): TinyOptions,
    ("encoder", "Function"): TinyOptions,
    ("encoder", "Plain"): Silent,
    ("encoder", "Sound"): Changeable,
    ("encoder", "Sure"): Positional,
    ("encoder", "Lossy"): Growing,
    ("encoder", "Misasking"): Misasking,
    ("encoder", "Unsized"): TinyOptions,
    ("denoiser", "Long"): TinyOptions,
    ("denoiser", "Vector"): TinyOptions,
    ("denoiser", "Misspelt"): TinyOptions,
    ("scheduler", "Backwards"): TinySchedulerOptions,
    ("scheduler", "Clipped"): TinySchedulerOptions,
    ("scheduler", "Global"): TinySchedulerOptions,
    ("scheduler", "Ignorant"): TinySchedulerOptions,
    ("scheduler", "Lumping"): TinySchedulerOptions,
    ("policy", "Scaled"): TinyWindowOptions,
    ("policy", "Hoarding"): TinyWindowOptions,
    ("policy", "Backward"): TinyWindowOptions,
    ("policy", "Typed"): TinyWindowOptions,
    ("policy", "Numb"): TinyWindowOptions,
    ("policy", "Unseeded"): TinyWindowOptions,
    ("policy", "Sharing"): TinyWindowOptions,
    ("dataset", "Shared"): TinyWindowOptions,
    ("dataset", "Double"): TinyWindowOptions,
    ("dataset", "Random"): TinyWindowOptions,
    ("dataset", "Unscaled"): TinyWindowOptions,
    ("dataset", "Swapped"): TinyWindowOptions,
    ("runner", "Nameless"): TinyWindowOptions,
    ("runner", "Careless"): TinyWindowOptions,
    ("runner", "Moody"): TinyWindowOptions,
    ("runner", "Promising"): Promising,
    ("runner", "Drifting"): ShortRollouts,
    ("optimizer", "thawing"): TinyOptions,
    ("optimizer", "decaying"): TinyOptions,
    ("optimizer", "even"): TinyOptions,
    ("optimizer", "Amnesiac"): TinyOptions,
    ("lr_schedule", "rising"): TinyOptions,
    ("lr_schedule", "Restarting"): TinyOptions,
    ("callback", "Silenced"): TinyOptions,
    ("callback", "Misheard"): TinyOptions,
    ("callback", "Losing"): TinyOptions,
    ("callback", "Breaking"): TinyOptions,
    ("callback", "Peeking"): Needing,
    ("callback", "Reaching"): TinyOptions,
    ("callback", "Meddling"): TinyOptions,
    ("callback", "Misneeding"): Misneeding,
    ("workspace", "Unsaved"): TinyTrainConfig,
    ("workspace", "Stale"): TinyTrainConfig,
    ("workspace", "Wordy"): TinyTrainConfig,
    ("workspace", "Hollow"): TinyTrainConfig,
    ("workspace", "Unstoppable"): TinyTrainConfig,
    ("workspace", "Misproviding"): Misproviding,
    ("workspace", "Forgetting"): Forgetting,
}


@hookimpl
def dp_components() -> Iterator[Component]:
    for (kind, target), config in PARTS.items():
        yield Component(
            kind=kind, name=target.lower(), target=f"dp_faulty.parts:{target}", config=config, summary="has a fault"
        )
    yield Component(
        kind="encoder", name="needy", target="dp_faulty.needy:Needy", config=TinyOptions, summary="has a fault"
    )
