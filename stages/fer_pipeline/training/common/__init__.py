"""What every training is given and reports, whatever its framework."""
