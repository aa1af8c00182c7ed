"""The colours in which relevance is shown, as RGB."""

WHITE = (255, 255, 255)
DARK_RED, RED, PINK = (128, 0, 0), (255, 0, 0), (255, 128, 128)
DARK_BLUE, BLUE, PALE_BLUE = (0, 0, 128), (0, 0, 255), (128, 128, 255)
