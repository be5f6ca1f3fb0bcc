"""What people see: console, log files, TensorBoard, the closing summary, and warnings of what the numbers say. Trains nothing."""
