"""The model and how it learns: tables of rows by id, a network above them, and the learner that trains both and scores."""
