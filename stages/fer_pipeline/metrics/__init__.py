"""What is computed from predictions: scores, comparisons, what the labels are worth; and the paper's figures."""
