"""How near to the limit of the GPU tfonline trains: training alone, from raw rows, from Kafka, on several GPUs, beside peers."""
