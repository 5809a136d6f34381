"""How scripts start, end and are timed. Nothing here changes an output, so no stage depends on this room."""
