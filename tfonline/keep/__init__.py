"""What a run keeps: checkpoints that hold the weights together with the position in the stream that they belong to.

Nothing here reads the stream or computes; it saves and restores what it is given.
"""
