"""What every stage's outputs depend on: errors, how files are written, records. An edit here reruns every stage."""
