"""The strict schemas of Kubernetes, of the oldest version served and the newest there is."""

from __future__ import annotations

import kubernetes_validate  # type: ignore[import-untyped]  # ships no types

from tests.system.kube.manifests import Document

#: The manifests are for 1.28 and newer: since then a probe has a grace period of its own.
VERSIONS: tuple[str, ...] = ("1.28", kubernetes_validate.latest_version())

Invalid: type[Exception] = kubernetes_validate.ValidationError


def validate(document: Document, version: str) -> None:
    """Raises Invalid, also for a key that the schema does not know."""
    kubernetes_validate.validate(document, version, strict=True)
