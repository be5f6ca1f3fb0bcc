"""Wide & Deep, the default network."""
