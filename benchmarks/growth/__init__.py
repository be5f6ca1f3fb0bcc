"""How costs grow with partitions, windows, columns, ids and workers."""
