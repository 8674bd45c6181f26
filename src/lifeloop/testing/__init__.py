"""Contract suites and tiny worlds for everyone who adds a part."""
