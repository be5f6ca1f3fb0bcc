"""Each network: whether it holds the contract, how well it predicts, and how fast it learns."""
