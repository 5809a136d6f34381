"""What the trainings of both frameworks share: the lock, the place of checkpoints, what is returned and written."""
