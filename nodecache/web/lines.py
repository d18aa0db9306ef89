"""What the lines of a request's head may look like.

What two readers could take in two ways is refused, as RFC 9112 asks, whatever
the HTTP library below makes of it: between the two a request could be hidden.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_START: Final = re.compile(_TOKEN + rb" [\x21-\x7e\x80-\xff]+ HTTP/1\.([01])")
_HEADER: Final = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00\r\n]*)")
#: More digits no length has, and int() takes no more than 4300 of them.
_LENGTH: Final = re.compile(rb"[0-9]{1,100}[ \t]*")
_CODING: Final = re.compile(rb"(?i)chunked[ \t]*")
#: A name or an address, and a port (RFC 3986, 3.2); nothing is a host as well.
_HOST: Final = re.compile(
    rb"(\[[0-9A-Za-z:.%_~\-]+\]|[0-9A-Za-z\-._~%!$&'()*+,;=]*)(:[0-9]{0,5})?[ \t]*"
)
#: In what is there of a line that has not ended.
_BARE: Final = re.compile(rb"\n|\r(?!$)", re.DOTALL)


def version_of(line: bytes) -> int | None:
    """The minor version of HTTP/1 in a request line; None where it is none."""
    found = _START.fullmatch(line)
    return None if found is None else int(found[1])


def is_header(line: bytes, version: int) -> bool:
    """Whether ``line`` can be a header of a request of HTTP/1.``version``."""
    found = _HEADER.fullmatch(line)
    if found is None:  # a folded line among others
        return False
    name = found[1].lower()
    if name == b"content-length":
        return _LENGTH.fullmatch(found[2]) is not None
    if name == b"host":
        return _HOST.fullmatch(found[2]) is not None
    if name == b"transfer-encoding":
        return version == 1 and _CODING.fullmatch(found[2]) is not None
    return True


def is_host(line: bytes) -> bool:
    """Whether ``line``, which is a header, says whom the request is for."""
    return line[:5].lower() == b"host:"


def can_go_on(data: bytes) -> bool:
    """Whether the last line of ``data``, which has not ended, may begin so.

    Lines end with CR LF, and have neither of the two within.
    """
    begin = data.rfind(b"\r\n")
    return _BARE.search(data, 0 if begin < 0 else begin + 2) is None
