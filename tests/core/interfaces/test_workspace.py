"""What callbacks may rely on: the words for it, and that both sides mean the same by them."""

from __future__ import annotations

from dp_core.config.schema import WORKSPACE_PARTS
from dp_core.interfaces import Workspace
from dp_core.testing.checks.callback import OF_EVERY_WORKSPACE
from dp_core.testing.checks.workspace import PARTS


def test_every_part_has_a_word_for_configs_and_a_rule_for_workspaces() -> None:
    promised = [name for name in vars(Workspace) if not name.startswith("_")]

    assert promised == [*OF_EVERY_WORKSPACE, *WORKSPACE_PARTS]
    assert tuple(PARTS) == WORKSPACE_PARTS
