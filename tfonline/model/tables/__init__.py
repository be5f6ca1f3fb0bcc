"""Tables of weights, a row an id, and all that they need: the only room that knows replicas, sparse gradients and XLA.

Rows of a table are read and written by id only, so that a step costs the same whatever the size of the table.
"""
