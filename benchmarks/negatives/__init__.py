"""What it costs, and what it gives, to learn from a share of the negatives alone."""
