"""Whether the trainer gets into brokers that want TLS, certificates and log-ins, and what it says where it does not."""
