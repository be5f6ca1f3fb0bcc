"""From a row to the served score."""
