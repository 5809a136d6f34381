"""What a training does before it imports PyTorch, which runs in the main environment."""

import logging
import warnings


def enter() -> None:
    """Keep Lightning's advertisements, and its advice on workers (none are used), off the terminal."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
