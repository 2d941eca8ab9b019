"""Components that mean something else than their kind does, each in one way, and two that are right."""

from __future__ import annotations

from collections.abc import Iterator

from dp_astray.config import DriftOptions, WalkOptions
from dp_core import Component, hookimpl
from dp_core.component import Kind
from dp_core.testing.tiny_plugin import TinyOptions, TinySchedulerOptions, TinyWindowOptions

DP_API = 1

NETWORKS: dict[Kind, tuple[type, tuple[str, ...]]] = {
    "encoder": (
        TinyOptions,
        ("Blinkered", "Shaky", "Reseeding", "Standardised", "Sleepless", "Dropping", "Learning", "Unsaved"),
    ),
    "denoiser": (TinyOptions, ("Timeless", "Unconditional", "Logarithmic", "Impatient")),
    "policy": (TinyWindowOptions, ("Early", "Settling", "Rolling", "Dividing")),
    "scheduler": (TinySchedulerOptions, ("Uneven", "Spaced", "Overwriting")),
    "dataset": (TinyWindowOptions, ("Overlapping",)),
    "callback": (TinyOptions, ("Oblivious",)),
}
DATA = ("Walks", "Late", "Overrunning", "Blank", "Leaky", "Selfsame", "Shuffling", "Drawing", "Dividing", "Keeping")


@hookimpl
def dp_components() -> Iterator[Component]:
    for kind, (config, targets) in NETWORKS.items():
        for target in targets:
            yield Component(
                kind=kind, name=target.lower(), target=f"dp_astray.parts:{target}", config=config, summary="astray"
            )
    for target in DATA:
        yield Component(
            kind="dataset",
            name=target.lower(),
            target=f"dp_astray.data:{target}",
            config=WalkOptions,
            summary="astray",
            conformance="dp_astray.conformance:WalkConformance",
        )
    for target in ("DriftRunner", "UnseededRunner", "SeedingRunner", "LaggingRunner"):
        yield Component(
            kind="runner",
            name=target.removesuffix("Runner").lower(),
            target=f"dp_astray.rollouts:{target}",
            config=DriftOptions,
            summary="astray",
            conformance="dp_astray.conformance:DriftConformance",
        )
    for target in ("Practising", "Waking"):
        yield Component(
            kind="runner",
            name=target.lower(),
            target=f"dp_astray.rollouts:{target}",
            config=TinyWindowOptions,
            summary="astray",
        )
