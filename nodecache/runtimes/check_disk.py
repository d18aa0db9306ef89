"""The cache's two limits against the disk, and against what the kubelet does with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nodecache.config.units import format_size
from nodecache.runtimes.facts import DiskFacts, KubeletFacts
from nodecache.runtimes.findings import Finding, note, ok, problem, warning
from nodecache.runtimes.kops import IMAGE_GC_HIGH, IMAGE_GC_LOW
from nodecache.runtimes.kubelet import Thresholds

_SUBJECT: Final = "disk"


def check_disk(disk: DiskFacts, kubelet: KubeletFacts) -> Iterator[Finding]:
    """Cap, floor and room; eviction and the collection of images."""
    if disk.problem:
        means = "Cap, floor and the kubelet's thresholds were not compared."
        fix = "Name the data folder with --data-dir."
        yield note("disk-unknown", _SUBJECT, disk.problem, means, fix)
        return
    yield from _room(disk)
    if kubelet.problem:
        means = "What the kubelet does with the disk can not be told."
        yield warning("kubelet-unreadable", "kubelet", kubelet.problem, means, "Run as root.")
    elif kubelet.thresholds is None:
        yield note("kubelet-none", "kubelet", "there is no kubelet's configuration here")
    elif disk.with_kubelet is False:
        what = f"{disk.data_dir} is on a disk of its own"
        yield ok("kubelet-apart", "kubelet", f"{what}: the kubelet's thresholds do not touch it")
    else:
        yield from _against(disk, kubelet.thresholds)


def _room(disk: DiskFacts) -> Iterator[Finding]:
    if disk.free < disk.floor:
        yield warning(
            "disk-below-floor",
            _SUBJECT,
            f"{_of(disk.free, disk)} is free, less than the floor of {_of(disk.floor, disk)}",
            "The cache gives way to nothing: what is new passes through without being stored.",
            "See what fills the disk; 'crictl rmi --prune' deletes unused images.",
        )
    if disk.cap + disk.floor > disk.total:
        yield warning(
            "disk-cap",
            _SUBJECT,
            f"cap {_of(disk.cap, disk)} and floor {_of(disk.floor, disk)} exceed the disk",
            "The cap is never reached: the floor alone bounds the cache.",
            "Lower --max-size.",
        )
    if disk.free >= disk.floor and disk.cap + disk.floor <= disk.total:
        what = (
            f"cap {_of(disk.cap, disk)}, floor {_of(disk.floor, disk)}, free {_of(disk.free, disk)}"
        )
        yield ok("disk-room", _SUBJECT, what)


def _of(count: int, disk: DiskFacts) -> str:
    return f"{_size(count)} ({100 * count / disk.total:.0f}%)"


def _size(count: int) -> str:
    """In whole GiB or MiB: nobody reads bytes here."""
    unit = 1 << 30 if count >= 1 << 30 else 1 << 20
    return format_size(round(count / unit) * unit)


def _against(disk: DiskFacts, kubelet: Thresholds) -> Iterator[Finding]:
    evicts = kubelet.evicts_below(disk.total)
    if disk.floor <= evicts:
        named = [one for one in kubelet.evictions if one.free(disk.total) == evicts]
        yield problem(
            "kubelet-evicts",
            "kubelet",
            f"pods are evicted below {named[0].signal} {named[0].text}, and the cache leaves only "
            f"{_of(disk.floor, disk)} free",
            "The cache itself may bring the node under disk pressure.",
            f"Raise --min-free above {100 * evicts / disk.total:.0f}% (the default is 20%).",
        )
    else:
        yield ok("kubelet-evicts-later", "kubelet", "pods are evicted below the cache's floor only")
    yield from _collection(disk, kubelet)


def _collection(disk: DiskFacts, kubelet: Thresholds) -> Iterator[Finding]:
    """Where images go only after the cache has: it is starved by images that nobody runs."""
    begins = disk.total * (100 - kubelet.high) // 100  # free bytes at which images begin to go
    if kubelet.low >= kubelet.high:
        yield problem(
            "kubelet-gc-order",
            "kubelet",
            f"imageGCLowThresholdPercent {kubelet.low} is not below the high one, {kubelet.high}",
            "The kubelet refuses to start with it.",
            f"Set {IMAGE_GC_HIGH} and {IMAGE_GC_LOW}.",
        )
    elif not kubelet.collects or begins <= disk.floor:
        at = f"at {kubelet.high}% in use" if kubelet.collects else "never"
        yield warning(
            "kubelet-gc",
            "kubelet",
            f"unused images are deleted {at}, but the cache gives way at "
            f"{100 - 100 * disk.floor / disk.total:.0f}% in use",
            "A node that lives long fills with images that nobody runs, until the cache has shrunk "
            "to nothing.",
            f"Set imageGCHighThresholdPercent {IMAGE_GC_HIGH} and imageGCLowThresholdPercent "
            f"{IMAGE_GC_LOW} (on kops: spec.kubelet; 'nodecache node-config kops' prints them).",
        )
    else:
        what = f"unused images go at {kubelet.high}% in use, before the cache has to give way"
        yield ok("kubelet-gc-first", "kubelet", what)
