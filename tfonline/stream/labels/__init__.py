"""Labels that come in a topic of their own (--label_topic): which outcomes are those of which rows.

A window says which outcomes its rows are joined with (`windows.Labels`), and is in the journal before a row of it is read. So the
join is a function of the journal and the two topics, and what waits in it is nothing that a checkpoint holds: a run that is
resumed reads it again.

- `time_index`: which offsets a time has, and the other way round.
- `ready`: which rows may be planned, and a window's outcomes.
- `held`: outcomes, and rows, by key, in memory and beyond.
- `fields`: the key and the time of a row; what an outcome says.
- `join`: the labels of a window's rows, and the rows whose outcome came after they were learned from.
"""

# What becomes of outcomes, and how many were read in all; docs/late-labels.md says what each is.
COUNTED = ("joined", "twice", "before", "late", "negative", "unreadable", "read")
