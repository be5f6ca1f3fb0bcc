"""What serving gets: SavedModels under rising numbers, each of a checkpoint that has passed the gate.

A failure to publish is said and counted, and never ends the training.
"""
