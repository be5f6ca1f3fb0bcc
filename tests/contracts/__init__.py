"""What every part of a kind has to hold to: one suite a kind, for a part of one's own, too. None of them needs pytest.

Each suite has CHECKS, functions that raise AssertionError, and one function that runs them all.
"""
