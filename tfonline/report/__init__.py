"""What people see: console, log files, TensorBoard and the closing summary. Gets names and numbers, decides nothing."""
