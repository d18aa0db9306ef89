"""``/api/v1/config`` of the admin port: the settings that hold, and where each comes from."""

from __future__ import annotations

import json
from collections.abc import Callable

from klein import Klein

from nodecache.config import Settings
from nodecache.config.effective import effective
from nodecache.web.request import JSON, GuardedRequest


def config_api(settings: Callable[[], Settings]) -> Callable[[Klein], None]:
    """For ``admin_site(more=...)``. No secret is in the document."""

    def config(request: GuardedRequest) -> bytes:
        rows = [each.document() for each in effective(settings())]
        body = json.dumps({"settings": rows}, indent=1).encode("ascii") + b"\n"
        return request.reply(200, body, JSON)

    def add(app: Klein) -> None:
        app.route("/api/v1/config", methods=["GET"], endpoint="config")(config)

    return add
