"""What is served over HTTP, put together."""
