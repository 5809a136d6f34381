"""Where PyTorch runs: in the main environment, on GPUs where there are any."""

import logging
import warnings


def enter() -> None:
    """Keep Lightning's advertisements, and its advice on workers (there are none), from the terminal."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
