"""Runs and policies from Python: what the commands do, as functions.

`start` trains from a config, `resume` continues a run, `evaluate` measures the policy of a checkpoint, and
`load_policy` returns one that acts. `build` and `restore` stop before the first step of `start` and `resume`. Mistakes
in a config are reported before torch is imported.
"""

from dp_core.runs.policies import Evaluation, evaluate, load_policy, policy_from
from dp_core.runs.training import build, restore, resume, start

__all__ = [
    "Evaluation",
    "build",
    "evaluate",
    "load_policy",
    "policy_from",
    "restore",
    "resume",
    "start",
]
