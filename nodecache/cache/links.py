"""The Link header of a paged listing, pointed at this mirror. Pure.

Sources: OCI distribution-spec, "Listing Tags"; RFC 8288 (Web Linking).
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from nodecache.reference import Repository

_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_NEXT = re.compile(
    r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next\s*(?=[;,]|$))', re.IGNORECASE
)


def next_link(header: str) -> str | None:
    """The target of the first link to the next page, as written."""
    for target, parameters in _LINK.findall(header):
        if _NEXT.search(parameters):
            return str(target)
    return None


def tags_link(header: str | None, repository: Repository, n: int | None, body: bytes) -> str | None:
    """Upstream's ``header`` on its answer ``body``, for a client of this mirror.

    None where there is no next page. Registries page by marks of their own as
    well (``next_page=…``), which no other could follow; then the last tag of
    this page is the mark, as the specification has it.
    """
    target = next_link(header or "")
    if target is None:
        return None
    asked = parse_qs(urlsplit(target).query)
    last = asked["last"][0] if "last" in asked else _last_tag(body)
    if last is None:
        return None
    length = asked["n"][0] if "n" in asked else n
    query: dict[str, Any] = {} if length is None else {"n": length}
    query |= {"last": last, "ns": repository.namespace}
    return f'</v2/{repository.name}/tags/list?{urlencode(query)}>; rel="next"'


def _last_tag(body: bytes) -> str | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    tags = found.get("tags") if isinstance(found, dict) else None
    if not isinstance(tags, list) or not tags or not isinstance(tags[-1], str):
        return None
    return tags[-1]
