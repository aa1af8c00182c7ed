"""What each kind of Keras layer does with relevance."""
