"""``refresh``: what does a tag mean upstream, now?"""

from __future__ import annotations

from typing import Any

from nodecache.cache.keeping import Keeping
from nodecache.failures import Failure, OfflineMiss
from nodecache.steering.inventory import Inventory
from nodecache.steering.verbs import Document, Refused, Tell, Verb


class Refreshing:
    def __init__(self, keeping: Keeping, inventory: Inventory) -> None:
        self._keeping = keeping
        self._inventory = inventory

    @property
    def verb(self) -> Verb:
        """``images`` is a list of patterns."""
        return Verb("refresh", self.run)

    async def run(self, document: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """One after the other; what fails for one is told of it, and the others go on."""
        patterns = Document(document).texts("images")
        if not patterns:
            raise Refused("no image is named")
        meant = await self._inventory.meant(patterns)
        tagged = [image for image in meant if image.tag is not None]
        if not tagged:
            raise Refused(f"{meant[0].name} has no tag here, and a digest means the same for ever")
        changed = failed = 0
        for image in tagged:
            assert image.repository is not None
            assert image.tag is not None
            told: dict[str, Any] = {"event": "image", "name": image.name}
            try:
                found = await self._keeping.refresh((image.repository, image.tag))
            except OfflineMiss:
                raise Refused(
                    "this node is offline, and asks no upstream",
                    "Start it without --offline, or import the image anew.",
                ) from None
            except Failure as failure:
                failed += 1
                told["problem"] = str(failure)
            else:
                changed += found.changed
                told.update(
                    before=str(image.digest), digest=found.after.digest, changed=found.changed
                )
            tell(told)
        return {"images": len(tagged), "changed": changed, "failed": failed}
