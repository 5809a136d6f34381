"""Predictions as CSV files, and temperatures fitted to them."""
