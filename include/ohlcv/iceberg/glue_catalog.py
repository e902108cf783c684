"""Glue catalog of pyiceberg that recognizes its own commit.

boto3 repeats a request whose reply was lost. Glue refuses the repetition, because the first one has changed the version
of the table. pyiceberg takes this for a commit of another writer and deletes the files of the commit. Iceberg's Java
library looks for its commit in this case (GlueTableOperations).
"""

from __future__ import annotations

from typing import Any

from pyiceberg.catalog import METADATA_LOCATION
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.exceptions import CommitFailedException


class ConfirmingGlueCatalog(GlueCatalog):
    """Glue catalog whose commit fails only if the table does not contain it."""

    def _update_glue_table(self, database_name: str, table_name: str, table_input: Any, version_id: str) -> None:
        try:
            super()._update_glue_table(database_name, table_name, table_input, version_id)
        except CommitFailedException:
            metadata = self.load_table((database_name, table_name))
            known = {metadata.metadata_location, *(entry.metadata_file for entry in metadata.metadata.metadata_log)}
            if table_input["Parameters"][METADATA_LOCATION] not in known:
                raise
