"""How scripts run and end, and how long they take. Nothing here changes an output, so no stage depends on it."""
