"""A real Kafka and a real Redis for tests, with nothing but the standard library."""
