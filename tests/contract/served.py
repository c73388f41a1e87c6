"""What the real servers load: the app, with its records kept from the start."""

from tests.contract.app import keep_records, main

__all__ = ["main"]

keep_records()
