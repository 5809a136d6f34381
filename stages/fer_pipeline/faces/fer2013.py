"""The terms of FER-2013: its classes and image size, and what FER+'s annotators could say."""

from fer_pipeline.faces.votes import NO_CLASS

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # the challenge's labels 0..6

VOTED = (*CLASSES, "contempt")  # the classes that FER+'s annotators could choose

VOTE_CLASSES = (*VOTED, *NO_CLASS)  # all that they could say

SIZE = 48  # height and width of a face, in pixels

NAME = "FER-2013"  # the name in faces.h5 of data in its form: the challenge's, or the drawn sample's

VOTES_NAME = "FER+"  # likewise, where the labels are the annotators' majority
