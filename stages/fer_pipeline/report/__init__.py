"""The report: what it reads, its tables, and the templates with its text."""
