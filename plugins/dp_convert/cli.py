"""``dp-convert``: checkpoints of the original and of LeRobot become checkpoints of ours."""

from __future__ import annotations

import argparse
import contextlib
import glob
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_core.cli.command import add_common_options, run_command, set_up_logging
from dp_core.errors import DpError

if TYPE_CHECKING:
    from dp_convert.conversion import Conversion


def main(argv: Sequence[str] | None = None) -> int:
    """Convert the checkpoint that the arguments of ``dp-convert`` name, and return the exit status.

    Status 0: written; 2: the file cannot be converted, and nothing was written.
    """
    parser = argparse.ArgumentParser(
        prog="dp-convert",
        description="Make a checkpoint of dp-core from one of the original Diffusion Policy code (a .ckpt file) or of "
        "LeRobot's diffusion policy (a folder with model.safetensors and config.json). Nothing in it is run: a file "
        "that names anything but tensors, containers, plain values and OmegaConf nodes is refused.",
        epilog="example: dp-convert epoch=0550-test_mean_score=0.969.ckpt pusht.ckpt && dp-eval pusht.ckpt; "
        "written to <folder>/checkpoints/latest.ckpt, it can be trained on with dp-run --resume <folder>",
    )
    parser.add_argument("original", metavar="ORIGINAL", type=Path, help="a .ckpt file, or a folder of LeRobot's")
    parser.add_argument("output", metavar="OUT", type=Path, help="the checkpoint to write, a .ckpt file")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    add_common_options(parser)
    arguments = parser.parse_args(argv)
    return run_command("dp-convert", lambda: _convert(arguments), arguments.traceback, arguments.plugins)


def _convert(arguments: argparse.Namespace) -> int:
    original, output = arguments.original, arguments.output
    if not original.exists():
        raise DpError(f"{original}: no such file or folder")
    if output.is_dir():
        raise DpError(f"{output}: is a folder; give the name of a file, such as {output / 'converted.ckpt'}")
    if output.exists() and (output.samefile(original) or not arguments.force):
        raise DpError(f"{output}: exists already; choose another name, or overwrite it with --force")
    set_up_logging()
    from dp_convert.conversion import write
    from dp_core.registry import Registry

    print(f"reading {original}")
    conversion = _read(original)
    payload, cfg = conversion.checked(Registry.discover(), original)
    with _progress(output, payload["state_dicts"]):
        folder = write(payload, cfg, output)
    for note in conversion.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"written: {output}")
    if folder is not None:
        print(f"train on: dp-run --resume {folder}")
    print(f"next: dp-eval {output}" if payload["cfg"]["runner"] else f"next, in Python: load_policy('{output}')")
    return 0


def _read(original: Path) -> Conversion:
    if original.is_dir() or original.suffix == ".safetensors":
        from dp_convert.lerobot.checkpoint import read_lerobot

        return read_lerobot(original if original.is_dir() else original.parent)
    from dp_convert.original.checkpoint import read_original

    return read_original(original)


@contextlib.contextmanager
def _progress(output: Path, states: Mapping[str, Any]) -> Iterator[None]:
    """Show how much of a large file is written, while it is."""
    from tqdm import tqdm

    from dp_convert.conversion import WEIGHTS

    tensors = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for key in WEIGHTS
        for tensor in states.get(key, {}).values()
    }
    done = threading.Event()
    total = sum(tensors.values())
    with tqdm(total=total, unit="B", unit_scale=True, desc=f"writing {output.name}") as bar:

        def watch() -> None:
            while not done.wait(0.2):
                written = max(map(_size, output.parent.glob(f".{glob.escape(output.name)}.*.part")), default=0)
                bar.update(min(written, total) - bar.n)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
            bar.update(total - bar.n)
        finally:
            done.set()
            watcher.join()


def _size(path: Path) -> int:
    """Bytes of a file that may be renamed at any moment."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
