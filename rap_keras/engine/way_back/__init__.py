"""Takes relevance from a network's output back to its inputs."""
