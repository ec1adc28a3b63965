"""The command line."""

import warnings

# the launchers declare a schema of their own, in a way that Hydra warns of in every process
warnings.filterwarnings("ignore", message=r"\n'hydra/launcher/", category=UserWarning)
