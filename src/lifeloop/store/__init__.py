"""The system of record (SQLite), its migrations, and model bundles on disk."""
