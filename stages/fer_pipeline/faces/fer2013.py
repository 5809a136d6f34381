"""The terms of FER-2013: its classes, splits and image size, and what FER+'s annotators could say."""

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # the challenge's labels 0..6

VOTED = (*CLASSES, "contempt")  # the classes that FER+'s annotators could choose

SIZE = 48  # height and width of a face, in pixels

NAME = "FER-2013"  # the name in faces.h5 of data in its form: the challenge's, or the drawn sample's

VOTES_NAME = "FER+"  # likewise, where the labels are the annotators' majority
