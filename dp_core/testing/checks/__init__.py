"""The rules, as plain functions that look at a `Case`: no pytest needed.

The docstring of a check is the rule, in one sentence. A check returns nothing if the rule is kept, raises
`ConformanceError` if it is not (what was found, what was expected, what to do), and `NotChecked` if nobody can tell.
"""

from __future__ import annotations

from collections.abc import Callable

from dp_core.component import KINDS
from dp_core.testing.case import Case
from dp_core.testing.checks.callback import CHECKS as CALLBACK
from dp_core.testing.checks.dataset import CHECKS as DATASET
from dp_core.testing.checks.denoiser import CHECKS as DENOISER
from dp_core.testing.checks.description import CHECKS as DESCRIPTION
from dp_core.testing.checks.encoder import CHECKS as ENCODER
from dp_core.testing.checks.lr_schedule import CHECKS as LR_SCHEDULE
from dp_core.testing.checks.modality import CHECKS as MODALITY
from dp_core.testing.checks.optimizer import CHECKS as OPTIMIZER
from dp_core.testing.checks.policy import CHECKS as POLICY
from dp_core.testing.checks.runner import CHECKS as RUNNER
from dp_core.testing.checks.scheduler import CHECKS as SCHEDULER
from dp_core.testing.checks.workspace import CHECKS as WORKSPACE

Check = Callable[[Case], None]

ONCE: tuple[Check, ...] = DESCRIPTION
"""The rules that are checked once for each component, whatever its kind."""

EACH: dict[str, tuple[Check, ...]] = {
    "workspace": WORKSPACE,
    "policy": POLICY,
    "encoder": ENCODER,
    "denoiser": DENOISER,
    "scheduler": SCHEDULER,
    "modality": MODALITY,
    "dataset": DATASET,
    "runner": RUNNER,
    "optimizer": OPTIMIZER,
    "lr_schedule": LR_SCHEDULE,
    "callback": CALLBACK,
}
"""The rules of each kind, checked for every case; the first of them builds the component."""

assert set(EACH) == set(KINDS)
