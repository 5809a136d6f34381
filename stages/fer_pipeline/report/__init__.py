"""The page of all evidence: read, tables, captions, template."""
