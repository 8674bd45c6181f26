"""Users, items and events: typed records, parsing, readers, identifiers and time."""
