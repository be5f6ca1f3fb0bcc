"""Serving while training: is every request answered, by the right version, and how fast?"""
