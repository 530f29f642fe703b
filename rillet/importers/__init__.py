"""From other formats to Rillet's event log; one file a kind.

To add a kind, write a file that defines an ``IMPORTER`` and add it to the list below.
"""

from typing import Final

from rillet.importers import csv_table, gorse, metarank, movielens
from rillet.importers.base import Importer, Options, Row
from rillet.importers.convert import Summary, convert, rejected_path

__all__ = ["IMPORTERS", "Importer", "Options", "Row", "Summary", "convert", "rejected_path"]

IMPORTERS: Final = {
    module.IMPORTER.name: module.IMPORTER for module in (metarank, gorse, movielens, csv_table)
}
