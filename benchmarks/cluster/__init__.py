"""Several workers under kills: did they learn from every row once, and what one process learns?"""
