"""Parts of the PyTorch networks, trained ones in their files, and what they predict."""
