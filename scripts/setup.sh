#!/usr/bin/env bash
# Makes .venv in this checkout and installs dp-core there, editable, with the extras named (default: dev).
#
#   scripts/setup.sh pusht    what the quickstart needs
#   scripts/setup.sh dev      to run the tests and to develop: everything but the simulators of robomimic, kitchen and
#                             block pushing (extras robosuite, kitchen, blockpush)
#
# Needs Python 3.11 or newer with venv, and a package index. Run it again at any time, and after a change of
# pyproject.toml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras=${1:-dev}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: $python is $("$python" -V 2>&1); Python 3.11 or newer is needed; set PYTHON=python3.11" >&2
    exit 2
}
# Asking for pip, as the folder alone may be what an attempt without the system's python3-venv left behind.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --editable ".[$extras]"

case ",$extras," in
*,dev,* | *,all,* | *,robomimic,*)
    # robomimic declares a renderer that compiles with cmake and that its encoders never import; the extra lists what
    # they do import.
    .venv/bin/python -m pip install --quiet --no-deps robomimic==0.3.0
    ;;
esac
echo "setup: dp-core[$extras] is installed in .venv"
