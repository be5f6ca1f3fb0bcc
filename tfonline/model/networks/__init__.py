"""Networks: what stands above the tables."""
