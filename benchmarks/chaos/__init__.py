"""Faults at random moments against a real trainer and a real broker, and the proof that they left no trace in the model."""
