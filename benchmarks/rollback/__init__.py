"""Whether a version that has learned from poisoned rows is left again with no hand."""
