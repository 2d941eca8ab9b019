"""The rules of workspaces, and what is special about this one."""

from __future__ import annotations

from dp_core.testing import WorkspaceConformance


class TestRules(WorkspaceConformance):
    """Running, saving, restoring: every rule for every one of these options."""

    component = "kestrel"
    configs = ({"num_steps": 3, "batch_size": 4}, {"num_steps": 1, "seed": 7})
