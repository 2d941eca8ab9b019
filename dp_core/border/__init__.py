"""Names the component whose code failed, where the code of components meets that of dp-core.

`origin` remembers what was built for which place of a config, `naming` turns what such an object raises into a
`dp_core.errors.ComponentError`, `carried` brings errors from worker processes, `log` writes tracebacks to a run's
directory. Nothing of it costs anything before something fails. For authors of workspaces and policies:

- what is raised in `BaseWorkspace.run`, or is built by a slot, is named without any help;
- ``with naming(runner): ...`` does the same around a call of one's own, for example in another process;
- ``raise fault(self.obs_encoder, "returned NaN")`` reports what a component did without raising anything.
"""

from __future__ import annotations

from dp_core.border.carried import Failure
from dp_core.border.naming import describe, fault, named, naming, say_when
from dp_core.border.origin import Origin, component_of, origin_of

__all__ = ["Failure", "Origin", "component_of", "describe", "fault", "named", "naming", "origin_of", "say_when"]
