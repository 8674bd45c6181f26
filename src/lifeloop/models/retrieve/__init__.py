"""One retriever per file: a specification whose ``fit`` returns a frozen fitted object."""
