"""The settings, one frozen dataclass a room: its fields are flags, and it checks what hangs on its own flags alone.

config.Config holds one of each. Who needs settings is given those of the rooms concerned, or single values: only what puts a run
together (train.py, actions/make.py) has them all. Units stand in the names: `*_rows`, `*_secs`, `*_bytes`. Imports no TensorFlow.
"""
