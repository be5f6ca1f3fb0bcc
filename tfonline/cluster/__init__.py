"""Training by several processes, on one machine or many: who they are, what they agree on, and what only the first of them does."""
