"""The system of record (SQLite or PostgreSQL), its migrations, and model bundles on disk."""

from lifeloop.store.bundles import Bundle, load_bundle, pack_texts, save_bundle, unpack_texts
from lifeloop.store.opening import open_store

__all__ = ["Bundle", "load_bundle", "open_store", "pack_texts", "save_bundle", "unpack_texts"]
