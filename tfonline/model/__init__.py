"""The model and how it learns: Keras layers, sparse optimizers, and the train and score steps under a strategy.

Rows of a table are read and written by id only, so that a step costs the same whatever the size of the table.
"""
