"""The server of moto, with the check of the table version that AWS Glue has and moto lacks."""

from __future__ import annotations

import threading
from typing import Any

from moto.core.responses import ActionResult
from moto.glue.exceptions import GlueClientError
from moto.glue.responses import GlueResponse
from moto.server import main

_lock = threading.Lock()
_update_table = GlueResponse.update_table


def update_table(self: GlueResponse) -> ActionResult:
    """Replace a table, if the request names its newest version."""
    with _lock:
        values: dict[str, Any] = self.parameters
        expected = values.get("VersionId")
        table = self.glue_backend.get_table(values["DatabaseName"], values["TableInput"]["Name"])
        if expected is not None and str(table.as_dict()["VersionId"]) != str(expected):
            raise GlueClientError("ConcurrentModificationException", f"the table is not version {expected}")
        return _update_table(self)


if __name__ == "__main__":
    GlueResponse.update_table = update_table  # type: ignore[method-assign]
    main()
