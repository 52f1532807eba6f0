"""What is said: event types, their Avro schemas, codec, topics and sealing. Imports nothing of ours but the errors."""
