"""``dp-data download pusht``: get the published human demonstrations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dp_core.kit.files.command import download_parser, run_download
from dp_pusht.download import ADDRESS, N_EPISODES, N_STEPS, check_archive, download


def main(argv: Sequence[str]) -> int:
    """Download unless it is there already; return the exit status."""
    parser = download_parser(
        "pusht",
        "Get the published human demonstrations of Push-T (206 episodes, 31 MB, MIT licence, Columbia Artificial "
        "Intelligence and Robotics Lab).",
    )
    parser.add_argument("--output", type=Path, default=Path("data/pusht.zip"), help="file to write")
    parser.add_argument("--source", default=ADDRESS, help="address, or a file that was downloaded elsewhere")
    return run_download(parser, argv, _get)


def _get(output: Path, source: str) -> Iterator[str]:
    if output.exists():
        check_archive(output)
        yield f"{output}: is there already, and complete"
        return
    download(source, output)
    megabytes = output.stat().st_size / 1e6
    yield f"{output}: {N_EPISODES} episodes, {N_STEPS} steps, {megabytes:.0f} MB; use it with dataset.path={output}"
