"""A flame graph of folded stacks (``outer;inner count`` a line), as SVG without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from xml.sax.saxutils import escape

import attrs

_WIDTH, _ROW, _TOP, _CHARACTER = 1200, 16, 28, 6.2
#: Narrower frames than this are left out, pixels.
_LEAST = 1.0
#: A thread whose innermost frame is one of these waits for work.
IDLE = (
    "wait (threading.py",
    "get (queue.py",
    "doPoll (twisted/internet/epollreactor.py",
    "_work (nodecache/diskpool.py",  # its queue waits in C, and has no frame
)
#: What stands above these is the same for all, and left out.
OUTER = (
    "mainLoop (twisted/internet/base.py",
    "inContext (twisted/python/threadpool.py",
    "_work (nodecache/diskpool.py",
)
_COLOURS = ("#e8894a", "#e99a5a", "#ecab6c", "#e57b3f")


Stacks = Mapping[tuple[str, ...], int]


@attrs.define
class Frame:
    """``inner`` by name; ``count`` is of samples in it or below."""

    count: int = 0
    inner: dict[str, Frame] = attrs.Factory(dict)


def read(text: str) -> dict[tuple[str, ...], int]:
    """Samples by stack, those of waiting threads left out."""
    found: dict[tuple[str, ...], int] = {}
    for line in text.splitlines():
        names, _, count = line.rpartition(" ")
        stack = _inner(tuple(names.split(";")))
        if names and not any(idle in stack[-1] for idle in IDLE):
            found[stack] = found.get(stack, 0) + int(count)
    return found


def _inner(stack: tuple[str, ...]) -> tuple[str, ...]:
    """From the loop, or from a pool's job, on."""
    for place, name in enumerate(stack):
        if any(outer in name for outer in OUTER):
            return stack[place:]
    return stack


def tree(stacks: Stacks) -> Frame:
    root = Frame()
    for stack, count in stacks.items():
        at = root
        at.count += count
        for name in stack:
            at = at.inner.setdefault(name, Frame())
            at.count += count
    return root


def depth(of: Frame, scale: float) -> int:
    """Rows that are drawn below ``of``."""
    wide = (one for one in of.inner.values() if one.count * scale >= _LEAST)
    return max((1 + depth(one, scale) for one in wide), default=0)


def svg(title: str, stacks: Stacks) -> str:
    """The outermost on top; as wide as its share of the samples."""
    root = tree(stacks)
    scale = _WIDTH / max(root.count, 1)
    height = _TOP + _ROW * depth(root, scale) + 8
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
    words = f"{escape(title)} ({root.count:,} samples)"
    return "\n".join(
        [
            f'<svg {head} font-family="monospace" font-size="10">',
            f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
            f'<text x="4" y="18" font-size="14">{words}</text>',
            *_below(root, 0.0, 0, scale, root.count),
            "</svg>",
            "",
        ]
    )


def _below(of: Frame, left: float, row: int, scale: float, total: int) -> Iterator[str]:
    for name, one in _widest_first(of.inner.items()):
        width = one.count * scale
        if width >= _LEAST:
            yield _drawn(name, one.count / total, left, row, width)
            yield from _below(one, left, row + 1, scale, total)
        left += width


def _widest_first(frames: Iterable[tuple[str, Frame]]) -> list[tuple[str, Frame]]:
    return sorted(frames, key=lambda pair: (-pair[1].count, pair[0]))


def _drawn(name: str, share: float, left: float, row: int, width: float) -> str:
    top, colour = _TOP + _ROW * row, _COLOURS[len(name) % len(_COLOURS)]
    room = int((width - 4) / _CHARACTER)
    words = name if len(name) <= room else name[: max(room - 2, 0)] + ".." * (room > 4)
    return (
        f'<g><title>{escape(name)}: {share:.1%}</title><rect x="{left:.1f}" y="{top}"'
        f' width="{width:.1f}" height="{_ROW - 1}" fill="{colour}"/>'
        f'<text x="{left + 2:.1f}" y="{top + 11}">{escape(words)}</text></g>'
    )
