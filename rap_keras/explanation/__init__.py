"""One question to a network and its answers: which class, at which places, by which methods."""
