"""What a training in PyTorch does before it loads PyTorch; it runs in the main environment."""

import logging
import warnings


def enter() -> None:
    """Keep Lightning's advertisements, and its advice on workers (there are none), from the terminal."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
