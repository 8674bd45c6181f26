"""The commands: thin, each prints a table or one JSON object."""
