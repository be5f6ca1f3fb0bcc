"""Whether alerts come where there is a fault, and nowhere else."""
