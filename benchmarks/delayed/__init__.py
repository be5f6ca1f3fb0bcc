"""What labels that come late cost, and what each policy wins back."""
