"""Names that a new distribution cannot have, and why. What is dp-core's own is safe from others, and theirs from it."""

from __future__ import annotations

import importlib.util
import keyword
import sys
from importlib.metadata import PackageNotFoundError, distribution

from dp_core.new_plugin.package import component_name, is_name, package_name

OWN_PREFIX = "dp_core"
"""What the names of dp-core's packages begin with, but for `OWN`: those that it adds later are ``dp_core_<name>``."""
OWN = (
    "dp_blockpush",
    "dp_callbacks",
    "dp_cnn",
    "dp_concat",
    "dp_convert",
    "dp_diffusion",
    "dp_dit1d",
    "dp_kitchen",
    "dp_language",
    "dp_lowdim",
    "dp_modalities",
    "dp_multi_image",
    "dp_optim",
    "dp_pointnet",
    "dp_pusht",
    "dp_r3m",
    "dp_replay",
    "dp_robomimic",
    "dp_schedulers",
    "dp_temporal",
    "dp_timm",
    "dp_training",
    "dp_transformer",
    "dp_unet1d",
    "dp_wandb",
)
"""The packages that dp-core 0.1 comes with. All other names are other people's, also those that begin with ``dp_``:
later versions add none of them, since pip lets one distribution overwrite the files of another without a word."""

_MISREAD = ("false", "no", "null", "off", "on", "true", "yes")
"""What YAML takes for a truth value or for nothing, where a config says it without quotes."""


def why_not(name: str) -> str:
    """Say why no new distribution can be called ``name``, and what to do; empty if one can."""
    if not is_name(name):
        return (
            f"'{name}' cannot be the name of a distribution; expected letters, digits and single -, _ or . between "
            "them, such as lab-depth"
        )
    package, component = package_name(name), component_name(name)
    if not package.isidentifier() or keyword.iskeyword(package):
        return f"the package of '{name}' would be '{package}', which Python cannot import; choose another name"
    if component in _MISREAD:
        return f"YAML does not read '{component}' as a name, and configs could not say it; choose another name"
    if package in OWN or f"{package}_".startswith(f"{OWN_PREFIX}_"):
        return f"'{package}' is a name of dp-core's own packages; choose another name"
    if package == "tests":
        return "'tests' is the folder of the tests of the new package; choose another name"
    if package in sys.stdlib_module_names:
        return f"'{package}' is a module of Python itself; choose another name"
    if _is_installed(name):
        return f"a distribution '{name}' is installed already; choose another name"
    if (spec := importlib.util.find_spec(package)) is not None and spec.origin is not None:
        return f"a package '{package}' is installed already; choose another name"
    return ""


def _is_installed(name: str) -> bool:
    try:
        distribution(name)  # compares names as pip does
    except PackageNotFoundError:
        return False
    return True
