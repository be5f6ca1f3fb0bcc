"""Serving over HTTP: which model is served, how requests become batches, and what they look like."""
