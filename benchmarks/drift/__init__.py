"""Whether drift is found where it was put into real rows, and nowhere else."""
