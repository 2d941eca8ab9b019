"""`impatient_hub`: weights from the hub of huggingface_hub, without its minutes of trying where there is no network.

Nothing here is a component, and nothing in core uses it.
"""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator

from huggingface_hub import constants as hub

TIMEOUT = 5.0
"""The seconds to wait for a sign of life of the hub, whose own client keeps trying for most of a minute."""


def endpoint() -> str:
    """Return the address of the hub, for messages."""
    return str(hub.ENDPOINT)


@contextlib.contextmanager
def impatient_hub() -> Iterator[None]:
    """Use only what is in the cache where the hub cannot be reached."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not _is_reachable(endpoint())
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def _is_reachable(url: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
