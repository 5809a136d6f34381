"""params.yaml: its schema and its reader. They refuse values and change none, so no stage depends on them."""
