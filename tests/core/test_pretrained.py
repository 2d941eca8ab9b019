"""Whether pretrained weights are wanted."""

import subprocess
import sys

import pytest

from dp_core.pretrained import pretrained_weights_wanted, skip_pretrained_weights


def test_weights_are_wanted_unless_a_loader_says_otherwise():
    assert pretrained_weights_wanted()
    with skip_pretrained_weights():
        assert not pretrained_weights_wanted()
        with skip_pretrained_weights():
            pass
        assert not pretrained_weights_wanted()
    assert pretrained_weights_wanted()


def test_weights_are_wanted_again_after_an_error():
    with pytest.raises(RuntimeError), skip_pretrained_weights():
        raise RuntimeError

    assert pretrained_weights_wanted()


def test_module_is_light_enough_for_config_files():
    code = "import sys, dp_core.pretrained; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
