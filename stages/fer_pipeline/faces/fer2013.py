"""The terms of FER-2013: its classes, splits and image size, and what FER+'s annotators could say."""

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The challenge's labels 0..6, in its order."""

VOTE_CLASSES = (*CLASSES, "contempt", "unknown", "no face")
"""What FER+'s annotators could say of a face, in the order that votes have here."""

VOTED = VOTE_CLASSES[:8]  # the vote classes that a network learns: the seven emotions, and contempt

SPLITS = ("train", "val", "test")

SIZE = 48  # height and width of a face, in pixels
