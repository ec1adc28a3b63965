"""`mode=export`: a trained model as one file for other programs."""

from aimonk.modes.export.command import run as run
