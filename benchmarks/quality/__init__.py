"""Who predicts best on one stream: every learner sees each row once, in order, and scores it before it learns from it."""
