"""Puts ``configs/`` into the wheel, as ``dp_core/configs``. Everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """An editable installation reads them where they are; see `dp_core.config.presets`."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "dp_core", "configs")
            shutil.rmtree(target, ignore_errors=True)  # an earlier build may have left some that are gone
            shutil.copytree("configs", target)


setup(cmdclass={"build_py": BuildWithConfigs})
