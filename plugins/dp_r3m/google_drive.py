"""Finds the file behind a link of Google Drive, which answers with a page where the file is large."""

from __future__ import annotations

import http.client
import urllib.parse
from html.parser import HTMLParser

from dp_core.errors import DownloadError
from dp_core.kit.files.download import open_address

_PAGE_BYTES = 1 << 20


def direct_address(address: str, *, otherwise: str) -> str:
    """Return ``address``, or where the form on its page leads: "too large to scan for viruses, download anyway".

    Raises:
        DownloadError: as `dp_core.kit.files.download.download`; or the page has no such form, as when too many have
            asked.
    """
    with open_address(address, otherwise=otherwise) as response:
        if response.headers.get_content_type() != "text/html":
            return address
        page = _Page()
        try:
            page.feed(response.read(_PAGE_BYTES).decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(f"{address}: the connection ended early ({error}); try again") from error
    if page.action is None:
        raise DownloadError(f"{address}: gives a page instead of the file ('{page.title.strip()}'); {otherwise}")
    return f"{urllib.parse.urljoin(address, page.action)}?{urllib.parse.urlencode(page.fields)}"


class _Page(HTMLParser):
    """The title, and where the first form that has hidden fields leads."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = ""
        self._action = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in ("title", "form"):
            self._inside, self._action = tag, values.get("action", "")
        elif tag == "input" and self._inside == "form" and values.get("type") == "hidden":
            if self.action is None:
                self.action = self._action
            if self.action == self._action:
                self.fields[values.get("name", "")] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data
