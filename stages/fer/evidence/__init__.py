"""What the predictions tell: metrics, comparisons, pictures and the report."""
