"""What pip installs: the wheels of dp-core and of packages with plugins, in an environment of their own, elsewhere.

Heavy packages are those of the environment that runs the tests, through a ``.pth`` file; files like it are not read
there, so an editable dp-core stays out. Nothing is fetched.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import attrs
import pytest

from dp_core.component import KINDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
A_FEW_STEPS = (
    "training.num_epochs=1",
    "training.max_train_steps=2",
    "training.max_val_steps=1",
    "runner.n_train=0",
    "runner.n_train_vis=0",
    "runner.n_test=1",
    "runner.n_test_vis=0",
    "runner.max_steps=8",
)
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation")


@attrs.frozen
class Environment:
    """A virtual environment, and an empty folder to work in."""

    folder: Path
    work: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, program: str, *arguments: str | Path) -> str:
        """What a program of the environment prints."""
        return run(self.folder / "bin" / program, *arguments, cwd=self.work)

    def install(self, *arguments: str | Path) -> None:
        run(sys.executable, *PIP, "--python", self.python, "install", *OFFLINE, *arguments, cwd=self.work)


def run(*command: str | Path, cwd: Path) -> str:
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_", "DP_"))}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=variables | {"PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy(source: Path, target: Path) -> Path:
    """Without what tools left behind; builds write next to what they build."""
    left = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", ".*")
    return Path(shutil.copytree(source, target, ignore=left))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of dp-core, built from its source distribution."""
    folder = tmp_path_factory.mktemp("dp-core")
    for name in ("dp_core", "plugins", "configs"):
        copy(ROOT / name, folder / name)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    run(sys.executable, "-m", "build", "--no-isolation", folder, cwd=folder)
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With the wheels of dp-core and of the template."""
    created = Environment(tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("empty"))
    venv.create(created.folder, symlinks=True)
    packages = Path(
        run(created.python, "-c", "import site; print(site.getsitepackages()[0])", cwd=created.work).strip()
    )
    (packages / "heavy.pth").write_text("\n".join(site.getsitepackages()))
    template = copy(ROOT / "examples" / "dp-plugin-template", tmp_path_factory.mktemp("template") / "source")
    run(sys.executable, *PIP, "wheel", *OFFLINE, "--wheel-dir", template.parent, template, cwd=template.parent)
    created.install(wheel, next(template.parent.glob("*.whl")))
    return created


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    sources = {ROOT / "dp_core": "dp_core", ROOT / "configs": "dp_core/configs", ROOT / "plugins": "."}
    expected = {
        Path(target, path.relative_to(folder)).as_posix()
        for folder, target in sources.items()
        for path in folder.rglob("*")
        if path.is_file() and not re.search(r"/(__pycache__|\.)", path.as_posix().removeprefix(ROOT.as_posix()))
    }

    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == expected


def test_it_is_the_wheel_that_is_imported(environment: Environment) -> None:
    code = (
        "import dp_core, dp_pusht.plugin, dp_kestrel; print(dp_core.__file__, dp_pusht.__file__, dp_kestrel.__file__)"
    )
    files = environment.run("python", "-c", code).split()

    assert [Path(file).is_relative_to(environment.folder) for file in files] == [True, True, True]


def test_the_quickstart_works_by_its_name(environment: Environment) -> None:
    assert environment.run("dp-run", "--check", "quickstart") == "quickstart: ok\n"

    environment.run("dp-run", "quickstart", *A_FEW_STEPS, "output_dir=quickstart-run")
    assert (environment.work / "quickstart-run" / "checkpoints" / "latest.ckpt").is_file()


def test_the_template_is_listed_checked_tested_and_trains(environment: Environment, tmp_path: Path) -> None:
    template = copy(ROOT / "examples" / "dp-plugin-template", tmp_path / "template")
    shutil.rmtree(template / "dp_kestrel")  # what is tested is what is installed
    listed = environment.run("dp-run", "--list")
    checked = environment.run("dp-run", "--check", "kestrel")
    trained = environment.run("dp-run", template / "train.yaml", f"output_dir={tmp_path}/run")

    assert len(re.findall(r"^  kestrel +dp-kestrel 0\.1\.0  ", listed, re.MULTILINE)) == 3
    assert re.findall(r"^  (\w+)/kestrel: ok, ", checked, re.MULTILINE) == ["encoder", "runner", "callback"]
    assert "lowest train_loss: " in trained
    run_tests(environment, template)


def test_a_new_encoder_works_at_once(environment: Environment) -> None:
    environment.run("python", "-m", "dp_core.new_plugin", "dp-sandpiper", "--kind", "encoder")
    environment.install("--editable", "dp-sandpiper")
    listed = environment.run("dp-run", "--list", "encoder")
    checked = environment.run("dp-run", "--check", "sandpiper")
    environment.run("dp-run", "dp-sandpiper/train.yaml", "output_dir=sandpiper-run")

    assert re.search(r"^  sandpiper +dp-sandpiper 0\.1\.0  ", listed, re.MULTILINE)
    assert re.search(r"^  encoder/sandpiper: ok, ", checked, re.MULTILINE)
    assert "dp-sandpiper/sandpiper" in (environment.work / "sandpiper-run" / "config.resolved.yaml").read_text()
    run_tests(environment, environment.work / "dp-sandpiper")


def test_so_do_new_components_of_every_kind(environment: Environment) -> None:
    kinds = [argument for kind in KINDS for argument in ("--kind", kind)]
    environment.run("python", "-m", "dp_core.new_plugin", "dp-avocet", *kinds)
    environment.install("--editable", "dp-avocet")
    environment.run("dp-run", "dp-avocet/train.yaml", "output_dir=avocet-run")

    assert (environment.work / "avocet-run" / "checkpoints" / "latest.ckpt").is_file()
    run_tests(environment, environment.work / "dp-avocet")


def run_tests(environment: Environment, folder: Path) -> None:
    """Of a package, with warnings as errors."""
    summary = environment.run("python", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", folder)

    assert re.search(r"\d+ passed", summary)
