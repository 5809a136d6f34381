"""The terms of FER-2013: its classes, splits and image size, and what FER+'s annotators could say."""

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # the challenge's labels 0..6

VOTE_CLASSES = (*CLASSES, "contempt", "unknown", "no face")  # what FER+'s annotators could say of a face

VOTED = VOTE_CLASSES[:8]  # the vote classes that a network learns: the seven emotions, and contempt

SPLITS = ("train", "val", "test")

SIZE = 48  # height and width of a face, in pixels
