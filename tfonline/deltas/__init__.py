"""Deltas: what has changed of a model since the delta before, so that servers need not wait for the next full version.

`file` is their format, `checksum` what a state is told by, `folder` where they lie. `maker` makes them beside training; `weights`
applies them to a loaded SavedModel, in a server or a tool. docs/serving.md describes all that other programs need to read them.
"""
