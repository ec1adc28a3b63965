"""`mode=evaluate`: scores of a finished model, or of a table of its probabilities, on labelled images."""

from aimonk.modes.evaluate.command import run as run
