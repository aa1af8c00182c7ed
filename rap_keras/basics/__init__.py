"""What every other package may use: files that are written whole, and lists in words."""
