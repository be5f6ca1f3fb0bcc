"""What ids that come with the stream give and cost, beside dictionaries."""
