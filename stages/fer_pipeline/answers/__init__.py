"""What a user gets: the choice of a network, faces as answers, drawings, summaries; no stage imports it."""
