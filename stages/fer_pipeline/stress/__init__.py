"""What photos go through on their way to a network, applied to faces in growing strength, and how the answers hold."""
