"""What workspaces have to do; see `BaseWorkspace`. Slots that have to be filled are filled with stand-ins."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dp_core.checkpoint import read_payload
from dp_core.errors import CheckpointError, DpError, quoted
from dp_core.testing.case import Case, ConformanceError
from dp_core.testing.checks.description import options_survive_a_config_file
from dp_core.testing.samples import differences, seeded


def it_is_built_as_its_kind_is(case: Case) -> None:
    """The target is called as ``target(cfg, output_dir=...)`` and writes nothing yet."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = _built(case, folder)
        if written := sorted(path.name for path in Path(folder).iterdir()):
            case.fail(f"its constructor wrote {quoted(written)}; expected nothing", "write when the run starts")
        workspace.close()


def a_run_leaves_a_checkpoint(case: Case) -> None:
    """`run` goes to its end and leaves ``checkpoints/latest.ckpt``, which can be read without running code."""
    with _after_a_run(case) as workspace:
        try:
            read_payload(workspace.get_checkpoint_path())
        except CheckpointError as error:
            case.fail(
                f"a run left no checkpoint that can be read: {str(error).replace(f'{workspace.output_dir}/', '')}; "
                "expected one",
                "call self.save_checkpoint() at the end of loop()",
            )


def it_is_restored_from_its_checkpoint(case: Case) -> None:
    """A new workspace that loads the checkpoint has the same state."""
    with _after_a_run(case) as workspace, tempfile.TemporaryDirectory() as folder:
        path = workspace.save_checkpoint(use_thread=False)
        other = _built(case, folder)
        try:
            other.load_checkpoint(path)
            again = other.save_checkpoint(use_thread=False)
        except DpError as error:
            case.fail(
                f"its checkpoint does not load into a new one: {error}; expected it to",
                "make what has a state in the constructor, or with self.attach once the data is known",
            )
        finally:
            other.close()
        before, after = read_payload(path), read_payload(again)
        parts = ("state_dicts", "callbacks")
        if different := [name for part in parts for name in differences(before[part], after[part])]:
            case.fail(
                f"restored from its checkpoint, {quoted(different[:5])} differ; expected the same state",
                "return in state_dict() all that load_state_dict() has to put back",
            )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    a_run_leaves_a_checkpoint,
    it_is_restored_from_its_checkpoint,
)


def _built(case: Case, folder: str) -> Any:
    """Workspaces are given the complete config, their own component included."""
    with seeded():
        return case.build(output_dir=Path(folder))


@contextmanager
def _after_a_run(case: Case) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder, seeded():
        workspace = _built(case, folder)
        try:
            workspace.run()
        except Exception as error:
            raise ConformanceError(
                f"{case}: a run ended with {type(error).__name__}: {error}; expected it to go to its end; "
                "start it with dp-run and --traceback to see where"
            ) from error
        yield workspace
        workspace.close()
