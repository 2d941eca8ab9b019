"""The tools that authors of plugins test with. Start here.

A component keeps the rules of its kind if it passes the conformance class of its kind. A whole test file is::

    from dp_core.testing import EncoderConformance

    class TestDepth(EncoderConformance):
        component = "depth"

pytest collects one test for each rule and each example. There is a class for every kind: ``WorkspaceConformance``,
``PolicyConformance``, ``EncoderConformance``, ``DenoiserConformance``, ``SchedulerConformance``,
``ModalityConformance``, ``DatasetConformance``, ``RunnerConformance``, ``OptimizerConformance``,
``LrScheduleConformance`` and ``CallbackConformance``; `dp_core.testing.conformance` says what can be set in them.

Beside shapes, saving and copying, the rules are about meaning: inputs that are ignored, actions that come late, windows
over the border of an episode, validation that is trained on, modes and random numbers that are left otherwise than they
were, state that is lost. ``configs``, ``shape_metas``, ``samples`` and ``record`` say what a component is made for.

``dp-run --check depth`` checks the same rules without pytest and without a test file: with default options, with those
that follow the command (``channels=8``), or as the conformance class says that the `Component` names.

`dp_core.testing.fakes` installs distributions for the time of a test, and
``pytest_plugins = ["dp_core.testing.pytest_plugin"]`` in a ``conftest.py`` brings fixtures. Neither is loaded unless it
is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp_core.testing.conformance import (
        CallbackConformance,
        DatasetConformance,
        DenoiserConformance,
        EncoderConformance,
        LrScheduleConformance,
        ModalityConformance,
        OptimizerConformance,
        PolicyConformance,
        RunnerConformance,
        SchedulerConformance,
        WorkspaceConformance,
    )

__all__ = [
    "CallbackConformance",
    "DatasetConformance",
    "DenoiserConformance",
    "EncoderConformance",
    "LrScheduleConformance",
    "ModalityConformance",
    "OptimizerConformance",
    "PolicyConformance",
    "RunnerConformance",
    "SchedulerConformance",
    "WorkspaceConformance",
]


def __getattr__(name: str) -> Any:
    # The conformance classes need torch; the fakes do not.
    if name not in __all__:
        raise AttributeError(f"module 'dp_core.testing' has no attribute '{name}'")
    from dp_core.testing import conformance

    return getattr(conformance, name)
