"""Where the rows come from: the broker's admin side, the window planner with its journal, the readers, and the order of rows.

A window is planned, journalled and then read, in that order. Nothing here knows of columns, features or models.
"""
